import assert from "node:assert/strict";
import { test } from "node:test";

import {
  asking,
  banner,
  hears,
  hindrance,
  micOpen,
  unplugged,
  mine,
  MODES,
  ordered,
  others,
} from "../../../../web/static/derive.js";
import { call, engagement, state } from "./fixtures.js";

/** @import {Mode, Pending, Phase} from "../../../../web/static/types.js" */

test("an AI that is to hear nothing hears nobody while a person speaks in its place", () => {
  assert.deepEqual([...hears("takeover", { open: true, deaf: true })].sort(), ["caller>me", "me>caller"]);
  assert.deepEqual([...hears(null, { open: false, other: { mode: "takeover" }, deaf: true })].sort(), [
    "caller>other",
    "other>caller",
  ]);
  assert.ok(hears("barge", { open: true, deaf: true }).has("caller>ai"));
  assert.ok(hears(null, { open: false, deaf: true }).has("caller>ai"));
});

test("who listens to a colleague does not hear the AI, which is silent", () => {
  const paths = [...hears("monitor", { open: false, other: { mode: "takeover" } })].sort().join(" ");
  assert.equal(paths, "caller>ai caller>me caller>other other>ai other>caller other>me");
  assert.ok(hears("monitor", { open: false }).has("ai>me"));
});

test("the microphone is open only in a speaking mode that nobody has asked to leave, or on the way into one", () => {
  /** @type {Phase[]} */
  const phases = ["connecting", "active", "switching", "releasing", "ended"];
  /** @type {(Pending|null)[]} */
  const wishes = [
    null,
    { kind: "release", call: "alpha~1" },
    { kind: "hold", call: "alpha~1" },
    { kind: "hangup", call: "alpha~1" },
    ...MODES.map((mode) => /** @type {Pending} */ ({ kind: "change", call: "alpha~1", mode })),
  ];
  let open = 0;
  for (const mode of MODES)
    for (const phase of phases)
      for (const pending of wishes)
        for (const muted of [false, true])
          for (const hold of [false, true])
            for (const line of /** @type {const} */ (["off", "testing", "opening", "up", "lost"]))
              for (const leg of ["leg-1", "another window's"]) {
                const now = state(
                  [call({ engagements: [engagement({ mode, phase, hold, leg })] })],
                  { type: "pending", pending },
                  { type: "line", facts: { muted, state: line } },
                );
                if (!micOpen(now)) continue;
                open += 1;
                const where = JSON.stringify({ mode, phase, pending, muted, hold, line, leg });
                assert.ok(mode !== "monitor" || (pending?.mode && pending.mode !== "monitor"), where);
                assert.ok(
                  phase === "active" || phase === "switching" || (phase === "connecting" && pending?.mode),
                  where,
                );
                assert.ok(!muted && !hold && line === "up" && leg === "leg-1", where);
                assert.ok(pending?.kind !== "release" && pending?.mode !== "monitor", where);
              }
  // 2 phases x 3 speaking modes x 3 harmless wishes, 3 phases x 4 modes x 3 wishes to speak: neither more nor fewer
  assert.equal(open, 18 + 36);
});

test("the microphone opens with the click that takes a call over, not with one that listens or while in another call", () => {
  const wish = (/** @type {any} */ mode, /** @type {any[]} */ engagements = []) =>
    micOpen(
      state(
        [call({ engagements }), call({ id: "alpha~2" })],
        { type: "pending", pending: { kind: "engage", call: "alpha~2", mode } },
        { type: "line", facts: { muted: false, state: "up" } },
      ),
    );
  assert.equal(wish("takeover"), true);
  assert.equal(wish("monitor"), false);
  assert.equal(wish("takeover", [engagement()]), false);
});

test("who speaks without a microphone is heard by nobody, until there is another one", () => {
  const live = [call({ engagements: [engagement()] })];
  for (const mic of /** @type {const} */ (["gone", "missing", "busy", "denied", "none"])) {
    const now = state(live, { type: "line", facts: { mic } });
    assert.equal(micOpen(now), false, mic);
    assert.equal(unplugged(now), true, mic);
  }
  assert.equal(micOpen(state(live)), true);
  assert.equal(unplugged(state(live, { type: "line", facts: { state: "off", mic: "none" } })), false);
});

