// @ts-check
// Who hears whom now, as a picture: the caller, the AI, me, and a colleague who is there too, with a sentence for those who do not see it.

import { deaf, hears, micOpen, mine, name, others, selectedCall } from "../derive.js";
import { attribute, clean, h, iconRef, Part, say, show, svg } from "../dom.js";
import { t } from "../messages.js";
import { partIn } from "../names.js";

/** @import {State} from "../types.js" */
/** @typedef {{x: number, y: number}} Point */

const TOP = { caller: { x: 52, y: 48 }, ai: { x: 208, y: 48 } };
/** @type {Record<string, Point>} */
const THREE = { ...TOP, me: { x: 130, y: 116 } };
/** @type {Record<string, Point>} */
const FOUR = { ...TOP, me: { x: 52, y: 130 }, other: { x: 208, y: 130 } };
const RADIUS = 22;
const APART = 6;
const WHO = /** @type {const} */ (["caller", "ai", "me", "other"]);
const PATHS = WHO.flatMap((from) => WHO.filter((to) => to !== from).map((to) => `${from}>${to}`));
const IMAGES = { caller: "user", ai: "bot", me: "headset", other: "users" };

class Hearing extends Part {
  constructor() {
    super();
    /** @type {Record<string, Element>} */
    this.paths = Object.fromEntries(PATHS.map((path) => [path, svg("path", { class: "path", "data-path": path })]));
    /** @type {Record<string, Element>} */
    this.nodes = {};
    /** @type {Record<string, Element>} */
    this.labels = {};
    for (const who of WHO) {
      const below = who === "me" || who === "other";
      const label = svg("text", { y: below ? RADIUS + 17 : -RADIUS - 10, "text-anchor": "middle" });
      /** @type {Record<string, Element>} */ (this.labels)[who] = label;
      /** @type {Record<string, Element>} */ (this.nodes)[who] = svg(
        "g",
        { class: "node", "data-who": who },
        svg("circle", { class: "ring", r: RADIUS + 4 }),
        svg("circle", { class: "disc", r: RADIUS }),
        svg("use", { href: iconRef(IMAGES[who]), x: -11, y: -11, width: 22, height: 22 }),
        label,
      );
    }
    this.picture = svg(
      "svg",
      { class: "hearing", role: "img" },
      ...Object.values(this.paths),
      ...Object.values(this.nodes),
    );
    this.place(THREE);
    /** Where a colleague speaks: what the picture shows, in words too. */
    this.words = h("p", { class: "hint", "aria-hidden": "true", "data-testid": "hearing-words" });
    this.content = [
      h("section", { class: "card" }, h("h3", {}, t("hearing.title")), /** @type {any} */ (this.picture), this.words),
    ];
  }

  /** Who stands where: a colleague makes room for himself. @param {Record<string, Point>} at */
  place(at) {
    const { picture, nodes, paths } = /** @type {Required<Hearing>} */ (this);
    attribute(picture, "viewBox", `0 0 260 ${at === FOUR ? 174 : 160}`);
    for (const [who, node] of Object.entries(nodes)) {
      const { x, y } = at[who] ?? { x: 0, y: 0 };
      attribute(node, "hidden", !at[who]);
      attribute(node, "transform", `translate(${x} ${y})`);
    }
    for (const [path, element] of Object.entries(paths)) {
      const [from, to] = path.split(">").map((who) => at[who]);
      attribute(element, "hidden", !from || !to);
      attribute(element, "d", from && to ? arrow(from, to) : "");
    }
  }

  /** @param {State} state */
  update(state) {
    const call = selectedCall(state);
    this.hidden = !call || !state.calls.has(call.id);
    if (!call) return;
    const one = mine(state);
    const here = one?.call === call.id && one.phase !== "connecting" ? one : null;
    const all = others(state, call).filter((one) => one.phase !== "connecting");
    const [other = null] = all;
    const otherSpeaks = other?.mode === "takeover";
    const open = micOpen(state) && here !== null;
    const shut = deaf(state, call);
    const audible = hears(here?.mode ?? null, { open, hold: here?.hold ?? false, other, deaf: shut });
    this.place(other ? FOUR : THREE);
    for (const [path, element] of Object.entries(this.paths ?? {}))
      attribute(element, "data-on", String(audible.has(path)));
    const talking = call.talking ?? {};
    const nodes = /** @type {Record<typeof WHO[number], Element>} */ (this.nodes);
    attribute(nodes.caller, "data-talking", String(talking.caller === true));
    attribute(nodes.ai, "data-talking", String(talking.ai === true && audible.has("ai>caller")));
    attribute(nodes.me, "data-talking", String(talking.agent === true && open));
    attribute(nodes.me, "data-present", String(here !== null));
    attribute(nodes.me, "data-open", String(open));
    attribute(nodes.other, "data-talking", String(talking.agent === true && audible.has("other>caller")));
    attribute(nodes.other, "data-speaks", String(audible.has("other>caller")));
    attribute(nodes.ai, "data-muted", String(!audible.has("ai>caller")));
    const more = all.length > 1 ? ` +${all.length - 1}` : "";
    const names = {
      caller: short(name(call)) || t("role.caller"),
      ai: short(call.ai.name),
      me: here ? (open ? t("hearing.you-open") : t("hearing.you-closed")) : t("hearing.you-out"),
      other: other ? short(other.agent_name, 16 - more.length) + more : "",
    };
    for (const [who, text] of Object.entries(names)) say(/** @type {Element} */ (this.labels?.[who]), text);
    const told = t(sentence(here, otherSpeaks, shut), {
      caller: clean(name(call)) || t("caller.unknown"),
      ai: clean(call.ai.name),
      agent: clean(other?.agent_name),
    });
    // Of who speaks in the AI's place the sentence tells already.
    const rest = (otherSpeaks ? all.slice(1) : all).map((one) => partIn(state, one));
    const words = rest.length ? `${told} ${rest.join(", ")}.` : told;
    attribute(this.picture, "aria-label", words);
    say(this.words, words);
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

/** @param {string} text @param {number} [most] */
const short = (text, most = 16) => {
  const safe = clean(text);
  return safe.length > most ? `${safe.slice(0, most - 1)}…` : safe;
};

/** The way from one to another, drawn. @param {Point} from @param {Point} to */
function arrow({ x: x1, y: y1 }, { x: x2, y: y2 }) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [sx, sy] = [-uy * APART, ux * APART]; // there and back run side by side
  const start = { x: x1 + ux * (RADIUS + 9) + sx, y: y1 + uy * (RADIUS + 9) + sy };
  const end = { x: x2 - ux * (RADIUS + 9) + sx, y: y2 - uy * (RADIUS + 9) + sy };
  const wing = (/** @type {number} */ side) => `${end.x - ux * 6 + side * -uy * 4} ${end.y - uy * 6 + side * ux * 4}`;
  return `M${start.x} ${start.y}L${end.x} ${end.y}M${wing(1)}L${end.x} ${end.y}L${wing(-1)}`;
}

customElements.define("tk-hearing", Hearing);
