// @ts-check
// What follows from the state. Pure, so that the rules about the microphone can be tested to the last case.

/** @import {State, Call, Engagement, Mode} from "./types.js" */

export const MODES = /** @type {const} */ (["monitor", "whisper", "barge", "takeover"]);

/** Modes in which somebody hears the agent. @param {Mode|undefined} mode */
export const speaks = (mode) => mode === "whisper" || mode === "barge" || mode === "takeover";

/** Modes in which the caller hears the agent: one per call. @param {Mode|undefined} mode */
export const holdsTheFloor = (mode) => mode === "barge" || mode === "takeover";

/** This window's engagement, if any. @param {State} state @returns {Engagement|null} */
export function mine(state) {
  if (!state.me || !state.line.id) return null;
  for (const call of state.calls.values())
    for (const one of call.engagements)
      if (one.leg === state.line.id && one.agent === state.me.id && one.phase !== "ended") return one;
  return null;
}

/** The call in the detail pane, also for a while after its end. @param {State} state @returns {Call|null} */
export function selectedCall(state) {
  if (!state.selected) return null;
  return state.calls.get(state.selected) ?? (state.gone?.call.id === state.selected ? state.gone.call : null);
}

/** Who speaks with the caller. @param {Call} call @returns {Engagement|null} */
export const speaker = (call) =>
  call.engagements.find((one) => holdsTheFloor(one.mode) && one.phase !== "ended") ?? null;

/**
 * Whether the microphone may be open: from the click that asks for a speaking mode, so that the caller hears no gap
 * before the first word (nobody is connected to the line before the PBX has confirmed), until a listening mode or
 * the end is asked for. A lost events link does not close it: the caller still hears the leg.
 * @param {State} state
 */
export function micOpen(state) {
  const one = mine(state);
  if (state.line.muted || one?.hold || state.line.state !== "up" || unplugged(state)) return false;
  const asked = state.pending;
  if (asked && (asked.kind === "engage" || asked.kind === "change") && asked.mode) {
    if (!speaks(asked.mode) || (one && one.call !== asked.call)) return false;
    return one ? one.phase !== "releasing" : asked.kind === "engage";
  }
  if (!one || !speaks(one.mode) || (asked?.kind === "release" && asked.call === one.call)) return false;
  return one.phase === "active" || one.phase === "switching";
}

/** Whether the line stands without a microphone: pulled out, and no other one was found yet. @param {State} state */
export const unplugged = ({ line }) => line.state === "up" && line.mic !== "ok";

/** Requests that change what I am to the caller. */
const SWITCHES = new Set(["engage", "change", "release", "duty"]);

/** @type {Record<Mode, BannerState>} */
const BANNER = { monitor: "listen", whisper: "whisper", barge: "barge", takeover: "live" };

/**
 * @typedef {"idle"|"listen"|"whisper"|"live"|"barge"|"switching"|"resuming"|"offline"} BannerState
 * @param {State} state
 * @returns {BannerState}
 */
export function banner(state) {
  if (!state.link.up && state.link.ever) return "offline";
  const one = mine(state);
  const asked = state.pending;
  if (asked?.kind === "release" || one?.phase === "releasing")
    return holdsTheFloor(one?.mode) ? "resuming" : "switching";
  if (asked && SWITCHES.has(asked.kind)) return "switching";
  if (!one) return resumed(state) ? "resuming" : state.line.state === "opening" ? "switching" : "idle";
  if (one.phase !== "active") return "switching";
  return BANNER[one.mode];
}

/** Reasons after which the call goes on, but not with the AI: it had hung up, or a colleague speaks. */
const ELSEWHERE = new Set(["ai-fallback", "taken-over-by-supervisor"]);

/** Whether the AI has just got a call back from me. @param {State} state */
export const resumed = (state) =>
  state.after !== null &&
  holdsTheFloor(state.after.mode) &&
  !ENDED_WITH_CALL.has(state.after.reason) &&
  !ELSEWHERE.has(state.after.reason) &&
  !aiGone(state.calls.get(state.after.call));

/** Reasons after which there is no call to give back. */
export const ENDED_WITH_CALL = new Set(["caller-hangup", "call-ended-unseen", "hangup", "transferred"]);

const RANK = { emergency: 3, urgent: 2, normal: 1 };

/**
 * Whether a call asks for a person: nobody speaks in it yet, or who speaks has asked for help since.
 * @param {Call} call
 */
export function asks(call) {
  const asked = call.escalation;
  if (!asked) return false;
  const floor = speaker(call);
  return !floor || raised(call) > Date.parse(floor.since);
}

/** How much a call needs somebody: 0 when it does not. @param {Call} call */
export const need = (call) => (call.escalation && asks(call) ? RANK[call.escalation.priority] : 0);

/** Calls that ask for a person: by priority, then by deadline, then the longest waiting. @param {State} state @returns {Call[]} */
export const asking = (state) =>
  [...state.calls.values()]
    .filter(asks)
    .sort((a, b) => need(b) - need(a) || until(a) - until(b) || raised(a) - raised(b));

/** @param {Call} call */
const until = (call) => Date.parse(call.escalation?.deadline_at ?? "") || Number.MAX_SAFE_INTEGER;
/** @param {Call} call */
export const raised = (call) => Date.parse(call.escalation?.since ?? call.started_at);

/** Whether what we see of a call may be old. @param {Call} call @param {State} state */
export const stale = (call, state) => state.pbxs.some((pbx) => pbx.name === call.pbx && !pbx.up);

