// @ts-check
// What a click or a key does to a call, and what follows from a change of state.

import { setMuted, useServers } from "./agentleg.js";
import { api } from "./api.js";
import { events } from "./connection.js";
import {
  aiGone,
  asking,
  destinationsOf,
  ENDED_WITH_CALL,
  hindrance,
  holdsTheFloor,
  maySeize,
  mine,
  name,
  selectedCall,
  speaker,
  speaks,
} from "./derive.js";
import { recallDevices } from "./devices.js";
import { goOffDuty, goOnDuty } from "./duty.js";
import { has, t } from "./messages.js";
import { failed, notice, refused, toLogin } from "./notices.js";
import { followLine } from "./recovery.js";
import { store } from "./store.js";

/** @import {Engagement, Mode, Pending, Priority, State, Turn} from "./types.js" */

const RESUMING_MS = 3000;
/** How long a line that has just come up may take to be heard, and how often that is asked. */
const SETTLING_MS = 3000;
const AGAIN_MS = 300;
/** Within this time after the end of an engagement is seen, its reason has come too. */
const REASON_MS = 400;
/** In the tab's own storage: the call it is live in. */
const LIVE = "takeover.live";

/** Starts: who am I, then the events. */
export async function start() {
  recallDevices();
  try {
    const session = await api.session();
    useServers(session.ice_servers ?? []);
    const may = new Set(session.may ?? []);
    store.dispatch({
      type: "site",
      facts: {
        destinations: session.destinations ?? {},
        audit: may.has("read-audit"),
        administer: may.has("administer"),
        deaf: session.deaf ?? [],
      },
    });
  } catch (error) {
    failed(error); // the events connection retries by itself
  }
  store.watch(follow);
  events.open();
}

/** @type {State} */
let seen = store.state;

/** Side effects of a change of state. @param {State} state */
function follow(state) {
  const before = seen;
  seen = state;
  followLine(before, state);
  remember(state);
  if (mine(before) && !mine(state) && state.line.muted) void setMuted(false);
  if (state.after && state.after.engagement !== before.after?.engagement) {
    const { engagement } = state.after;
    setTimeout(() => farewell(engagement), REASON_MS);
    setTimeout(() => store.dispatch({ type: "after-over", engagement }), RESUMING_MS);
  }
  if (state.selected && before.link.ever && !before.link.up && state.link.up) void loadTranscript(state.selected);
  if (state.selected && !state.calls.has(state.selected) && !state.gone) store.dispatch({ type: "select", call: null });
}

/** Says how my part in a call ended; my own wish needs no explanation. @param {string} engagement */
function farewell(engagement) {
  const { after } = store.state;
  if (after?.engagement !== engagement) return;
  const gone = holdsTheFloor(after.mode) && aiGone(store.state.calls.get(after.call));
  const reason = gone && after.reason === "released" ? "ai-fallback" : after.reason;
  if (reason === "released" || reason === "unknown") return;
  const withCall = ENDED_WITH_CALL.has(reason);
  const key = !holdsTheFloor(after.mode) && !withCall ? "ended.listener" : `ended.${reason}`;
  notice(withCall ? "info" : "error", t(has(key) ? key : "ended.other", { ...after }), !withCall);
}

/** Notes in the tab's own storage that it is live, so that a reloaded page can say what became of the call. @param {State} state */
function remember(state) {
  const one = mine(state);
  const call = one && state.calls.get(one.call);
  if (one && call && holdsTheFloor(one.mode)) {
    sessionStorage.setItem(LIVE, JSON.stringify({ call: one.call, caller: name(call), ai: call.ai.name }));
    return;
  }
  const kept = sessionStorage.getItem(LIVE);
  if (!kept || !state.link.up || !state.me) return;
  const was = JSON.parse(kept);
  const still = state.calls.get(was.call);
  if (still?.engagements.some((other) => other.agent === state.me?.id && holdsTheFloor(other.mode))) return; // about to be given back
  sessionStorage.removeItem(LIVE);
  if (state.line.id) return;
  if (still && !state.selected) select(was.call);
  notice("info", t(still ? "reload.given-back" : "reload.ended", was), true);
}

/** On a narrow screen the list and the call take turns: focus goes along, else it would fall to the page. @param {string} selector */
function carryFocus(selector) {
  if (!matchMedia("(max-width: 44.9375em)").matches) return;
  requestAnimationFrame(() => {
    const at = document.activeElement;
    if (at && at !== document.body && at.checkVisibility()) return;
    /** @type {HTMLElement|null} */ (document.querySelector(selector))?.focus();
  });
}

