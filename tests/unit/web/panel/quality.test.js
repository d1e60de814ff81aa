// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { details, noise, remedy, ways } from "../../../../web/static/quality.js";

const BROWSER = { rtt: 20, jitter: 3, loss: 0 };
const SERVER = { lost: 0, lost_at_browser: 0, jitter_ms: 4.4, rtt_ms: 30, level_in: -26, level_out: -21 };

test("each way has its own figures", () => {
  const server = { ...SERVER, lost: 0.0123 };
  const found = ways({ quality: { ...BROWSER, loss: 0.5 }, server });
  assert.deepEqual(found.up, { loss: 1.2, jitter: 4, bad: false });
  assert.deepEqual(found.down, { loss: 0.5, jitter: 3, bad: false });
  assert.equal(found.rtt, 20);
});

test("what nobody has told yet is unknown, and no fault", () => {
  const found = ways({ quality: { rtt: null, jitter: null, loss: null }, server: null });
  assert.deepEqual(found.up, { loss: null, jitter: null, bad: false });
  assert.equal(remedy(found), null);
});

test("the worse of two counts of one way is shown", () => {
  assert.equal(ways({ quality: { ...BROWSER, loss: 1 }, server: { ...SERVER, lost_at_browser: 0.08 } }).down.loss, 8);
});

test("a fault is named with its side: what the caller misses comes first", () => {
  /** @param {Record<string, number>} server @param {Record<string, number>} browser */
  const said = (server, browser = {}) =>
    remedy(ways({ quality: { ...BROWSER, ...browser }, server: { ...SERVER, ...server } }));
  assert.deepEqual(said({ lost: 0.08 }, { loss: 9 }), { text: "quality.up.loss", facts: { n: 8 } });
  assert.deepEqual(said({ jitter_ms: 90 }), { text: "quality.up.jitter", facts: { n: 90 } });
  assert.deepEqual(said({ lost_at_browser: 0.08 }), { text: "quality.down.loss", facts: { n: 8 } });
  assert.deepEqual(said({}, { jitter: 70 }), { text: "quality.down.jitter", facts: { n: 70 } });
  assert.deepEqual(said({}, { rtt: 400 }), { text: "check.delay.far", facts: { rtt: 400 } });
  assert.equal(said({}), null);
});

test("the room is heard between two words, and what was heard stays", () => {
  const paused = { ...SERVER, speaking: 0, level_in: -48.4, level_out: -120 };
  assert.deepEqual(noise(null, paused), { from: -48, to: -99 });
  assert.deepEqual(noise({ from: -48, to: -99 }, { ...SERVER, speaking: 1 }), { from: -48, to: -99 });
  assert.equal(noise(null, { ...SERVER, speaking: 1 }), null);
});

test("a muted microphone says nothing about the room", () => {
  assert.equal(noise(null, { ...SERVER, speaking: 0, level_in: -100, level_out: -100 }), null);
  assert.equal(noise(null, null), null);
});

test("what became of the own sound is told in shares and seconds, and not at all before the server tells", () => {
  const counts = { played: 900, recovered: 80, concealed: 12, stretched: 8, underruns: 5, noise: 95, buffer_ms: 27.4 };
  const found = Object.fromEntries(details({ ...SERVER, ...counts }).map((one) => [one.key, one.facts.n]));
  assert.deepEqual(found, { restored: 8, invented: 2, missing: 2, waits: 27 });
  assert.deepEqual(details(SERVER), []);
  assert.deepEqual(details(null), []);
});