test("an AI that had hung up is not said to go on", () => {
  const ended = (/** @type {string} */ reason) =>
    banner(
      state([call({ engagements: [engagement()] })], {
        type: "delta",
        rev: 2,
        changes: [{ kind: "engagement", engagement: engagement({ phase: "ended", ended: reason }) }],
      }),
    );
  assert.equal(ended("no-microphone"), "resuming");
  assert.equal(ended("ai-fallback"), "idle");
  assert.equal(ended("taken-over-by-supervisor"), "idle");
});

test("a lost events connection does not close the microphone: the caller still hears it", () => {
  const now = state([call({ engagements: [engagement()] })], { type: "link", up: false });
  assert.equal(banner(now), "offline");
  assert.equal(micOpen(now), true);
});

test("another agent's engagement, or mine in another window, is not mine", () => {
  assert.equal(mine(state([call({ engagements: [engagement({ agent: "ben" })] })])), null);
  assert.equal(mine(state([call({ engagements: [engagement({ leg: "leg-2" })] })])), null);
  assert.equal(mine(state([call({ engagements: [engagement()] })]))?.id, "e1");
});

test("each mode has its own banner", () => {
  const seen = MODES.map((mode) => banner(state([call({ engagements: [engagement({ mode })] })])));
  assert.deepEqual(seen, ["listen", "whisper", "barge", "live"]);
  assert.equal(banner(state([call()])), "idle");
  assert.equal(banner(state([call({ engagements: [engagement({ phase: "switching" })] })])), "switching");
  assert.equal(banner(state([call({ engagements: [engagement({ phase: "releasing" })] })])), "resuming");
  assert.equal(
    banner(state([call()], { type: "pending", pending: { kind: "engage", call: "alpha~1", mode: "takeover" } })),
    "switching",
  );
});

test("who asks for a person comes first, by priority, then the longest call; a call with a speaker has been helped", () => {
  const asks = (/** @type {any} */ priority) => ({ reason: "x", priority });
  const now = state([
    call({ id: "long", started_at: "2026-11-22T09:00:00Z" }),
    call({ id: "short", started_at: "2026-11-22T09:59:00Z" }),
    call({ id: "normal", escalation: asks("normal") }),
    call({ id: "emergency", escalation: asks("emergency") }),
    call({ id: "urgent", escalation: asks("urgent") }),
    call({
      id: "helped",
      started_at: "2026-11-22T09:30:00Z",
      escalation: asks("emergency"),
      engagements: [engagement({ agent: "ben" })],
    }),
  ]);
  assert.deepEqual(
    ordered(now).map((one) => one.id),
    ["emergency", "urgent", "normal", "long", "helped", "short"],
  );
});

test("every hindrance has its reason", () => {
  const ben = engagement({ id: "e2", agent: "ben", agent_name: "Ben", leg: "leg-2" });
  const why = (/** @type {any} */ now, /** @type {any} */ one, /** @type {any} */ mode) =>
    hindrance(now, one, mode)?.key ?? null;
  const plain = call();
  assert.equal(why(state([plain]), plain, "takeover"), null);
  const taken = call({ engagements: [ben] });
  assert.equal(why(state([taken]), taken, "takeover"), "why.taken");
  assert.equal(why(state([taken]), taken, "barge"), "why.taken");
  assert.equal(why(state([taken]), taken, "monitor"), null);
  const supervisor = state([taken], { type: "me", me: { id: "eva", name: "Eva", role: "supervisor" } });
  assert.equal(why(supervisor, taken, "takeover"), null);
  const live = state([call({ engagements: [engagement()] }), call({ id: "alpha~2" })]);
  assert.equal(why(live, call({ id: "alpha~2" }), "monitor"), "why.elsewhere");
  assert.equal(why(state([plain], { type: "link", up: false }), plain, "monitor"), "why.offline");
  assert.equal(why(state([]), plain, "monitor"), "why.ended");
  const down = state([plain], {
    type: "delta",
    rev: 2,
    changes: [{ kind: "pbx", pbx: { name: "alpha", up: false, why: "x", version: "" } }],
  });
  assert.equal(why(down, plain, "monitor"), "why.pbx");
  const inline = call({ modes: [{ mode: "whisper", possible: false, how: null, why: "No AI leg." }] });
  assert.deepEqual(hindrance(state([inline]), inline, "whisper"), { key: "why.impossible", text: "No AI leg." });
});

