// @ts-check
// The live calls, by need of attention.

import * as actions from "../actions.js";
import { duration, everySecond, now, since } from "../clock.js";
import { filtered, holdsTheFloor, name, need, ordered, present, stale } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, setIcon, show } from "../dom.js";
import { t } from "../messages.js";
import { agentName, partIn } from "../names.js";
import { store } from "../store.js";

/** @import {State, Call, Role} from "../types.js" */

class Calls extends Part {
  lazy = true;

  constructor() {
    super();
    this.count = h("span", { class: "count figures" });
    this.filter = h("input", {
      id: "filter",
      type: "search",
      "data-testid": "filter",
      placeholder: t("calls.filter"),
      "aria-label": t("calls.filter"),
      maxlength: "64",
      on: {
        input: (/** @type {Event} */ event) =>
          store.dispatch({ type: "filter", text: /** @type {HTMLInputElement} */ (event.target).value }),
        keydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && this.first(),
      },
    });
    this.queue = only("queue");
    this.ai = only("ai");
    this.who = only("who");
    for (const one of ["asks", "ai", "person"])
      this.who.append(h("option", { value: one, "data-key": one }, t(`only.who.${one}`)));
    this.list = h("ul", { class: "rows" });
    this.empty = h("p", { class: "empty" });
    this.content = [
      h(
        "section",
        { "aria-labelledby": "calls-title" },
        h(
          "header",
          {},
          h("h2", { id: "calls-title" }, t("calls.title"), " ", this.count),
          h("label", { class: "search" }, icon("search"), this.filter),
          h("div", { class: "only" }, this.queue, this.ai, this.who),
        ),
        this.list,
        this.empty,
      ),
    ];
    everySecond(() => this.tick());
  }

  /** @param {State} state */
  update(state) {
    const calls = ordered(state);
    const all = state.calls.size;
    say(this.count, calls.length === all ? String(all) : t("calls.of", { n: calls.length, all }));
    keyed(
      this.list,
      calls,
      (call) => call.id,
      (call) => row(call.id),
      (element, call) => fill(element, call, state),
    );
    const text = !state.link.ever ? t("calls.loading") : filtered(state) ? t("calls.no-match") : t("calls.none");
    say(this.empty, text);
    show(this.empty, calls.length === 0);
    const found = [...state.calls.values()];
    choices(
      this.queue,
      "queue",
      found.map((call) => call.queue),
      state.only.queue,
    );
    choices(
      this.ai,
      "ai",
      found.map((call) => call.ai.name),
      state.only.ai,
    );
    attribute(this.who, "data-on", state.only.who ? "true" : null);
    show(this.who, found.length > 0 || state.only.who !== "");
  }

  /** Who searched and found opens it with Enter; the keys then belong to the call. */
  first() {
    const [found] = ordered(store.state);
    if (!found) return;
    this.filter.blur();
    actions.select(found.id);
  }

  tick() {
    for (const item of /** @type {Iterable<HTMLElement>} */ (this.list.children)) {
      const drawn = rows.get(item);
      if (drawn?.call) time(drawn, drawn.call);
    }
  }
}

/** A choice that narrows the list. @param {"queue"|"ai"|"who"} fact */
const only = (fact) =>
  h(
    "select",
    {
      class: "quiet",
      "aria-label": t(`only.${fact}`),
      "data-testid": `only-${fact}`,
      on: {
        change: (/** @type {Event} */ event) =>
          store.dispatch({
            type: "only",
            facts: { [fact]: /** @type {HTMLSelectElement} */ (event.target).value },
          }),
      },
    },
    h("option", { value: "", "data-key": "" }, t(`only.${fact}.all`)),
  );

/** @param {HTMLSelectElement} select @param {"queue"|"ai"} fact @param {string[]} names @param {string} chosen */
function choices(select, fact, names, chosen) {
  const found = [...new Set([...names, chosen])].filter(Boolean).sort();
  keyed(
    select,
    ["", ...found],
    (name) => name,
    (name) => h("option", { value: name }, clean(name)),
    () => {},
  );
  attribute(select, "data-on", chosen ? "true" : null);
  show(select, found.length > 1 || chosen !== "");
}

/**
 * @typedef {object} Row the parts of a row, and what they show
 * @property {HTMLElement} button
 * @property {HTMLElement} alarm
 * @property {HTMLElement} why
 * @property {HTMLElement} deadline
 * @property {HTMLElement} caller
 * @property {HTMLElement} timer
 * @property {HTMLElement} ai
 * @property {HTMLElement} queue
 * @property {HTMLElement} state
 * @property {HTMLElement} words
 * @property {HTMLElement} last
 * @property {Call|null} call
 * @property {unknown} shown
 */

