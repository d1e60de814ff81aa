// @ts-check
// What was said. Follows the newest turn unless the reader has scrolled up.

import { timeOfDay } from "../clock.js";
import { mine, name, selectedCall } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, show } from "../dom.js";
import { t } from "../messages.js";
import { agentName } from "../names.js";

/** @import {State, Turn} from "../types.js" */

/** How the ids of turns begin that a machine has written down from the agent's voice. */
const CAPTION = "caption-";
/** This close to the end counts as at the end, px. */
const NEAR_PX = 48;
/** @type {readonly Turn[]} */
const NOTHING = [];

class Transcript extends Part {
  lazy = true;

  /** @type {string|null} */
  call = null;
  /** What is drawn, and the names in it. @type {readonly Turn[]|null} */
  shown = null;
  who = "";
  turns = 0;
  unread = 0;
  following = true;

  constructor() {
    super();
    this.log = h("div", {
      class: "log",
      "data-testid": "transcript",
      "data-scrolls": "",
      role: "log",
      "aria-label": t("transcript.label"),
      tabindex: "0",
      on: { scroll: () => this.scrolled() },
    });
    this.more = h("span");
    this.newest = h(
      "button",
      {
        id: "newest",
        type: "button",
        class: "newest",
        "data-testid": "newest",
        hidden: true,
        on: { click: () => this.toEnd() },
      },
      icon("arrow-down"),
      this.more,
    );
    this.empty = h("p", { class: "empty" }, t("transcript.none"));
    // A dock that grows takes room from the log: stay with the newest line all the same.
    new ResizeObserver(() => this.following && this.jump()).observe(this.log);
    this.content = [this.log, this.empty, this.newest];
  }

  /** @param {State} state */
  update(state) {
    const call = selectedCall(state);
    const turns = (call && state.turns.get(call.id)) ?? NOTHING;
    const log = this.log;
    // Who hears the call does not need it read out over the voices, least of all the own words.
    attribute(log, "aria-live", call && mine(state)?.call === call.id ? "off" : "polite");
    const fresh = call?.id !== this.call;
    const follow = fresh || this.following;
    const names = {
      caller: clean(call ? name(call) : "") || t("role.caller"),
      ai: clean(call?.ai.name) || t("role.ai"),
      agent: agentName(state, call),
    };
    // Most of what happens is of other calls; to look where the end is makes the browser lay out the page.
    const who = `${call?.id} ${Object.values(names).join(" ")}`;
    if (turns === this.shown && who === this.who) return;
    this.shown = turns;
    this.who = who;
    keyed(
      log,
      turns,
      (turn) => `${call?.id} ${turn.turn}`, // a turn's id is unique within its call only
      row,
      (element, turn) => fill(element, turn, names),
    );
    show(this.empty, turns.length === 0);
    if (fresh) this.unread = 0;
    else if (!follow) this.unread += Math.max(0, turns.length - this.turns);
    this.call = call?.id ?? null;
    this.turns = turns.length;
    if (follow) this.jump();
    this.scrolled();
  }

  atEnd() {
    const log = this.log;
    return log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
  }

  jump() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  scrolled() {
    const end = this.atEnd();
    this.following = end;
    if (end) this.unread = 0;
    say(this.more, this.unread ? t("transcript.new", { n: this.unread }) : t("transcript.newest"));
    show(this.newest, !end);
  }

  toEnd() {
    const log = this.log;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    log.scrollTo({ top: log.scrollHeight, behavior: calm ? "auto" : "smooth" });
    log.focus({ preventScroll: true });
  }
}

/** @param {Turn} turn */
function row(turn) {
  return h(
    "div",
    { class: "turn", "data-testid": "turn", "data-speaker": turn.speaker },
    h("span", { class: "speaker" }),
    h(
      "span",
      { class: "said" },
      h("span", { class: "text" }),
      turn.turn.startsWith(CAPTION) ? h("span", { class: "caption" }, t("transcript.caption")) : null,
    ),
    h("time", { class: "figures", datetime: turn.at }, timeOfDay(turn.at)),
  );
}

/** @param {HTMLElement} element @param {Turn} turn @param {Record<string, string>} names */
function fill(element, turn, names) {
  attribute(element, "data-final", String(turn.final));
  say(/** @type {Element} */ (element.querySelector(".speaker")), names[turn.speaker] ?? turn.speaker);
  say(/** @type {Element} */ (element.querySelector(".text")), clean(turn.text));
}

customElements.define("tk-transcript", Transcript);
