import assert from "node:assert/strict";
import { test } from "node:test";

import { Analysis, decibels, verdict } from "../../../../web/static/analysis.js";

const RATE = 48_000;

/** 10 ms blocks of a sine over noise. @param {number} seconds @param {(t: number) => number} level peak of the sine @param {number} noise */
function* sound(seconds, level, noise) {
  let seed = 1;
  for (let block = 0; block < seconds * 100; block += 1) {
    const samples = new Float32Array(RATE / 100);
    for (let i = 0; i < samples.length; i += 1) {
      const t = block / 100 + i / RATE;
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      samples[i] = level(t) * Math.sin(2 * Math.PI * 220 * t) + noise * ((2 * seed) / 2_147_483_648 - 1);
    }
    yield samples;
  }
}

/** @param {Iterable<Float32Array>} blocks */
function reading(blocks) {
  const analysis = new Analysis();
  for (const block of blocks) analysis.add(block);
  return analysis.read();
}

const words = (/** @type {number} */ t) => (t % 1 < 0.5 ? 0.2 : 0);

test("the level of a full sine is 3 dB below full scale, and its noise floor is itself", () => {
  const seen = reading(sound(1, () => 0.9, 0));
  assert.ok(Math.abs(seen.rms - (20 * Math.log10(0.9) - 3.01)) < 0.1, String(seen.rms));
  assert.ok(Math.abs(seen.peak - 20 * Math.log10(0.9)) < 0.1, String(seen.peak));
  assert.equal(seen.clipped, false);
});

test("speech over noise: floor in the pauses, half of the time speech", () => {
  const seen = reading(sound(6, words, 0.003));
  const floor = 20 * Math.log10(0.003 / Math.sqrt(3));
  assert.ok(Math.abs(seen.floor - floor) < 2, `${seen.floor} against ${floor}`);
  assert.ok(seen.ratio > 0.3 && seen.ratio < 0.7, String(seen.ratio));
  assert.equal(verdict(seen, 6), "check.good");
});

test("what is wrong is named", () => {
  assert.equal(verdict(reading(sound(1, () => 1.2, 0)), 1), "check.clipping");
  assert.equal(verdict(reading(sound(3, () => 0, 0)), 3), "check.silent");
  assert.equal(verdict(reading(sound(3, () => 0, 0.05)), 3), "check.noisy");
  assert.equal(verdict(reading(sound(6, () => 0, 0.0005)), 6), "check.quiet");
  assert.equal(verdict(reading(sound(1, () => 0, 0.003)), 1), "check.speak");
});

test("digital silence has a level, not minus infinity", () => {
  assert.equal(decibels(0), -90);
  assert.equal(reading(sound(1, () => 0, 0)).rms, -90);
});