test("the picture of who hears whom is the truth table", () => {
  const table = {
    monitor: "ai>caller ai>me caller>ai caller>me",
    whisper: "ai>caller ai>me caller>ai caller>me me>ai",
    barge: "ai>caller ai>me caller>ai caller>me me>ai me>caller",
    takeover: "caller>ai caller>me me>ai me>caller",
  };
  for (const mode of MODES) assert.equal([...hears(mode, { open: true })].sort().join(" "), table[mode], mode);
  assert.equal([...hears(null, { open: false })].sort().join(" "), "ai>caller caller>ai");
});

test("a colleague who listens hears all but a whisper, and one on hold nobody", () => {
  /** @type {(mine: Mode, mode: Mode, hold?: boolean) => string} */
  const theirs = (mine, mode, hold = false) =>
    [...hears(mine, { open: true, other: { mode, hold } })]
      .filter((path) => path.includes("other"))
      .sort()
      .join(" ");
  assert.equal(theirs("takeover", "monitor"), "caller>other me>other");
  assert.equal(theirs("takeover", "whisper"), "caller>other me>other other>ai");
  assert.equal(theirs("whisper", "whisper"), "ai>other caller>other other>ai");
  assert.equal(theirs("monitor", "barge"), "ai>other caller>other other>ai other>caller other>me");
  assert.equal(theirs("monitor", "takeover", true), "");
});

test("of many in a call the one who speaks comes first, without me", () => {
  const engagements = [
    engagement(),
    engagement({ id: "e2", agent: "ben", leg: "leg-2", mode: "monitor" }),
    engagement({ id: "e3", agent: "eva", leg: "leg-3", mode: "takeover" }),
    engagement({ id: "e4", agent: "tom", leg: "leg-4", mode: "whisper", phase: "ended" }),
  ];
  const now = state([call({ engagements })]);
  assert.deepEqual(
    others(now, call({ engagements })).map((one) => one.id),
    ["e3", "e2"],
  );
});

test("calls for a person come by priority, then by deadline; help asked for while somebody speaks counts", () => {
  const at = (/** @type {number} */ minute) => `2026-11-22T10:${String(minute).padStart(2, "0")}:00Z`;
  const asked = (/** @type {any} */ facts) => ({ reason: "x", priority: "urgent", since: at(5), ...facts });
  const ben = engagement({ agent: "ben", leg: "leg-2", since: at(10) });
  const now = state([
    call({ id: "no deadline", escalation: asked({}) }),
    call({ id: "later", escalation: asked({ deadline_at: at(30) }) }),
    call({ id: "sooner", escalation: asked({ deadline_at: at(20) }) }),
    call({ id: "waits longer", escalation: asked({ since: at(1) }) }),
    call({ id: "emergency", escalation: asked({ priority: "emergency", deadline_at: at(50) }) }),
    call({ id: "answered", escalation: asked({}), engagements: [ben] }),
    call({ id: "help", escalation: asked({ since: at(11) }), engagements: [ben] }),
    call({ id: "calm" }),
  ]);
  assert.deepEqual(
    asking(now).map((one) => one.id),
    ["emergency", "sooner", "later", "waits longer", "no deadline", "help"],
  );
});

test("the list is narrowed by queue, AI, situation and text, all at once", () => {
  const ben = engagement({ agent: "ben", leg: "leg-2" });
  const calls = [
    call({ id: "1", queue: "a", ai: { name: "Aurora", ref: "" } }),
    call({ id: "2", queue: "a", ai: { name: "Borealis", ref: "" }, engagements: [ben] }),
    call({ id: "3", queue: "b", ai: { name: "Aurora", ref: "" }, escalation: { reason: "x", priority: "normal" } }),
  ];
  const ids = (/** @type {any} */ only, text = "") =>
    ordered(state(calls, { type: "only", facts: only }, { type: "filter", text }))
      .map((one) => one.id)
      .sort()
      .join("");
  assert.equal(ids({}), "123");
  assert.equal(ids({ queue: "a" }), "12");
  assert.equal(ids({ queue: "a", ai: "Aurora" }), "1");
  assert.equal(ids({ who: "asks" }), "3");
  assert.equal(ids({ who: "person" }), "2");
  assert.equal(ids({ who: "ai" }), "13");
  assert.equal(ids({ who: "ai", queue: "b" }, "maria"), "3");
  assert.equal(ids({ ai: "Aurora" }, "nobody"), "");
});
