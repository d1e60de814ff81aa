// @ts-check
// Level, clipping, noise floor and speech of a stream of 10 ms blocks. Pure: the meter worker feeds it, the tests too.

const FLOOR_DB = -90;
/** A sample this close to full scale was cut off. */
const CLIP = 0.985;
/** Speech stands this far above the noise floor, dB, and above this level at all, dBFS. */
const SPEECH_ABOVE_DB = 9;
const SPEECH_LEAST_DB = -50;
/** The floor is the quietest of the last 1.5 s; sub-windows of 250 ms make that cheap. */
const WINDOW_BLOCKS = 25;
const WINDOWS = 6;
/** The share of speech is taken over about the last 10 s. */
const RATIO_STEP = 0.001;

/** @typedef {{rms: number, peak: number, clipped: boolean, floor: number, speech: boolean, ratio: number, silent: boolean}} Reading dBFS, and shares of 1 */

export class Analysis {
  #power = 0;
  #peak = 0;
  #blocks = 0;
  #clipped = 0;
  #seen = 0;
  #ratio = 0;
  #speech = false;
  #zeros = 0;
  #quiet = Number.POSITIVE_INFINITY;
  /** @type {number[]} */
  #windows = [];
  #inWindow = 0;

  /** @param {Float32Array} block */
  add(block) {
    let power = 0;
    let peak = 0;
    for (const sample of block) {
      power += sample * sample;
      const size = Math.abs(sample);
      if (size > peak) peak = size;
    }
    power /= block.length || 1;
    this.#power += power;
    this.#peak = Math.max(this.#peak, peak);
    this.#blocks += 1;
    this.#seen += 1;
    this.#zeros = peak === 0 ? this.#zeros + 1 : 0;
    if (peak >= CLIP)
      this.#clipped = 50; // shown for half a second
    else if (this.#clipped) this.#clipped -= 1;

    // Digital silence (a muted track) says nothing about the room.
    if (peak > 0) this.#quiet = Math.min(this.#quiet, power);
    this.#inWindow += 1;
    if (this.#inWindow === WINDOW_BLOCKS) {
      this.#windows.push(this.#quiet);
      if (this.#windows.length > WINDOWS) this.#windows.shift();
      this.#quiet = Number.POSITIVE_INFINITY;
      this.#inWindow = 0;
    }
    const level = decibels(power);
    this.#speech = level > SPEECH_LEAST_DB && level > this.#floor() + SPEECH_ABOVE_DB;
    this.#ratio += (Number(this.#speech) - this.#ratio) * Math.max(RATIO_STEP, 1 / this.#seen);
  }

  #floor() {
    return decibels(Math.min(this.#quiet, ...this.#windows));
  }

  /** What was measured since the last call. @returns {Reading} */
  read() {
    const reading = {
      rms: decibels(this.#blocks ? this.#power / this.#blocks : 0),
      peak: decibels(this.#peak ** 2),
      clipped: this.#clipped > 0,
      floor: this.#floor(),
      speech: this.#speech,
      ratio: this.#ratio,
      silent: this.#zeros >= 100,
    };
    this.#power = this.#peak = this.#blocks = 0;
    return reading;
  }
}

/** @param {number} power mean square, full scale 1 */
export function decibels(power) {
  if (!Number.isFinite(power) || power <= 0) return FLOOR_DB;
  return Math.max(FLOOR_DB, 10 * Math.log10(power));
}

/**
 * What a person should know about a microphone check, as a message key.
 * @param {Reading} reading @param {number} seconds since the check began
 */
export function verdict(reading, seconds) {
  if (reading.clipped) return "check.clipping";
  if (reading.silent && seconds > 1.5) return "check.silent";
  if (reading.floor > -38 && seconds > 2) return "check.noisy";
  if (reading.ratio < 0.05) return seconds > 5 && reading.rms < -55 ? "check.quiet" : "check.speak";
  return "check.good";
}
