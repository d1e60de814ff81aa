// @ts-check
// The actions on the selected call: modes, return with a note, leave, mute, hold, end.

import * as actions from "../actions.js";
import { setMuted } from "../agentleg.js";
import { everySecond } from "../clock.js";
import {
  aiGone,
  deaf,
  destinationsOf,
  hindrance,
  holdsTheFloor,
  mine,
  MODES,
  selectedCall,
  speaks,
} from "../derive.js";
import { attribute, clean, h, icon, Part, say, show } from "../dom.js";
import { giveBack } from "../keys.js";
import { t } from "../messages.js";
import { store } from "../store.js";
import { act, picture, relabel } from "./buttons.js";

/** @import {State, Mode, Call} from "../types.js" */

const ICONS = { monitor: "ear", whisper: "messages-square", barge: "users", takeover: "mic" };

/** So long after the start one introduces oneself; afterwards the next thing to say is the handback. */
const INTRODUCTION_MS = 20_000;

class Dock extends Part {
  /** @type {Record<string, HTMLButtonElement>} */
  modes = {};

  constructor() {
    super();
    for (const [i, mode] of MODES.entries()) this.modes[mode] = modeButton(mode, String(i + 1));
    this.why = h("span", { class: "why", "data-testid": "mode-why" });
    this.measured = h("span", { class: "measured figures", "data-testid": "measured" });
    this.phrase = h("p", { class: "phrase", "data-testid": "phrase" });
    this.idle = h("p", { class: "hint" }, t("dock.hint"));
    this.giveBack = act("undo-2", t("return.submit"), "R", null, { class: "primary", "data-testid": "return-submit" });
    this.return = form(giveBack, field("note", "return-note", t("return.note"), t("return.note-label")), this.giveBack);
    this.guidance = field("coach", "coach-text");
    const send = { "data-testid": "coach-submit", title: t("coach.submit") };
    this.coach = form(() => this.send(), this.guidance, act("message-square-text", t("coach.submit"), "C", null, send));
    this.leave = act("log-out", t("leave"), "L", actions.leave, { "data-testid": "leave" });
    this.mute = act("mic", "", "U", () => setMuted(!store.state.line.muted), { "data-testid": "mute" });
    this.hold = act("pause", "", "H", actions.toggleHold, { "data-testid": "hold" });
    this.keypad = small("grip", t("act.keypad"), "P", actions.openKeypad, "keypad");
    this.transfer = small("phone-forwarded", t("act.transfer"), "F", actions.askTransfer, "transfer");
    this.help = small("siren", t("help"), "X", actions.askForHelp, "ask-help");
    this.end = act("phone-off", t("end"), "E", actions.askEndCall, { class: "end", "data-testid": "end-call" });
    const spring = h("span", { class: "spring" });
    this.content = [
      this.phrase,
      this.return,
      this.coach,
      h("div", { class: "line-of-facts" }, this.why, this.measured),
      h("div", { class: "modes", role: "group", "aria-label": t("modes.label") }, ...Object.values(this.modes)),
      h(
        "div",
        { class: "acts" },
        ...[this.idle, this.leave, spring, this.mute, this.hold, this.keypad, this.transfer, this.help, this.end],
      ),
    ];
    everySecond(() => this.speak(store.state));
  }

  async send() {
    if (await actions.coach(this.guidance.value)) this.guidance.value = "";
  }

  /** @param {State} state */
  update(state) {
    const call = selectedCall(state);
    if (!call) return;
    const one = mine(state);
    const here = one?.call === call.id ? one : null;
    for (const mode of MODES) this.mode(mode, state, call);
    say(this.why, this.reason(state, call));
    const floor = here !== null && holdsTheFloor(here.mode);
    const facts = floor ? state.measured.get(call.id) : null; // else it is of a colleague's voice
    say(
      this.measured,
      facts && facts.heard_ms !== null
        ? t(facts.gap_ms === null ? "measured.heard" : "measured", {
            heard: Math.round(facts.heard_ms),
            gap: Math.round(facts.gap_ms ?? 0),
          })
        : "",
    );
    show(this.return, floor);
    show(this.leave, here !== null && !floor);
    show(this.idle, !floor && here === null);
    const live = state.calls.has(call.id);
    show(this.coach, live && here?.mode !== "takeover");
    const words = t("coach.label", { ai: clean(call.ai.name) });
    attribute(this.guidance, "placeholder", words);
    attribute(this.guidance, "aria-label", words);
    show(this.keypad, floor);
    show(this.transfer, live && destinationsOf(state, call).length > 0);
    this.speak(state);
    // Not `disabled`, here too: that would take the focus from who has just pressed it.
    const leaving = state.pending?.kind === "release" ? "true" : null;
    for (const button of [this.giveBack, this.leave, this.hold]) attribute(button, "aria-disabled", leaving);
    const none = live && state.link.up ? null : "true";
    for (const button of [this.transfer, this.help, this.end]) attribute(button, "aria-disabled", none);
    show(this.mute, here !== null && speaks(here.mode));
    show(this.hold, floor);
    // No `aria-pressed`: the words change with the state, and "Unmute, pressed" would say the contrary.
    attribute(this.mute, "data-on", state.line.muted ? "true" : null);
    relabel(this.mute, state.line.muted ? "mic-off" : "mic", t(state.line.muted ? "unmute" : "mute"));
    const held = here?.hold === true;
    attribute(this.hold, "data-on", held ? "true" : null);
    relabel(this.hold, held ? "play" : "pause", t(held ? "unhold" : "hold"));
    show(this.help, call.escalation === null && live);
  }

