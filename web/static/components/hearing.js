// @ts-check
// Who hears whom now, as a picture of three people and six paths, with a sentence for those who do not see it.

import { deaf, hears, micOpen, mine, name, selectedCall, speaker } from "../derive.js";
import { attribute, clean, h, iconRef, Part, say, show, svg } from "../dom.js";
import { t } from "../messages.js";

/** @import {State} from "../types.js" */
/** @typedef {{x: number, y: number}} Point */

/** @type {Record<string, Point>} */
const AT = { caller: { x: 52, y: 48 }, ai: { x: 208, y: 48 }, me: { x: 130, y: 116 } };
const RADIUS = 22;
const APART = 6;
const PATHS = ["caller>ai", "ai>caller", "caller>me", "me>caller", "ai>me", "me>ai"];
const IMAGES = { caller: "user", ai: "bot", me: "headset" };

class Hearing extends Part {
  constructor() {
    super();
    /** @type {Record<string, Element>} */
    this.paths = Object.fromEntries(PATHS.map((path) => [path, arrow(path)]));
    /** @type {Record<string, Element>} */
    this.nodes = {};
    /** @type {Record<string, Element>} */
    this.labels = {};
    const nodes = Object.entries(AT).map(([who, { x, y }]) => {
      const label = svg("text", { x, y: who === "me" ? y + RADIUS + 17 : y - RADIUS - 10, "text-anchor": "middle" });
      const node = svg(
        "g",
        { class: "node", "data-who": who },
        svg("circle", { class: "ring", cx: x, cy: y, r: RADIUS + 4 }),
        svg("circle", { class: "disc", cx: x, cy: y, r: RADIUS }),
        svg("use", {
          href: iconRef(IMAGES[/** @type {keyof typeof IMAGES} */ (who)]),
          x: x - 11,
          y: y - 11,
          width: 22,
          height: 22,
        }),
        label,
      );
      /** @type {Record<string, Element>} */ (this.nodes)[who] = node;
      /** @type {Record<string, Element>} */ (this.labels)[who] = label;
      return node;
    });
    this.picture = svg(
      "svg",
      { class: "hearing", viewBox: "0 0 260 160", role: "img" },
      ...Object.values(this.paths),
      ...nodes,
    );
    /** Where a colleague speaks, whom the picture does not have. */
    this.words = h("p", { class: "hint", "aria-hidden": "true", "data-testid": "hearing-words" });
    this.content = [
      h("section", { class: "card" }, h("h3", {}, t("hearing.title")), /** @type {any} */ (this.picture), this.words),
    ];
  }

  /** @param {State} state */
  update(state) {
    const call = selectedCall(state);
    this.hidden = !call || !state.calls.has(call.id);
    if (!call) return;
    const one = mine(state);
    const here = one?.call === call.id && one.phase !== "connecting" ? one : null;
    const floor = speaker(call);
    const otherSpeaks = floor !== null && floor.id !== here?.id && floor.mode === "takeover";
    const open = micOpen(state) && here !== null;
    const audible = hears(here?.mode ?? null, {
      open,
      hold: here?.hold ?? false,
      otherSpeaks,
      deaf: deaf(state, call),
    });
    for (const [path, element] of Object.entries(this.paths ?? {}))
      attribute(element, "data-on", String(audible.has(path)));
    const talking = call.talking ?? {};
    const nodes = /** @type {Record<string, Element>} */ (this.nodes);
    attribute(/** @type {Element} */ (nodes.caller), "data-talking", String(talking.caller === true));
    attribute(
      /** @type {Element} */ (nodes.ai),
      "data-talking",
      String(talking.ai === true && audible.has("ai>caller")),
    );
    attribute(/** @type {Element} */ (nodes.me), "data-talking", String(talking.agent === true && open));
    attribute(/** @type {Element} */ (nodes.me), "data-present", String(here !== null));
    attribute(/** @type {Element} */ (nodes.me), "data-open", String(open));
    attribute(/** @type {Element} */ (nodes.ai), "data-muted", String(!audible.has("ai>caller")));
    const names = {
      caller: short(name(call)) || t("role.caller"),
      ai: short(call.ai.name),
      me: here ? (open ? t("hearing.you-open") : t("hearing.you-closed")) : t("hearing.you-out"),
    };
    for (const [who, text] of Object.entries(names)) say(/** @type {Element} */ (this.labels?.[who]), text);
    const told = t(sentence(here, otherSpeaks, deaf(state, call)), {
      caller: clean(name(call)) || t("caller.unknown"),
      ai: clean(call.ai.name),
      agent: clean(floor?.agent_name),
    });
    attribute(this.picture, "aria-label", told);
    say(this.words, told);
    show(this.words, otherSpeaks);
  }
}

/** @param {import("../types.js").Engagement|null} here @param {boolean} otherSpeaks @param {boolean} shut */
function sentence(here, otherSpeaks, shut) {
  if (here?.hold) return "hearing.hold";
  if (otherSpeaks && here) return `hearing.other.${shut ? "monitor" : here.mode}`;
  if (otherSpeaks) return shut ? "hearing.other-deaf" : "hearing.other";
  if (shut && here?.mode === "takeover") return "hearing.takeover-deaf";
  return `hearing.${here ? here.mode : "none"}`;
}

/** @param {string} text */
const short = (text) => {
  const safe = clean(text);
  return safe.length > 16 ? `${safe.slice(0, 15)}…` : safe;
};

/** @param {string} path `from>to` */
function arrow(path) {
  const [from, to] = path.split(">").map((who) => /** @type {Point} */ (AT[who]));
  const { x: x1, y: y1 } = /** @type {Point} */ (from);
  const { x: x2, y: y2 } = /** @type {Point} */ (to);
  const length = Math.hypot(x2 - x1, y2 - y1);
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [sx, sy] = [-uy * APART, ux * APART]; // there and back run side by side
  const start = { x: x1 + ux * (RADIUS + 9) + sx, y: y1 + uy * (RADIUS + 9) + sy };
  const end = { x: x2 - ux * (RADIUS + 9) + sx, y: y2 - uy * (RADIUS + 9) + sy };
  const wing = (/** @type {number} */ side) => `${end.x - ux * 6 + side * -uy * 4} ${end.y - uy * 6 + side * ux * 4}`;
  return svg("path", {
    class: "path",
    "data-path": path,
    d: `M${start.x} ${start.y}L${end.x} ${end.y}M${wing(1)}L${end.x} ${end.y}L${wing(-1)}`,
  });
}

customElements.define("tk-hearing", Hearing);