/** Calls in the order of need: who asks for a person first, then the longest waiting. @param {State} state @returns {Call[]} */
export function ordered(state) {
  const wanted = state.filter.trim().toLowerCase();
  const { queue, ai, who } = state.only;
  const calls = [...state.calls.values()].filter(
    (call) =>
      (!queue || call.queue === queue) &&
      (!ai || call.ai.name === ai) &&
      (!who || situated(call, who)) &&
      (!wanted || haystack(call).includes(wanted)),
  );
  return calls.sort((a, b) => need(b) - need(a) || compare(a.started_at, b.started_at) || compare(a.id, b.id));
}

/** Times and ids are plain ASCII; a collator would cost a frame with 500 calls. @param {string} a @param {string} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** @param {Call} call @param {"asks"|"ai"|"person"} who */
function situated(call, who) {
  if (who === "asks") return asks(call);
  return (who === "person") === (speaker(call) !== null);
}

/** Whether any call is left out of the list on purpose. @param {State} state */
export const filtered = ({ filter, only }) => Boolean(filter.trim() || only.queue || only.ai || only.who);

/** @param {Call} call */
const haystack = (call) =>
  [call.caller.name, call.caller.number, call.ai.name, call.ai.ref, call.queue, call.pbx, call.tenant]
    .join(" ")
    .toLowerCase();

/**
 * Why a mode cannot be pressed now, as a message key with facts; null when it can.
 * @param {State} state @param {Call} call @param {Mode} mode
 * @returns {{key: string, facts?: Record<string, string>, text?: string}|null}
 */
export function hindrance(state, call, mode) {
  if (!state.calls.has(call.id)) return { key: "why.ended" };
  if (!state.link.up) return { key: "why.offline" };
  if (state.pending) return { key: "why.busy" };
  const pbx = state.pbxs.find((one) => one.name === call.pbx);
  if (pbx && !pbx.up) return { key: "why.pbx", facts: { pbx: pbx.name } };
  const choice = call.modes.find((one) => one.mode === mode);
  if (!choice?.possible) return { key: "why.impossible", text: choice?.why ?? "" };
  const one = mine(state);
  if (one && one.call !== call.id && holdsTheFloor(one.mode)) {
    const other = state.calls.get(one.call);
    return { key: "why.elsewhere", facts: { caller: other ? name(other) : "" } };
  }
  const floor = speaker(call);
  if (floor && floor.id !== one?.id && holdsTheFloor(mode) && !maySeize(state))
    return { key: "why.taken", facts: { speaker: floor.agent_name } };
  return null;
}

/** Supervisors may take a call over from a colleague, with a reason. @param {State} state */
export const maySeize = (state) => state.me?.role === "supervisor" || state.me?.role === "admin";

/** Keys that a call can be transferred to. @param {State} state @param {Call|null} call @returns {string[]} */
export const destinationsOf = (state, call) => (call && state.site.destinations[call.pbx]) || [];

/** The caller as people say it. @param {Call} call */
export const name = (call) => call.caller.name || call.caller.number;

/** Whose the agent's words in a call are; null where nobody was seen to speak. @param {State} state @param {Call|null} call @returns {{own: boolean, name: string}|null} */
export function voice(state, call) {
  const known = call && state.voices.get(call.id);
  return known ? { own: known.agent === state.me?.id, name: known.name } : null;
}

/** Whether the AI has hung up: nobody can give the call back to it. @param {Call|null|undefined} call */
export const aiGone = (call) => Boolean(call?.notes?.includes("ai-gone"));

/** Whether this call's AI hears nothing while a person speaks in its place. @param {State} state @param {Call|null|undefined} call */
export const deaf = ({ site }, call) => Boolean(call && site.deaf.includes(call.ai.name));

/**
 * Who hears whom, `from>to`, as my mode and that of a colleague (`other`) make it.
 * @param {Mode|null} mode
 * @param {{open: boolean, hold?: boolean, other?: {mode: Mode, hold?: boolean|undefined}|null, deaf?: boolean}} facts
 * @returns {Set<string>}
 */
export function hears(mode, { open, hold = false, other = null, deaf: shut = false }) {
  const alone = mode === "takeover" || other?.mode === "takeover";
  const paths = new Set(shut && alone ? [] : ["caller>ai"]);
  if (!alone) paths.add("ai>caller");
  const mine = mode && { who: "me", mode, hold, open };
  const theirs = other && { who: "other", mode: other.mode, hold: other.hold ?? false, open: !other.hold };
  for (const one of [mine, theirs]) {
    if (!one) continue;
    if (!one.hold) paths.add(`caller>${one.who}`);
    if (!alone && !one.hold) paths.add(`ai>${one.who}`);
    if (one.open && speaks(one.mode) && !(shut && alone)) paths.add(`${one.who}>ai`);
    if (one.open && holdsTheFloor(one.mode)) paths.add(`${one.who}>caller`);
  }
  // Who speaks with the caller is heard by all who listen; a whisper only by the AI.
  if (mine && theirs) {
    if (mine.open && holdsTheFloor(mine.mode) && !theirs.hold) paths.add("me>other");
    if (theirs.open && holdsTheFloor(theirs.mode) && !mine.hold) paths.add("other>me");
  }
  return paths;
}

/** Who is in a call, the weightiest first. @param {Call} call @returns {Engagement[]} */
export const present = (call) =>
  call.engagements.filter((one) => one.phase !== "ended").sort((a, b) => MODES.indexOf(b.mode) - MODES.indexOf(a.mode));

/** Those of them who are not me. @param {State} state @param {Call} call @returns {Engagement[]} */
export function others(state, call) {
  const own = mine(state)?.id;
  return present(call).filter((one) => one.id !== own);
}
