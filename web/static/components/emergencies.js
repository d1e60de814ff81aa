// @ts-check
// Calls that ask for a person, the most pressing first, with the time that is left and one click to answer.

import * as actions from "../actions.js";
import { onSound, soundOn, toggleSound } from "../alerts.js";
import { duration, everySecond, now } from "../clock.js";
import { asking, hindrance, mine, name, raised, speaker } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, setIcon, show } from "../dom.js";
import { has, t } from "../messages.js";
import { store } from "../store.js";

/** @import {State, Call, Escalation} from "../types.js" */

/** So long everybody sees who has taken a call. */
const TAKEN_MS = 15_000;

/** @typedef {{call: Call, asked: Escalation, taken: string}} Item */

class Emergencies extends Part {
  lazy = true;

  constructor() {
    super();
    this.count = h("span", { class: "count figures" });
    this.soundIcon = icon("volume-2");
    this.sound = h(
      "button",
      { type: "button", class: "quiet sound", "data-testid": "alert-sound", on: { click: toggleSound } },
      this.soundIcon,
    );
    this.brief = h("button", {
      type: "button",
      class: "brief",
      on: { click: () => actions.select(null) },
    });
    this.list = h("ul", { class: "asked" });
    this.empty = h("p", { class: "calm" }, t("emergency.none"));
    this.alert = h("p", { class: "unseen", role: "alert" });
    this.content = [
      h(
        "section",
        { "aria-labelledby": "emergencies-title" },
        h(
          "header",
          {},
          h("h2", { id: "emergencies-title" }, t("emergency.title"), " ", this.count),
          this.empty,
          this.brief,
          this.sound,
        ),
        this.list,
        this.alert,
      ),
    ];
    /** @type {Set<string>} */
    this.told = new Set();
    onSound(() => this.showSound());
    this.showSound();
    everySecond(() => this.update(store.state));
  }

  showSound() {
    const on = soundOn();
    const text = t(on ? "alert.sound-on" : "alert.sound-off");
    setIcon(this.soundIcon, on ? "volume-2" : "volume-x");
    attribute(this.sound, "aria-pressed", String(on));
    attribute(this.sound, "title", text);
    attribute(this.sound, "aria-label", text);
  }

  /** @param {State} state */
  update(state) {
    const calls = asking(state);
    const items = [...calls.map(item), ...taken(state)];
    keyed(
      this.list,
      items,
      (one) => one.call.id,
      (one) => card(one.call.id),
      (element, one) => fill(element, one, state),
    );
    say(this.count, String(calls.length));
    attribute(this, "data-asking", calls.length ? (calls[0]?.escalation?.priority ?? null) : null);
    show(this.empty, items.length === 0);
    say(this.brief, calls.length ? t("emergency.more", { n: calls.length }) : "");
    this.announce(calls);
  }

  /** Each request is read out once. @param {Call[]} calls */
  announce(calls) {
    const fresh = calls.filter((call) => !this.told.has(key(call)));
    this.told = new Set(calls.map(key));
    const [first] = fresh;
    if (first?.escalation)
      say(
        this.alert,
        t("emergency.announce", {
          priority: t(`heading.${first.escalation.priority}`),
          caller: clean(name(first)) || t("caller.unknown"),
          reason: clean(first.escalation.reason),
        }),
      );
  }
}

/** Who asked, as people say it. @param {string} who */
const by = (who) => (has(`by.${who}`) ? t(`by.${who}`) : clean(who));

/** @param {Call} call */
const key = (call) => `${call.id} ${call.escalation?.priority}`;

/** @param {Call} call @returns {Item} */
const item = (call) => ({ call, asked: /** @type {Escalation} */ (call.escalation), taken: "" });

/** @param {State} state @returns {Item[]} */
function taken(state) {
  const found = [];
  for (const one of state.answered.values()) {
    const call = state.calls.get(one.call);
    if (call && Date.now() - one.at < TAKEN_MS) found.push({ call, asked: one.escalation, taken: one.agent });
  }
  return found;
}

