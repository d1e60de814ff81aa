// @ts-check
// What I am to the caller now, in words and colour. It never changes its height, so nothing moves when it matters.

import * as actions from "../actions.js";
import { duration, everySecond } from "../clock.js";
import { aiGone, banner, deaf, mine, name, resumed, speaker, unplugged } from "../derive.js";
import { attribute, clean, h, icon, Part, say, setIcon, show } from "../dom.js";
import { t } from "../messages.js";
import { store } from "../store.js";

/** @import {State} from "../types.js" */

const ICONS = {
  idle: "headset",
  listen: "ear",
  whisper: "messages-square",
  barge: "mic",
  live: "mic",
  switching: "loader-circle",
  resuming: "bot",
  offline: "wifi-off",
};

class Banner extends Part {
  constructor() {
    super();
    this.image = icon("headset");
    this.headline = h("strong");
    this.detail = h("span");
    this.timer = h("span", { class: "timer figures" });
    this.shownCall = h(
      "button",
      { type: "button", class: "on-colour", on: { click: () => actions.select(mine(store.state)?.call ?? null) } },
      t("banner.show-call"),
    );
    this.words = h("div", { class: "words" }, this.headline, this.detail);
    // Only what I am to a caller is announced: the timer would speak every second, the number of calls at each that comes.
    this.told = h("p", {
      ...{ class: "unseen", role: "status", "aria-live": "assertive", "aria-atomic": "true" },
      ...{ "data-testid": "banner-told" },
    });
    this.frame = h(
      "section",
      { "data-testid": "banner", "aria-label": t("banner.label") },
      h("span", { class: "badge" }, this.image),
      this.words,
      this.shownCall,
      this.timer,
      this.told,
    );
    this.content = [this.frame];
    everySecond(() => this.tick(store.state));
  }

  /** @param {State} state */
  update(state) {
    const which = banner(state);
    const one = mine(state);
    const frame = this.frame;
    attribute(frame, "data-state", which);
    const speaking = which === "live" || which === "barge" || which === "whisper";
    const held = speaking && one?.hold === true;
    const lost = speaking && !held && unplugged(state);
    const muted = speaking && !held && !lost && state.line.muted;
    attribute(frame, "data-hold", held ? "true" : null);
    attribute(frame, "data-lost", lost ? "true" : null);
    attribute(frame, "data-muted", muted ? "true" : null);
    setIcon(this.image, held ? "pause" : lost || muted ? "mic-off" : ICONS[which]);
    const [headline, detail, counted = ""] = this.text(state);
    say(this.headline, headline);
    say(this.detail, `${counted} ${detail}`.trim());
    say(this.told, `${headline}. ${detail}`);
    show(this.shownCall, one !== null && one.call !== state.selected);
    this.tick(state);
  }

  /** Headline, detail, and what comes before it but changes too often to be read out. @param {State} state @returns {[string, string, string?]} */
  text(state) {
    const which = banner(state);
    const one = mine(state);
    const call = one ? state.calls.get(one.call) : undefined;
    const facts = {
      caller: clean(call ? name(call) : state.after?.caller),
      ai: clean(call?.ai.name ?? state.after?.ai),
      n: [...state.calls.values()].filter((one) => !speaker(one)).length,
      mode: state.pending?.mode ? t(`mode.${state.pending.mode}`) : "",
    };
    if (which === "offline")
      return [
        t("banner.offline"),
        one && one.mode !== "monitor" ? t("banner.offline.live", facts) : t("banner.offline.sub"),
      ];
    if (one?.hold && (which === "live" || which === "barge")) return [t("banner.hold"), t("banner.hold.sub", facts)];
    if (which === "live" || which === "barge" || which === "whisper") {
      if (unplugged(state)) return [t("banner.lost"), t(`banner.lost.${which}`, facts)];
      if (state.line.muted) return [t("banner.muted"), t(`banner.muted.${which}`, facts)];
    }
    if (which === "switching") {
      if (state.pending?.kind === "duty" || state.line.state === "opening")
        return [t("banner.opening"), t("banner.opening.sub")];
      if (state.pending?.kind === "release") return [t("banner.leaving"), t("banner.leaving.sub", facts)];
      return [t("banner.switching", facts), t("banner.switching.sub", facts)];
    }
    if (which === "resuming")
      return [t("banner.resuming"), t(resumed(state) ? "banner.resumed.sub" : "banner.resuming.sub", facts)];
    if (which === "live" && aiGone(call)) return [t("banner.live"), t("banner.live.gone", facts)];
    if (which === "live" && deaf(state, call)) return [t("banner.live"), t("banner.live.deaf", facts)];
    if (which !== "idle") return [t(`banner.${which}`), t(`banner.${which}.sub`, facts)];
    const on = state.line.state === "up";
    return [
      t(on ? "banner.on-duty" : "banner.off-duty"),
      t(on ? "banner.on-duty.sub" : "banner.off-duty.sub"),
      t("banner.calls", facts),
    ];
  }

  /** @param {State} state */
  tick(state) {
    const one = mine(state);
    const { stint } = state;
    const timed = stint && one?.phase === "active" && banner(state) !== "offline";
    say(this.timer, timed ? duration(Math.max(0, Date.now() - stint.at) / 1000) : "");
    attribute(this.timer, "aria-label", timed ? t("banner.timer") : null);
  }
}

customElements.define("tk-banner", Banner);
