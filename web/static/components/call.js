// @ts-check
// The call: who, how long, what was said, and what I can do.

import * as actions from "../actions.js";
import { duration, everySecond, since } from "../clock.js";
import { deaf, name, selectedCall } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, show } from "../dom.js";
import { has, t } from "../messages.js";
import { partIn } from "../names.js";
import { store } from "../store.js";
import "./dock.js";
import "./transcript.js";
import "./wrapup.js";

/** @import {State, Call as LiveCall} from "../types.js" */

class Call extends Part {
  constructor() {
    super();
    this.heading = h("h2", { tabindex: "-1" });
    this.number = h("span", { class: "number figures" });
    this.facts = h("ul", { class: "facts" });
    this.timer = h("span", { class: "timer figures" });
    this.ended = h("p", { class: "ended", role: "status" });
    /** Said when another call is chosen by a key, which moves no focus. */
    this.chosen = h("p", { class: "unseen", role: "status", "data-testid": "call-chosen" });
    this.notes = h("ul", { class: "notes" });
    this.body = h(
      "section",
      { class: "call", "aria-label": t("call.label") },
      h(
        "header",
        {},
        h(
          "button",
          {
            type: "button",
            class: "quiet back",
            "aria-label": t("call.back"),
            on: { click: () => actions.select(null) },
          },
          icon("chevron-left"),
        ),
        h("div", { class: "who" }, h("div", { class: "name" }, this.heading, this.number), this.facts),
        this.timer,
      ),
      this.notes,
      this.ended,
      document.createElement("tk-transcript"),
      document.createElement("tk-dock"),
    );
    this.empty = h(
      "section",
      { class: "nothing" },
      icon("headset"),
      h("h2", {}, t("nothing.title")),
      h("p", {}, t("nothing.text")),
      h("p", { class: "hint" }, icon("headphones"), t("nothing.headset")),
    );
    this.content = [document.createElement("tk-wrapup"), this.chosen, this.body, this.empty];
    everySecond(() => this.tick());
  }

  /** @param {State} state */
  update(state) {
    const call = selectedCall(state);
    const [shown, other] = call ? [this.body, this.empty] : [this.empty, this.body];
    show(shown, true); // first: the focus may have to go there
    show(other, false);
    if (!call) return say(this.chosen, "");
    const title = clean(name(call)) || t("caller.unknown");
    say(this.chosen, t("call.chosen", { caller: title, ai: clean(call.ai.name) }));
    say(this.heading, title);
    const number = clean(call.caller.number);
    say(this.number, number === title ? "" : number);
    keyed(
      this.facts,
      facts(state, call),
      (fact) => fact.key,
      (fact) =>
        h(
          "li",
          { "data-fact": fact.key },
          icon(fact.icon),
          h("span", { class: "unseen" }, `${t(`fact.${fact.key}`)} `),
          h("span", { class: "value" }),
        ),
      (row, fact) => {
        say(/** @type {Element} */ (row.querySelector(".value")), fact.value);
        attribute(row, "title", `${t(`fact.${fact.key}`)}: ${fact.value}`);
      },
    );
    const over = state.calls.has(call.id) ? null : state.gone;
    const words = over ? t(has(`gone.${over.why}`) ? `gone.${over.why}` : "gone.other") : "";
    say(this.ended, words);
    show(this.ended, over !== null);
    attribute(this.body, "data-over", over ? "true" : null);
    keyed(
      this.notes,
      notes(state, call),
      (note) => note.key,
      (note) => h("li", { "data-note": note.key }, icon(note.icon), h("span")),
      (row, note) => say(/** @type {Element} */ (row.lastElementChild), note.text),
    );
    this.tick();
  }

  tick() {
    const call = selectedCall(store.state);
    if (call && store.state.calls.has(call.id)) say(this.timer, duration(since(call.answered_at ?? call.started_at)));
  }
}

/** What has to be known of a call, whoever speaks. @param {State} state @param {LiveCall} call */
function notes(state, call) {
  const known = [...(call.notes ?? []), ...(deaf(state, call) ? ["ai-deaf"] : [])].filter((key) => has(`note.${key}`));
  // Also once it is taken: who speaks now wants to know what for.
  const asked = call.escalation ?? state.answered.get(call.id)?.escalation;
  return [
    ...(asked ? [{ key: "asked", icon: "siren", text: t("note.asked", { reason: clean(asked.reason) }) }] : []),
    ...known.map((key) => ({ key, icon: "info", text: t(`note.${key}`) })),
  ];
}

/** @param {State} state @param {LiveCall} call */
function facts(state, call) {
  return [
    { key: "ai", icon: "bot", value: clean(call.ai.name) },
    { key: "queue", icon: "inbox", value: clean(call.queue) },
    { key: "pbx", icon: "server", value: clean(call.pbx) },
    { key: "recording", icon: "circle-dot", value: call.recording ? t("recording.on") : "" },
    {
      key: "listeners",
      icon: "users",
      value: call.engagements
        .filter((one) => one.phase !== "ended")
        .map((one) => partIn(state, one))
        .join(", "),
    },
  ].filter((fact) => fact.value);
}

customElements.define("tk-call", Call);
