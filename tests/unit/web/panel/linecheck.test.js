import assert from "node:assert/strict";
import { test } from "node:test";

import { findings, UNKNOWN } from "../../../../web/static/linecheck.js";

/** @import {Facts} from "../../../../web/static/linecheck.js" */

const READING = { rms: -24, peak: -12, clipped: false, floor: -58, speech: true, ratio: 0.4, silent: false };
/** @type {Facts} */
const GOOD = {
  mic: "ok",
  label: "Headset",
  reading: READING,
  spoken: true,
  seconds: 6,
  echo: { above: 3, level: -80 },
  line: "ok",
  quality: { rtt: 12, jitter: 2, loss: 0 },
};

/** @param {Partial<Facts>} facts */
const tones = (facts) => findings({ ...GOOD, ...facts }).map((one) => one.tone);
/** @param {Partial<Facts>} facts @param {string} key */
const text = (facts, key) => findings({ ...GOOD, ...facts }).find((one) => one.key === key)?.text;

test("nothing is known at first, and nothing claimed", () => {
  assert.deepEqual(new Set(findings(UNKNOWN).map((one) => one.tone)), new Set(["wait"]));
});

test("a good headset on a good line passes every question", () => {
  assert.deepEqual(new Set(tones({})), new Set(["good"]));
});

test("each cause has its own remedy, and spoils no other question", () => {
  /** @type {[Partial<Facts>, string, string][]} */
  const cases = [
    [{ reading: { ...READING, clipped: true } }, "level", "check.clipping"],
    [{ reading: { ...READING, rms: -62 }, spoken: false }, "level", "check.quiet"],
    [{ reading: { ...READING, floor: -30 } }, "noise", "check.noise.bad"],
    [{ echo: { above: 30, level: -40 } }, "echo", "check.echo.bad"],
    [{ line: "udp" }, "line", "fault.udp"],
    [{ line: "leg-exists" }, "line", "problem.leg-exists"],
    [{ line: "server" }, "line", "check.line.server"],
    [{ quality: { rtt: 400, jitter: 2, loss: 0 } }, "delay", "check.delay.far"],
    [{ quality: { rtt: 20, jitter: 80, loss: 0 } }, "delay", "check.delay.jitter"],
    [{ quality: { rtt: 20, jitter: 2, loss: 8 } }, "delay", "check.delay.loss"],
  ];
  for (const [facts, key, wanted] of cases) {
    assert.equal(text(facts, key), wanted);
    assert.equal(tones(facts).filter((tone) => tone !== "good").length, 1, wanted);
  }
});

test("without a microphone nothing else is waited for", () => {
  assert.equal(text({ mic: "denied" }, "mic"), "fault.mic-denied");
  assert.equal(text({ mic: "busy" }, "mic"), "leg.busy");
  const others = findings({ ...UNKNOWN, mic: "denied" }).slice(1);
  assert.deepEqual(new Set(others.map((one) => one.text)), new Set(["check.unasked"]));
});

test("a switched-off microphone is told from a quiet one", () => {
  assert.equal(text({ reading: { ...READING, rms: -90, silent: true }, spoken: false }, "level"), "check.silent");
});

test("a tone far below a whisper is no echo, however silent the room", () => {
  assert.equal(text({ echo: { above: 40, level: -75 } }, "echo"), "check.echo.good");
});