/** @type {WeakMap<HTMLElement, Row>} */
const rows = new WeakMap();

/** @param {Call} call */
function countdown(call) {
  const at = call.escalation?.deadline_at;
  if (!at) return "";
  const left = Math.ceil((Date.parse(at) - now()) / 1000);
  return left < 0 ? t("emergency.late", { time: duration(-left) }) : duration(left);
}

/** @param {Row} drawn @param {Call} call */
function time(drawn, call) {
  say(drawn.timer, duration(since(call.answered_at ?? call.started_at)));
  say(drawn.deadline, countdown(call));
}

/** @param {string} id */
function row(id) {
  const part = (/** @type {string} */ name, /** @type {(Node|string|null)[]} */ ...children) =>
    h("span", { class: name }, ...children);
  const [why, deadline, caller, timer] = [part("why"), part("deadline figures"), part("caller"), part("timer figures")];
  const [ai, queue, words, last] = [part("ai"), part("queue"), h("span"), part("last")];
  const alarm = h("span", { class: "alarm", hidden: true }, icon("triangle-alert"), why, deadline);
  const state = part("state", icon("audio-lines"), words);
  const button = h(
    "button",
    {
      type: "button",
      class: "row",
      "data-testid": "call-row",
      "data-call": id,
      on: { click: () => actions.select(id) },
    },
    alarm,
    part("first", caller, timer),
    part("second", icon("bot"), ai, queue),
    part("third", state, last),
  );
  const item = h("li", {}, button);
  rows.set(item, { button, alarm, why, deadline, caller, timer, ai, queue, state, words, last, call: null, shown: "" });
  return item;
}

/** @param {HTMLElement} item @param {Call} call @param {State} state */
function fill(item, call, state) {
  const drawn = /** @type {Row} */ (rows.get(item));
  const turns = state.turns.get(call.id);
  const turn = turns?.[turns.length - 1];
  const [what, words, image] = situation(call, state);
  const selected = call.id === state.selected;
  const last = turn ? `${teller(turn.speaker, call, state)}: ${clean(turn.text)}` : "";
  const shown = `${what} ${words} ${selected} ${last}`;
  if (drawn.call === call && drawn.shown === shown) return;
  drawn.call = call;
  drawn.shown = shown;
  attribute(drawn.button, "aria-current", selected ? "true" : null);
  say(drawn.caller, clean(name(call)) || t("caller.unknown"));
  say(drawn.ai, clean(call.ai.name));
  say(drawn.queue, clean(call.queue));

  const asks = need(call) ? call.escalation : null;
  show(drawn.alarm, asks !== null);
  if (asks) {
    attribute(drawn.alarm, "data-priority", asks.priority);
    setIcon(
      /** @type {Element} */ (drawn.alarm.firstElementChild),
      asks.priority === "emergency" ? "siren" : "triangle-alert",
    );
    say(drawn.why, t(`attention.${asks.priority}`, { reason: clean(asks.reason) }));
  }

  attribute(drawn.state, "data-what", what);
  setIcon(/** @type {Element} */ (drawn.state.firstElementChild), image);
  say(drawn.words, words);
  time(drawn, call);
  say(drawn.last, last);
}

/** @param {Role} speaker @param {Call} call @param {State} state */
const teller = (speaker, call, state) => (speaker === "agent" ? agentName(state, call) : t(`role.${speaker}`));

/** Who is in the call, the weightiest first. @param {Call} call @param {State} state @returns {[string, string, string]} */
function situation(call, state) {
  if (stale(call, state)) return ["none", t("situation.stale"), "server"];
  const all = present(call);
  const [one] = all;
  if (one) {
    const what = holdsTheFloor(one.mode) ? "live" : one.mode === "whisper" ? "whisper" : "listen";
    const image = one.hold ? "pause" : what === "live" ? "mic" : what === "whisper" ? "messages-square" : "ear";
    const more = all.length > 1 ? ` ${t("situation.more", { n: all.length - 1 })}` : "";
    return [what, partIn(state, one) + more, image];
  }
  if (call.talking?.ai) return ["ai", t("situation.ai-speaks"), "audio-lines"];
  if (call.talking?.caller) return ["caller", t("situation.caller-speaks"), "audio-lines"];
  return ["none", t("situation.ai"), "bot"];
}

customElements.define("tk-calls", Calls);
