// @ts-check
// The own line: microphone check before duty, level, voice cleaning and quality on duty.

import * as actions from "../actions.js";
import { setSuppression } from "../agentleg.js";
import { chooseMicrophone } from "../devices.js";
import * as duty from "../duty.js";
import { verdict } from "../analysis.js";
import { holdsTheFloor, mine, micOpen } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, setIcon, show } from "../dom.js";
import { t } from "../messages.js";
import { meters } from "../meter.js";
import { details, noise, remedy, ways } from "../quality.js";
import { store } from "../store.js";
import { act, picture, relabel } from "./buttons.js";
import "./hearing.js";
import "./wave.js";

/** @import {State} from "../types.js" */
/** @import {Reading} from "../analysis.js" */
/** @import {Level, Way} from "../quality.js" */

const LEAST_DB = -60;
/** Long enough to be read. */
const ADVICE_MS = 4000;
/** In the order in which they are told: what only the caller notices comes first. */
const ADVICE = ["check.echo", "check.clipping", "check.silent"];

class OwnLine extends Part {
  /** When the current check began, ms. */
  began = 0;
  /** What is wrong with the microphone on duty: message keys, and when each was last so. @type {Map<string, number>} */
  advised = new Map();
  /** What the voice cleaning took out of the room when last nobody spoke. */
  /** @type {Level|null} */
  room = null;

  constructor() {
    super();
    this.state = h("span", { class: "chip", "data-testid": "duty-state" });
    this.device = h("select", {
      id: "device",
      "aria-label": t("mic.device"),
      "data-testid": "device",
      on: {
        change: (/** @type {Event} */ event) => chooseMicrophone(/** @type {HTMLSelectElement} */ (event.target).value),
      },
    });
    this.level = meter();
    this.micIcon = icon("mic-off");
    this.verdict = h("p", { class: "verdict", role: "status" });
    this.test = act("stethoscope", t("mic.test"), "Q", actions.openCheck, { "data-testid": "mic-test" });
    this.on_ = act("headset", t("duty.on"), "D", duty.goOnDuty, { class: "primary", "data-testid": "duty-on" });
    this.off = act("headset", t("duty.off"), "D", duty.goOffDuty, { "data-testid": "duty-off" });
    this.suppression = toggle("suppression", t("suppression"), () => setSuppression(!store.state.line.suppression));
    this.sound = h("div", { class: "heard" }, h("span", {}, icon("volume-2"), t("sound.call")), wave("call"));
    this.quality = h("dl", { class: "quality figures", "data-testid": "quality" });
    this.details = h("dl", { class: "quality figures" });
    this.known = h(
      "details",
      // What unfolds at the end of a full pane is brought into sight.
      { class: "known", "data-testid": "quality-details", on: { toggle: () => this.scrollTo(0, this.scrollHeight) } },
      h("summary", {}, t("quality.details")),
      this.details,
    );
    this.headset = h("p", { class: "hint" }, icon("headphones"), t("headset.hint"));
    this.rest = h(
      "div",
      { class: "rest", id: "line-rest" },
      ...[this.verdict, this.device, this.sound, this.suppression, this.quality, this.known, this.headset],
      h("div", { class: "buttons" }, this.test, this.off),
    );
    this.more = picture("chevron-up", t("line.more"), () => this.expand(), {
      ...{ class: "quiet more", "aria-expanded": "false", "aria-controls": "line-rest" },
    });
    const levels = h("div", { class: "levels" }, wave("mic"), this.level);
    this.content = [
      document.createElement("tk-hearing"),
      h(
        "section",
        { class: "card own", "aria-labelledby": "line-title" },
        h("header", {}, h("h3", { id: "line-title" }, t("line.title")), this.state),
        h("div", { class: "mic" }, this.micIcon, levels, this.on_, this.more),
        this.rest,
      ),
    ];
    meters.addEventListener("mic", (event) => this.reading(/** @type {CustomEvent<Reading|null>} */ (event).detail));
  }

  expand() {
    const open = this.toggleAttribute("data-open");
    attribute(this.more, "aria-expanded", String(open));
  }

  /** @param {State} state */
  update(state) {
    const { line } = state;
    const up = line.state === "up";
    const off = line.state === "off" || line.state === "testing";
    this.dataset.line = line.state;
    say(this.state, t(`line.${line.state}`));
    attribute(this.state, "data-on", String(up));
    const button = this.on_;
    attribute(button, "aria-disabled", line.state === "opening" ? "true" : null);
    relabel(button, "headset", t(line.state === "opening" ? "duty.opening" : "duty.on"));
    show(button, !up);
    show(this.off, up);
    const speaking = holdsTheFloor(mine(state)?.mode);
    attribute(this.off, "aria-disabled", speaking ? "true" : null);
    attribute(this.off, "title", speaking ? t("why.return-first") : null);
    show(this.test, off);
    show(this.headset, off);
    show(this.suppression, up);
    show(this.sound, up);
    attribute(this.suppression, "aria-checked", String(line.suppression));
    const open = micOpen(state);
    setIcon(this.micIcon, open ? "mic" : "mic-off");
    attribute(this.micIcon, "data-open", String(open));
    keyed(
      this.device,
      [
        { id: "", label: `${t("mic.device")}: ${t("mic.default")}` },
        ...line.devices.filter((one) => one.id !== "default"),
      ],
      (one) => one.id || "default",
      (one) => h("option", { value: one.id }),
      (option, one) => say(option, clean(one.label) || t("mic.unnamed")),
    );
    const select = this.device;
    if (document.activeElement !== select) select.value = line.device;
    this.facts(state);
    const faults = up && line.mic === "ok" ? this.faults(line) : "";
    attribute(this, "data-fault", faults ? "" : null); // on a small screen the line is folded, but for this
    if (line.mic !== "ok") say(this.verdict, t("check.closed"));
    else if (up) say(this.verdict, faults || t(open ? "check.open" : line.muted ? "check.muted" : "check.hard-muted"));
  }

