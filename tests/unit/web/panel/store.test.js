import assert from "node:assert/strict";
import { test } from "node:test";

import { banner, mine, voice } from "../../../../web/static/derive.js";
import { reduce } from "../../../../web/static/store.js";
import { call, engagement, ME, state } from "./fixtures.js";

/** @import {Change, State} from "../../../../web/static/types.js" */

/** @param {State} now @param {...Change} changes */
const delta = (now, ...changes) => reduce(now, { type: "delta", rev: now.rev + 1, changes });
/** @param {string} turn @param {string} text @param {boolean} final @param {string} [at] */
const said = (turn, text, final, at = "2026-11-22T10:00:05Z") =>
  /** @type {Change} */ ({ kind: "turn", call: "alpha~1", turn: { turn, speaker: "caller", text, at, final } });

test("a partial turn grows in place, and a late partial does not undo the final text", () => {
  let now = delta(
    state([call()]),
    said("t1", "I was", false),
    said("t1", "I was charged", false),
    said("t1", "I was charged twice.", true),
  );
  now = delta(now, said("t1", "I was charged", false));
  assert.deepEqual(
    now.turns.get("alpha~1")?.map((turn) => [turn.text, turn.final]),
    [["I was charged twice.", true]],
  );
});

test("the fetched transcript and live turns become one, in the order of time", () => {
  let now = delta(state([call()]), said("t3", "three", true, "2026-11-22T10:00:30Z"));
  const fetched = [
    said("t1", "one", true, "2026-11-22T10:00:10Z"),
    said("t2", "two", true, "2026-11-22T10:00:20Z"),
  ].map((change) => /** @type {any} */ (change).turn);
  now = reduce(now, { type: "transcript", call: "alpha~1", turns: fetched });
  assert.deepEqual(
    now.turns.get("alpha~1")?.map((turn) => turn.text),
    ["one", "two", "three"],
  );
});

test("the end of my engagement is news with its reason, whichever change comes first", () => {
  const live = state([call({ engagements: [engagement()] })]);
  const ended = engagement({ phase: "ended", ended: "deadman" });
  const told = delta(live, { kind: "engagement", engagement: ended });
  assert.equal(told.after?.reason, "deadman");
  const callFirst = delta(live, { kind: "call", call: call() }, { kind: "engagement", engagement: ended });
  assert.equal(callFirst.after?.reason, "deadman");
  assert.equal(banner(told), "resuming");
  assert.equal(mine(told), null);
});

test("another agent's end is no news of mine", () => {
  const live = state([
    call({ engagements: [engagement(), engagement({ id: "e2", agent: "ben", leg: "leg-2", mode: "monitor" })] }),
  ]);
  const now = delta(live, {
    kind: "engagement",
    engagement: engagement({ id: "e2", agent: "ben", leg: "leg-2", phase: "ended", ended: "released" }),
  });
  assert.equal(now.after, null);
  assert.equal(mine(now)?.id, "e1");
});

test("what ended unseen is told after a reconnect", () => {
  const live = state([call({ engagements: [engagement()] })], { type: "link", up: false });
  const again = (/** @type {any} */ calls) => reduce(live, { type: "snapshot", rev: 9, me: ME, calls, pbxs: [] });
  assert.equal(again([call()]).after?.reason, "unseen");
  assert.equal(again([]).after?.reason, "call-ended-unseen");
  assert.equal(again([call({ engagements: [engagement()] })]).after, null);
});

test("an answer that comes after the end does not bring the engagement back", () => {
  const live = state([call({ engagements: [engagement()] })]);
  const over = delta(live, { kind: "engagement", engagement: engagement({ phase: "ended", ended: "no-microphone" }) });
  assert.equal(mine(reduce(over, { type: "engagement", engagement: engagement() })), null);
});

test("a selected call stays readable after its end, and is forgotten with the next choice", () => {
  let now = delta(state([call()], { type: "select", call: "alpha~1" }), said("t1", "Bye.", true));
  now = delta(now, { kind: "call-gone", id: "alpha~1", why: "hangup" });
  assert.equal(now.gone?.why, "hangup");
  assert.equal(now.turns.get("alpha~1")?.length, 1);
  assert.equal(reduce(now, { type: "select", call: null }).gone, null);
});

