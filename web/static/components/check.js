// @ts-check
// The check before duty: devices, level, noise, echo, and the way to the server, each with its remedy.

import * as devices from "../devices.js";
import { listenForEcho } from "../echo.js";
import { attribute, clean, h, icon, keyed, Part, say, setIcon, show } from "../dom.js";
import { findings, UNKNOWN } from "../linecheck.js";
import { t } from "../messages.js";
import { meters } from "../meter.js";
import { failed } from "../notices.js";
import { LegError } from "../rtc.js";
import { store } from "../store.js";
import * as trial from "../trial.js";

/** @import {Reading} from "../analysis.js" */
/** @import {Facts, Finding} from "../linecheck.js" */
/** @import {State} from "../types.js" */

const ICONS = { wait: "circle-help", good: "circle-check", warn: "triangle-alert", bad: "circle-alert" };
/** A voice at this share of the time is no accident. */
const SPOKEN = 0.05;

class Check extends Part {
  /** @type {Facts} */
  facts = UNKNOWN;
  began = 0;

  constructor() {
    super();
    this.microphone = picker("check-microphone", (id) => devices.chooseMicrophone(id));
    this.speaker = picker("check-speaker", (id) => devices.chooseSpeaker(id));
    this.speakerField = h("div", {}, h("label", { for: "check-speaker" }, t("speaker.device")), this.speaker);
    this.list = h("ul", { class: "findings", "aria-live": "polite" });
    this.echo = h(
      "button",
      { type: "button", "data-testid": "check-echo", on: { click: () => this.listen() } },
      icon("volume-2"),
      t("check.echo.play"),
    );
    this.content = [
      h(
        "div",
        { class: "devices" },
        h("div", {}, h("label", { for: "check-microphone" }, t("mic.device")), this.microphone),
        this.speakerField,
      ),
      this.list,
      this.echo,
    ];
    this.read = (/** @type {Event} */ event) => this.reading(/** @type {CustomEvent<Reading|null>} */ (event).detail);
  }

  connectedCallback() {
    super.connectedCallback();
    meters.addEventListener("mic", this.read);
    void this.start();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    meters.removeEventListener("mic", this.read);
    trial.endCheck();
  }

  async start() {
    try {
      await trial.beginCheck();
      this.began = performance.now();
      this.found({ mic: "ok", label: clean(store.state.line.micLabel) || t("mic.unnamed") });
    } catch (error) {
      if (!(error instanceof LegError) || error.why === "udp" || error.why === "closed") return failed(error);
      return this.found({ mic: error.why });
    }
    try {
      this.found({ quality: await trial.probeLine(), line: "ok" });
    } catch (error) {
      if (!this.isConnected) return;
      const slug = /** @type {{slug?: string}} */ (error).slug;
      if (error instanceof LegError && error.why === "udp") this.found({ line: "udp" });
      else this.found({ line: slug === "leg-exists" ? "leg-exists" : "server" });
    }
  }

  async listen() {
    const stream = devices.microphone();
    if (!stream) return;
    this.echo.disabled = true;
    try {
      this.found({ echo: await listenForEcho(stream, store.state.line.speaker) });
    } finally {
      this.echo.disabled = false;
    }
  }

  /** @param {Reading|null} reading */
  reading(reading) {
    if (!reading) return;
    const spoken = this.facts.spoken || (reading.ratio >= SPOKEN && !reading.clipped && reading.peak > -40);
    this.found({ reading, spoken, seconds: (performance.now() - this.began) / 1000 });
  }

  /** @param {Partial<Facts>} facts */
  found(facts) {
    this.facts = { ...this.facts, ...facts };
    this.update(store.state);
  }

  /** @param {State} state */
  update({ line }) {
    fill(this.microphone, line.devices, line.device);
    fill(this.speaker, line.speakers, line.speaker);
    show(this.speakerField, line.speakers.length > 0);
    show(this.echo, this.facts.mic === "ok");
    keyed(
      this.list,
      findings(this.facts),
      (one) => one.key,
      (one) =>
        h(
          "li",
          { "data-testid": `finding-${one.key}` },
          icon("circle-help"),
          h("strong", {}, t(`finding.${one.key}`)),
          h("span"),
        ),
      (row, one) => {
        attribute(row, "data-tone", one.tone);
        setIcon(/** @type {Element} */ (row.firstElementChild), ICONS[one.tone]);
        say(/** @type {Element} */ (row.lastElementChild), t(one.text, one.facts));
      },
    );
  }
}

/** @param {string} id @param {(device: string) => unknown} choose */
const picker = (id, choose) =>
  h("select", {
    id,
    "data-testid": id,
    on: { change: (/** @type {Event} */ event) => choose(/** @type {HTMLSelectElement} */ (event.target).value) },
  });

/** @param {HTMLSelectElement} select @param {readonly {id: string, label: string}[]} devices @param {string} chosen */
function fill(select, devices, chosen) {
  keyed(
    select,
    [{ id: "", label: t("mic.default") }, ...devices.filter((one) => one.id !== "default")],
    (one) => one.id || "default",
    (one) => h("option", { value: one.id }),
    (option, one) => say(option, clean(one.label) || t("mic.unnamed")),
  );
  if (document.activeElement !== select) select.value = chosen;
}

customElements.define("tk-check", Check);
