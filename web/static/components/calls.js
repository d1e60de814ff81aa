// @ts-check
// The live calls, by need of attention.

import * as actions from "../actions.js";
import { duration, everySecond, now, since } from "../clock.js";
import { holdsTheFloor, mine, name, need, ordered, stale } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, setIcon, show } from "../dom.js";
import { t } from "../messages.js";
import { store } from "../store.js";

/** @import {State, Call, Engagement} from "../types.js" */

class Calls extends Part {
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
      },
    });
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
    say(this.count, String(state.calls.size));
    keyed(
      this.list,
      calls,
      (call) => call.id,
      (call) => row(call.id),
      (element, call) => fill(element, call, state),
    );
    const text = !state.link.ever ? t("calls.loading") : state.filter ? t("calls.no-match") : t("calls.none");
    say(this.empty, text);
    show(this.empty, calls.length === 0);
    this.tick();
  }

  tick() {
    for (const call of store.state.calls.values()) {
      const element = /** @type {HTMLElement|null} */ (
        this.list?.querySelector(`[data-call="${CSS.escape(call.id)}"]`)
      );
      if (!element) continue;
      say(
        /** @type {Element} */ (element.querySelector(".timer")),
        duration(since(call.answered_at ?? call.started_at)),
      );
      say(/** @type {Element} */ (element.querySelector(".deadline")), countdown(call));
    }
  }
}

/** @param {Call} call */
function countdown(call) {
  const at = call.escalation?.deadline_at;
  if (!at) return "";
  return duration(Math.max(0, Math.ceil((Date.parse(at) - now()) / 1000)));
}

/** @param {string} id */
function row(id) {
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "row",
        "data-testid": "call-row",
        "data-call": id,
        on: { click: () => actions.select(id) },
      },
      h(
        "span",
        { class: "alarm", hidden: true },
        icon("triangle-alert"),
        h("span", { class: "why" }),
        h("span", { class: "deadline figures" }),
      ),
      h("span", { class: "first" }, h("span", { class: "caller" }), h("span", { class: "timer figures" })),
      h("span", { class: "second" }, icon("bot"), h("span", { class: "ai" }), h("span", { class: "queue" })),
      h(
        "span",
        { class: "third" },
        h("span", { class: "state" }, icon("audio-lines"), h("span")),
        h("span", { class: "last" }),
      ),
    ),
  );
}

/** @param {HTMLElement} item @param {Call} call @param {State} state */
function fill(item, call, state) {
  const element = /** @type {HTMLElement} */ (item.firstElementChild);
  const get = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (element.querySelector(selector));
  attribute(element, "aria-current", call.id === state.selected ? "true" : null);
  say(get(".caller"), clean(name(call)) || t("caller.unknown"));
  say(get(".ai"), clean(call.ai.name));
  say(get(".queue"), clean(call.queue));

  const asks = need(call) ? call.escalation : null;
  show(get(".alarm"), asks !== null);
  if (asks) {
    attribute(get(".alarm"), "data-priority", asks.priority);
    setIcon(get(".alarm .icon"), asks.priority === "emergency" ? "siren" : "triangle-alert");
    say(get(".alarm .why"), t(`attention.${asks.priority}`, { reason: clean(asks.reason) }));
  }

  const [what, words, image] = situation(call, state);
  attribute(get(".state"), "data-what", what);
  setIcon(get(".state .icon"), image);
  say(get(".state span"), words);
  const turns = state.turns.get(call.id);
  const last = turns?.[turns.length - 1];
  say(get(".last"), last ? `${t(`role.${last.speaker}`)}: ${clean(last.text)}` : "");
}

/** Who is in the call, the weightiest first. @param {Call} call @param {State} state @returns {[string, string, string]} */
function situation(call, state) {
  if (stale(call, state)) return ["none", t("situation.stale"), "server"];
  const weight = { takeover: 4, barge: 3, whisper: 2, monitor: 1 };
  const present = call.engagements
    .filter((one) => one.phase !== "ended")
    .sort((a, b) => weight[b.mode] - weight[a.mode]);
  const [one] = present;
  if (one) {
    const what = holdsTheFloor(one.mode) ? "live" : one.mode === "whisper" ? "whisper" : "listen";
    const image = what === "live" ? "mic" : what === "whisper" ? "messages-square" : "ear";
    const more = present.length > 1 ? ` ${t("situation.more", { n: present.length - 1 })}` : "";
    return [what, `${who(one, state)} ${t(`situation.${one.mode}`)}${more}`, image];
  }
  if (call.talking?.ai) return ["ai", t("situation.ai-speaks"), "audio-lines"];
  if (call.talking?.caller) return ["caller", t("situation.caller-speaks"), "audio-lines"];
  return ["none", t("situation.ai"), "bot"];
}

/** @param {Engagement} one @param {State} state */
const who = (one, state) => (one.id === mine(state)?.id ? t("you") : clean(one.agent_name));

customElements.define("tk-calls", Calls);