test("a new engagement clears the measurement of the one before", () => {
  const measured = delta(state([call()]), { kind: "measured", call: "alpha~1", facts: { heard_ms: 31, gap_ms: 20 } });
  const now = delta(measured, { kind: "engagement", engagement: engagement() });
  assert.equal(now.measured.get("alpha~1"), undefined);
});

test("a change of a kind that this panel does not know changes nothing else", () => {
  const before = state([call()]);
  const after = delta(before, /** @type {any} */ ({ kind: "presence", agents: [] }));
  assert.deepEqual({ ...after, rev: 0 }, { ...before, rev: 0 });
});

test("who took a call that asked for a person is remembered until nobody speaks or help is asked for again", () => {
  const asked = { reason: "x", priority: /** @type {const} */ ("urgent"), since: "2026-11-22T10:00:01Z" };
  const ben = engagement({ agent: "ben", agent_name: "Ben", leg: "leg-2", since: "2026-11-22T10:00:05Z" });
  const taken = delta(
    state([call({ escalation: asked })]),
    { kind: "engagement", engagement: ben },
    { kind: "call", call: call({ engagements: [ben] }) },
  );
  assert.equal(taken.answered.get("alpha~1")?.agent, "Ben");
  const ended = delta(taken, { kind: "engagement", engagement: { ...ben, phase: "ended", ended: "released" } });
  assert.equal(ended.answered.size, 0);
  const again = { ...asked, since: "2026-11-22T10:00:09Z" };
  const helped = delta(taken, { kind: "call", call: call({ engagements: [ben], escalation: again }) });
  assert.equal(helped.answered.size, 0);
  const listened = delta(state([call({ escalation: asked })]), {
    kind: "engagement",
    engagement: { ...ben, mode: "monitor" },
  });
  assert.equal(listened.answered.size, 0);
});

test("a mode has a time of its own, though the engagement goes on", (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  let now = delta(state([call()]), { kind: "engagement", engagement: engagement({ mode: "monitor" }) });
  assert.equal(now.stint?.at, 1_000_000);
  context.mock.timers.tick(60_000);
  now = delta(now, { kind: "measured", call: "alpha~1", facts: { heard_ms: 317, gap_ms: 53 } });
  now = delta(now, { kind: "engagement", engagement: engagement({ mode: "takeover" }) });
  assert.deepEqual(now.stint, { engagement: "e1", mode: "takeover", at: 1_060_000 });
  assert.equal(now.measured.size, 0); // that was a colleague's voice
  context.mock.timers.tick(5_000);
  now = delta(now, { kind: "engagement", engagement: engagement({ mode: "takeover", hold: true }) });
  assert.equal(now.stint?.at, 1_060_000);
  now = delta(now, { kind: "engagement", engagement: engagement({ phase: "ended", ended: "released" }) });
  assert.equal(now.stint, null);
});

test("who spoke last is remembered, so that the words stay theirs", () => {
  const ben = engagement({ id: "e2", agent: "ben", agent_name: "Ben", leg: "leg-2" });
  const listens = engagement({ mode: "monitor" });
  let now = delta(
    state([call()]),
    { kind: "engagement", engagement: listens },
    { kind: "engagement", engagement: ben },
  );
  const shown = () => voice(now, now.calls.get("alpha~1") ?? null);
  assert.deepEqual(shown(), { own: false, name: "Ben" }); // not mine, though I am in the call
  now = delta(now, { kind: "engagement", engagement: { ...ben, phase: "ended", ended: "released" } });
  assert.deepEqual(shown(), { own: false, name: "Ben" });
  now = delta(now, { kind: "engagement", engagement: { ...listens, mode: "takeover" } });
  assert.deepEqual(shown(), { own: true, name: "Anna Berg" });
  now = delta(now, { kind: "engagement", engagement: { ...listens, phase: "ended", ended: "released" } });
  assert.deepEqual(shown(), { own: true, name: "Anna Berg" });
});

test("a line that is being opened is said in the banner", () => {
  const opening = /** @type {const} */ ({ type: "line", facts: { state: "opening", id: null } });
  assert.equal(banner(state([call()], opening)), "switching");
});
