// @ts-check
// The last few seconds of a meter as a small waveform.

import { meters } from "../meter.js";

/** @import {Reading} from "../analysis.js" */

const BARS = 56;
const LEAST_DB = -54;

class Wave extends HTMLElement {
  /** @type {number[]} */
  levels = new Array(BARS).fill(0);

  canvas = document.createElement("canvas");

  connectedCallback() {
    this.setAttribute("aria-hidden", "true"); // the meter beside it says the same in figures
    this.append(this.canvas);
    meters.addEventListener(this.getAttribute("name") ?? "", this.heard);
    this.draw();
  }

  disconnectedCallback() {
    meters.removeEventListener(this.getAttribute("name") ?? "", this.heard);
  }

  /** @param {Event} event */
  heard = (event) => {
    const reading = /** @type {CustomEvent<Reading|null>} */ (event).detail;
    if (!reading) this.levels.fill(0);
    this.levels.push(reading ? Math.max(0, 1 - reading.rms / LEAST_DB) : 0);
    this.levels.shift();
    if (document.visibilityState === "visible") this.draw();
  };

  draw() {
    const canvas = this.canvas;
    const context = canvas.getContext("2d");
    if (!context) return;
    const [width, height] = [this.clientWidth * devicePixelRatio, this.clientHeight * devicePixelRatio];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(this).color;
    const step = width / BARS;
    for (const [i, level] of this.levels.entries()) {
      const tall = Math.max(devicePixelRatio, level * height);
      context.fillRect(i * step, (height - tall) / 2, Math.max(1, step * 0.55), tall);
    }
  }
}

customElements.define("tk-wave", Wave);