  /** What to say: who one is at first, and that the AI goes on before it does. @param {State} state */
  speak(state) {
    const call = selectedCall(state);
    const one = mine(state);
    const live =
      call !== null && one?.call === call.id && holdsTheFloor(one.mode) && one.phase === "active" && !aiGone(call);
    show(this.phrase, live);
    if (!live) return;
    const first = Date.now() - (state.stint?.at ?? 0) < INTRODUCTION_MS;
    const facts = { agent: clean(state.me?.name), ai: clean(call.ai.name) };
    const said = !first && deaf(state, call) && one.mode === "takeover" ? "deaf" : one.mode;
    say(this.phrase, t(`phrase.${first ? "introduction" : "handback"}.${said}`, facts));
    attribute(this.phrase, "data-phrase", first ? "introduction" : "handback");
  }

  /** @param {Mode} mode @param {State} state @param {Call} call */
  mode(mode, state, call) {
    const button = /** @type {HTMLButtonElement} */ (this.modes[mode]);
    const one = mine(state);
    const current = one?.call === call.id && one.mode === mode;
    const found = current ? null : hindrance(state, call, mode);
    const why = found?.key === "why.busy" ? null : found; // over in a moment: no flicker for that
    const choice = call.modes.find((each) => each.mode === mode);
    attribute(button, "aria-pressed", String(current));
    // Not `disabled`: a button that says why it does nothing must be reachable.
    attribute(button, "aria-disabled", why ? "true" : null);
    attribute(button, "data-asked", state.pending?.mode === mode && state.pending.call === call.id ? "true" : null);
    const words = why
      ? why.text || t(why.key, why.facts)
      : choice?.how === "cold"
        ? t("effect.cold")
        : t(`effect.${mode}`);
    attribute(button, "title", clean(words));
    attribute(button, "aria-description", why ? clean(words) : null);
  }

  /** What stands in the way, for all modes or for some. @param {State} state @param {Call} call */
  reason(state, call) {
    const found = MODES.map((mode) => ({ mode, why: hindrance(state, call, mode) })).filter(
      ({ why }) => why && why.key !== "why.busy",
    );
    const [first] = found;
    if (!first?.why) return mine(state)?.call === call.id ? "" : t("dock.lead");
    const text = clean(first.why.text || t(first.why.key, first.why.facts));
    if (found.length === MODES.length || first.why.key === "why.taken") return text;
    return `${found.map(({ mode }) => t(`mode.${mode}`)).join(", ")}: ${text}`;
  }
}

/** @param {Mode} mode @param {string} key */
const modeButton = (mode, key) =>
  h(
    "button",
    {
      type: "button",
      class: "mode",
      "data-mode": mode,
      "data-testid": `mode-${mode}`,
      "aria-pressed": "false",
      "aria-keyshortcuts": key,
      on: { click: () => actions.press(mode) },
    },
    icon(ICONS[mode]),
    h("span", { class: "label" }, t(`mode.${mode}`)),
    h("span", { class: "effect" }, t(`effect.${mode}`)),
    h("kbd", { "aria-hidden": "true" }, key),
  );

/** @param {string} id @param {string} hook @param {string} [placeholder] @param {string} [label] */
const field = (id, hook, placeholder, label) =>
  h("input", {
    ...{ id, "data-testid": hook, type: "text", maxlength: "500", autocomplete: "off" },
    ...{ placeholder, "aria-label": label },
  });

/** @param {() => unknown} submit @param {...HTMLElement} children */
const form = (submit, ...children) =>
  h(
    "form",
    {
      class: "return",
      on: {
        submit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void submit();
        },
      },
    },
    ...children,
  );

/** @param {string} image @param {string} words @param {string} key @param {() => unknown} run @param {string} hook */
const small = (image, words, key, run, hook) =>
  picture(image, words, run, {
    ...{ class: "small", title: `${words} (${key})`, "data-testid": hook, "aria-keyshortcuts": key },
  });

customElements.define("tk-dock", Dock);