/** @param {string|null} id */
export function select(id) {
  const { selected } = store.state;
  store.dispatch({ type: "select", call: id });
  carryFocus(id ? "tk-call h2" : `[data-call="${CSS.escape(selected ?? "")}"]`);
  if (id) void loadTranscript(id);
}

/** @param {string} id */
async function loadTranscript(id) {
  try {
    const turns = await api.transcript(id);
    store.dispatch({
      type: "transcript",
      call: id,
      turns: /** @type {Turn[]} */ (Array.isArray(turns) ? turns : turns.turns),
    });
  } catch (error) {
    if (refused(error, "call-ended", "call-unknown", "network")) return; // said elsewhere
    failed(error);
  }
}

/** @param {Pending} pending @param {() => Promise<unknown>} ask @returns {Promise<boolean>} whether it worked */
async function waiting(pending, ask) {
  store.dispatch({ type: "pending", pending });
  try {
    await ask();
    return true;
  } catch (error) {
    failed(error);
    return false;
  } finally {
    store.dispatch({ type: "pending", pending: null });
  }
}

/** Takes the answer to a change, unless the events have told of the engagement meanwhile: then it is the older. @param {Engagement} before @param {Engagement} after */
function take(before, after) {
  if (mine(store.state) === before) store.dispatch({ type: "engagement", engagement: after });
}

/** Enters the selected call in a mode, or changes to it. @param {Mode} mode @param {string} [reason] why a supervisor takes it from a colleague */
export async function press(mode, reason) {
  const call = selectedCall(store.state);
  if (!call) return notice("info", t("why.select"));
  const why = hindrance(store.state, call, mode);
  if (why) return notice("info", why.text || t(why.key, why.facts));
  const current = mine(store.state);
  if (current?.call === call.id && current.mode === mode) return;
  let patience = 0;
  if (store.state.line.state !== "up") {
    store.dispatch({ type: "pending", pending: { kind: "duty", call: call.id, mode } });
    const open = await goOnDuty();
    store.dispatch({ type: "pending", pending: null });
    if (!open) return;
    patience = SETTLING_MS;
  }
  const one = mine(store.state);
  const pending = /** @type {Pending} */ ({ kind: one?.call === call.id ? "change" : "engage", call: call.id, mode });
  await waiting(pending, async () => {
    try {
      if (one?.call === call.id && !reason) {
        take(one, await api.change(one.id, { mode }));
        return;
      }
      if (one) await api.release(one.id, "");
      store.dispatch({
        type: "engagement",
        engagement: await engage(call.id, mode, reason, performance.now() + patience),
      });
    } catch (error) {
      if (!refused(error, "already-taken") || !maySeize(store.state) || reason) throw error;
      store.dispatch({
        type: "dialog",
        dialog: { kind: "override", call: call.id, mode, speaker: String(error.facts.speaker ?? "") },
      });
    }
  });
}

/**
 * One press goes on duty and into the call: a line that has just come up may need a moment to be heard by the server.
 * @param {string} call @param {Mode} mode @param {string|undefined} reason @param {number} until try again, ms
 */