  /** All that is wrong with the own line now, each with its remedy in a line of its own. @param {State["line"]} line */
  faults(line) {
    const faults = ADVICE.filter((key) => this.advised.has(key)).map((key) => t(key));
    const fault = remedy(ways(line));
    if (fault) faults.push(t(fault.text, fault.facts));
    return faults.join("\n");
  }

  /** @param {State} state */
  facts({ line }) {
    this.room = line.state === "up" ? noise(this.room, line.server) : null;
    const { rtt, slow, up, down } = ways(line);
    const facts = [
      { key: "rtt", value: rtt === null ? "" : t("unit.ms", { n: rtt }), bad: slow },
      { key: "up", value: told(up), bad: up.bad },
      { key: "down", value: told(down), bad: down.bad },
      { key: "noise", value: this.room ? t("unit.from-to", this.room) : "", bad: false },
    ].filter((fact) => line.state === "up" && fact.value);
    table(this.quality, facts);
    const known = line.state === "up" ? details(line.server) : [];
    show(this.known, known.length > 0);
    const rows = known.map((one) => ({ key: one.key, value: t(one.text, one.facts), bad: false }));
    table(this.details, rows);
  }

  /** Says what is wrong with the microphone on duty, each for a while. @param {string[]} keys */
  advise(keys) {
    const now = performance.now();
    const before = [...this.advised.keys()].join();
    for (const [key, last] of this.advised) if (now - last > ADVICE_MS) this.advised.delete(key);
    for (const key of keys) this.advised.set(key, now);
    if ([...this.advised.keys()].join() !== before) this.update(store.state);
  }

  /** Fifteen times a second: straight to the element, the store stays out of it. @param {Reading|null} reading */
  reading(reading) {
    const level = this.level;
    const share = (/** @type {number} */ db) => String(Math.min(1, Math.max(0, 1 - db / LEAST_DB)));
    level.style.setProperty("--level", reading ? share(reading.rms) : "0");
    level.style.setProperty("--peak", reading ? share(reading.peak) : "0");
    level.style.setProperty("--floor", reading ? share(reading.floor) : "0");
    attribute(level, "data-clipped", reading?.clipped ? "true" : null);
    attribute(level, "aria-valuenow", reading ? Math.round(Math.max(LEAST_DB, reading.rms)) : LEAST_DB);
    attribute(level, "aria-valuetext", reading ? t("unit.dbfs", { n: Math.round(reading.rms) }) : t("check.closed"));
    this.began = reading ? this.began || performance.now() : 0;
    if (!reading) return;
    if (store.state.line.state !== "up")
      say(this.verdict, t(verdict(reading, (performance.now() - this.began) / 1000)));
    else this.advise(advice(reading, Boolean(store.state.line.server?.echo)));
  }
}

/** Of the own microphone. */
const meter = () =>
  h(
    "div",
    {
      class: "meter",
      role: "meter",
      "data-testid": "mic-level",
      "aria-label": t("mic.level"),
      "aria-valuemin": LEAST_DB,
      "aria-valuemax": 0,
      "aria-valuenow": LEAST_DB,
    },
    h("span", { class: "bar" }),
    h("span", { class: "floor" }),
  );

/** @param {string} hook @param {string} words @param {() => unknown} run */
const toggle = (hook, words, run) =>
  h(
    "button",
    { type: "button", class: "switch", role: "switch", "data-testid": hook, on: { click: run } },
    h("span", { class: "knob" }),
    h("span", {}, words),
  );

/** What is wrong with the microphone on duty. @param {Reading} reading @param {boolean} echo the caller hears himself */
const advice = (reading, echo) => [
  ...(echo ? ["check.echo"] : []),
  ...(reading.clipped ? ["check.clipping"] : []),
  ...(reading.silent ? ["check.silent"] : []),
];

/** Rows of names and figures. @param {HTMLElement} list @param {{key: string, value: string, bad: boolean}[]} facts */
const table = (list, facts) =>
  keyed(
    list,
    facts,
    (fact) => fact.key,
    (fact) =>
      h(
        "div",
        { title: t(`quality.${fact.key}.title`) },
        h("dt", {}, t(`quality.${fact.key}`)),
        h("dd", {}, icon("triangle-alert"), h("span", { class: "unseen" }, t("quality.bad")), h("span")),
      ),
    (row, fact) => {
      attribute(row, "data-bad", String(fact.bad));
      for (const mark of row.querySelectorAll(".icon, .unseen")) attribute(mark, "hidden", fact.bad ? null : "");
      say(/** @type {Element} */ (row.lastElementChild?.lastElementChild), fact.value);
    },
  );

/** @param {Way} way */
const told = ({ loss, jitter }) => (loss === null || jitter === null ? "" : t("quality.way", { loss, jitter }));

/** @param {string} name */
function wave(name) {
  const element = document.createElement("tk-wave");
  element.setAttribute("name", name);
  return element;
}

customElements.define("tk-line", OwnLine);