/** @param {string} id */
function card(id) {
  return h(
    "li",
    { class: "ask", "data-testid": "emergency", "data-call-id": id },
    h("p", { class: "top" }, icon("triangle-alert"), h("strong"), h("span", { class: "deadline figures" })),
    h("p", { class: "reason" }),
    h("p", { class: "ladder", "data-testid": "emergency-ladder" }, icon("chevron-up"), h("span")),
    h("p", { class: "taken", "data-testid": "emergency-taken" }, icon("check"), h("span")),
    h(
      "div",
      { class: "answer" },
      h(
        "button",
        {
          type: "button",
          class: "quiet from",
          "data-testid": "emergency-show",
          on: { click: () => actions.select(id) },
        },
        h("span", { class: "unseen" }, t("emergency.show")),
        h("span", { class: "caller" }),
        h("span", { class: "since figures" }),
      ),
      h(
        "button",
        { type: "button", class: "primary", "data-testid": "emergency-take", on: { click: () => actions.answer(id) } },
        icon("mic"),
        h("span"),
        h("span", { class: "unseen" }),
        h("kbd", { "aria-hidden": "true" }, "A"),
      ),
      h(
        "button",
        {
          type: "button",
          class: "quiet withdraw",
          "data-testid": "emergency-withdraw",
          on: { click: () => actions.withdraw(id) },
        },
        icon("check"),
      ),
    ),
  );
}

/** @param {HTMLElement} element @param {Item} item @param {State} state */
function fill(element, { call, asked, taken }, state) {
  const get = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (element.querySelector(selector));
  const caller = clean(name(call)) || t("caller.unknown");
  const floor = speaker(call);
  const own = floor !== null && floor.id === mine(state)?.id;
  attribute(element, "data-priority", asked.priority);
  attribute(element, "data-taken", taken ? "true" : null);
  setIcon(get(".top .icon"), asked.priority === "emergency" ? "siren" : "triangle-alert");
  say(get("strong"), t(`heading.${asked.priority}`));
  const reason = clean(asked.reason);
  say(get(".reason"), reason);
  attribute(get(".reason"), "title", reason);
  const left = asked.deadline_at ? Math.ceil((Date.parse(asked.deadline_at) - now()) / 1000) : null;
  const late = left !== null && left < 0;
  say(
    get(".deadline"),
    left === null || taken ? "" : t(late ? "emergency.late" : "emergency.left", { time: duration(Math.abs(left)) }),
  );
  attribute(element, "data-late", late && !taken ? "true" : null);
  show(get(".ladder"), Boolean(asked.step) && !taken && !floor);
  say(get(".ladder span"), t(asked.supervisors ? "emergency.supervisors" : "emergency.louder"));
  const waiting = t("emergency.waiting", { time: duration(Math.max(0, Math.floor((now() - raised(call)) / 1000))) });
  say(get(".caller"), caller);
  say(get(".since"), taken ? "" : [waiting, t("emergency.by", { by: by(asked.by) })].join(", "));
  show(get(".taken"), taken !== "" || floor !== null);
  say(
    get(".taken span"),
    taken
      ? own
        ? t("emergency.taken-own")
        : t("emergency.taken", { agent: clean(taken) })
      : floor
        ? t("emergency.speaks", { agent: clean(floor.agent_name) })
        : "",
  );
  setIcon(get(".taken .icon"), taken ? "check" : "mic");
  const mode = floor ? "monitor" : "takeover";
  const take = get("[data-testid='emergency-take']");
  show(take, !own && taken === "");
  say(get("[data-testid='emergency-take'] span"), t(floor ? "emergency.listen" : "emergency.take"));
  say(get("[data-testid='emergency-take'] .unseen"), `: ${caller}`);
  setIcon(get("[data-testid='emergency-take'] .icon"), floor ? "ear" : "mic");
  const why = hindrance(state, call, mode);
  const busy = why?.key === "why.busy";
  attribute(take, "aria-disabled", why && !busy ? "true" : null);
  attribute(take, "title", why && !busy ? clean(why.text || t(why.key, why.facts)) : null);
  const withdraw = get("[data-testid='emergency-withdraw']");
  show(withdraw, taken === "");
  attribute(withdraw, "aria-label", t("emergency.withdraw", { caller }));
  attribute(withdraw, "title", t("emergency.withdraw", { caller }));
}

customElements.define("tk-emergencies", Emergencies);