async function engage(call, mode, reason, until) {
  for (;;) {
    try {
      return await api.engage(call, mode, store.state.line.id ?? "", reason);
    } catch (error) {
      if (!refused(error, "leg-not-ready") || performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

/** Claims a call that asks for a person and speaks at once; where somebody speaks already, listens. @param {string} id */
export async function answer(id) {
  const call = store.state.calls.get(id);
  if (!call) return;
  if (store.state.selected !== id) select(id);
  await press(speaker(call) ? "monitor" : "takeover");
}

/** Answers the most pressing call that asks for a person. */
export async function answerFirst() {
  const [first] = asking(store.state).filter((call) => speaker(call)?.id !== mine(store.state)?.id || !speaker(call));
  if (first) await answer(first.id);
  else notice("info", t("why.nobody-asks"));
}

/** The selected call, if something can be done with it now; else says why not. */
function within() {
  const call = selectedCall(store.state);
  if (!call) return null;
  if (store.state.link.up && store.state.calls.has(call.id)) return call;
  notice("info", t(store.state.link.up ? "why.ended" : "why.offline"));
  return null;
}

export function askForHelp() {
  const call = within();
  if (call && !call.escalation) store.dispatch({ type: "dialog", dialog: { kind: "help", call: call.id } });
}

/** @param {string} id @param {string} reason @param {Priority} priority */
export const escalate = (id, reason, priority) =>
  waiting({ kind: "ask", call: id }, () => api.escalate(id, reason, priority));

/** @param {string} id */
export const withdraw = (id) => waiting({ kind: "withdraw", call: id }, () => api.withdraw(id));

/** Gives the call back to the AI, or leaves it as a listener. @param {string} note @returns {Promise<boolean>} */
export async function release(note) {
  const one = mine(store.state);
  if (!one || store.state.pending?.kind === "release") return false; // nothing else keeps a call from its AI
  return waiting({ kind: "release", call: one.call }, () => api.release(one.id, note.trim()));
}

/** Leaves a call as a listener; who speaks gives it back. */
export function leave() {
  const one = mine(store.state);
  if (holdsTheFloor(one?.mode)) return notice("info", t("why.return-first"));
  if (one) return release("");
}

/** What is wanted of Hold while an answer is under way: who presses again wants the contrary, not the same twice. @type {{id: string, hold: boolean} | null} */
let wanted = null;

export async function toggleHold() {
  const one = mine(store.state);
  if (!one || !holdsTheFloor(one.mode)) return;
  if (wanted?.id === one.id) {
    wanted.hold = !wanted.hold;
    return;
  }
  const wish = { id: one.id, hold: !one.hold };
  wanted = wish;
  await waiting({ kind: "hold", call: one.call }, async () => {
    for (let asked = null; asked !== wish.hold; ) {
      asked = wish.hold;
      take(mine(store.state) ?? one, await api.change(one.id, { hold: wish.hold }));
    }
  });
  if (wanted === wish) wanted = null;
}

/** Where the selected call can be sent, as keys of the configuration. */
export const destinations = () => destinationsOf(store.state, selectedCall(store.state));

export function askTransfer() {
  const call = within();
  if (call && destinations().length) store.dispatch({ type: "dialog", dialog: { kind: "transfer", call: call.id } });
}

/** @param {string} id @param {string} to */
export const transfer = (id, to) => waiting({ kind: "transfer", call: id }, () => api.transfer(id, to));

/** It asks for a spoken sentence, and may play a tone: not where somebody would hear that. */
export function openCheck() {
  if (speaks(mine(store.state)?.mode)) return notice("info", t("why.heard"));
  store.dispatch({ type: "dialog", dialog: { kind: "check" } });
}

export function openKeypad() {
  const one = mine(store.state);
  if (one && holdsTheFloor(one.mode)) store.dispatch({ type: "dialog", dialog: { kind: "keypad", call: one.call } });
}

/** @type {Promise<unknown>} */
let digits = Promise.resolve();

/** Sends keys one after the other, in the order pressed. @param {string} id @param {string} key */
export function dial(id, key) {
  digits = digits.then(() => api.dtmf(id, key)).catch(failed);
  return digits;
}

/** Guidance to the AI in writing. @param {string} text @returns {Promise<boolean>} whether it was sent */
export async function coach(text) {
  const call = selectedCall(store.state);
  if (!call || !text.trim()) return false;
  try {
    await api.coach(call.id, text.trim());
  } catch (error) {
    failed(error);
    return false;
  }
  notice("good", t("coach.sent", { ai: call.ai.name }));
  return true;
}

/** @param {string} outcome @param {string} note */
export async function wrapUp(outcome, note) {
  const { wrapUp: open } = store.state;
  if (!open) return;
  try {
    await api.wrapUp(open.call, outcome, note.trim());
    notice("good", t("wrap-up.saved", { caller: open.caller || t("caller.unknown") }));
  } catch (error) {
    if (!refused(error, "not-found")) return failed(error);
    store.dispatch({ type: "site", facts: { wrapUp: false } }); // this server keeps no outcomes
  }
  if (store.state.wrapUp?.call === open.call) store.dispatch({ type: "wrap-up-over" });
}

export function askEndCall() {
  const call = within();
  if (call) store.dispatch({ type: "dialog", dialog: { kind: "end-call", call: call.id } });
}

/** @param {string} id */
export const endCall = (id) => waiting({ kind: "hangup", call: id }, () => api.hangup(id));

export async function logout() {
  const one = mine(store.state);
  if (one && holdsTheFloor(one.mode)) return notice("info", t("why.return-first"));
  await goOffDuty();
  try {
    await api.logout();
  } catch (error) {
    if (!refused(error, "not-logged-in")) return failed(error);
  }
  events.close();
  toLogin();
}
