// @ts-check
// What a click or a key does: ask the server, tell the store, keep the microphone in step with the state.

import { api, Problem } from "./api.js";
import { ENDED_WITH_CALL, hindrance, holdsTheFloor, maySeize, micOpen, mine, name, selectedCall } from "./derive.js";
import { has, t } from "./messages.js";
import { meters } from "./meter.js";
import { AgentLeg, LegError } from "./rtc.js";
import { Events } from "./socket.js";
import { store } from "./store.js";

/** @import {Mode, Notice, Pending, State, Turn} from "./types.js" */

const NOTICE_MS = 6000;
const RESUMING_MS = 3000;
/** Within this time after the end of an engagement is seen, its reason has come too. */
const REASON_MS = 400;
/** The server hears the leg one packet after it connected; past this the mode is asked for anyway, and its answer tells. */
const HEARD_MS = 2000;
const OVERLOAD_TRIES = 8;
const OVERLOAD_MS = 1500;
const REOPEN_MS = [0, 1500, 4000];
const KEPT = { device: "takeover.microphone", live: "takeover.live", leg: "takeover.leg" };

let notices = 0;
/** @type {RTCIceServer[]} */
let iceServers = [];
/** @type {Promise<boolean>|null} */
let opening = null;
/** The agent wishes to move the line here from another window. */
let moving = false;

const audio = /** @type {HTMLAudioElement} */ (document.getElementById("sound"));
export const leg = new AgentLeg(audio, exchange);
export const events = new Events({
  leg: () => store.state.line.id,
  rev: () => store.state.rev,
  link: linkChanged,
  rtt: (ms) => store.dispatch({ type: "rtt", ms }),
  refused: toLogin,
  message: (message) => {
    if (message.type === "snapshot") store.dispatch({ ...message, type: "snapshot" });
    if (message.type === "delta") store.dispatch({ ...message, type: "delta" });
  },
});

/** Shows a short message. @param {Notice["tone"]} tone @param {string} text @param {boolean} [sticky] until dismissed */
export function notice(tone, text, sticky = false) {
  const id = ++notices;
  store.dispatch({ type: "notice", notice: { id, tone, text, sticky } });
  if (!sticky) setTimeout(() => store.dispatch({ type: "notice-over", id }), NOTICE_MS);
}

/** @param {unknown} error */
function failed(error) {
  if (error instanceof Problem) {
    if (error.slug === "not-logged-in") return toLogin();
    return notice("error", error.sentence, error.slug === "network");
  }
  if (error instanceof LegError) return notice("error", t(`leg.${error.why}`), true);
  notice("error", t("problem.panel", { detail: String(error) }), true);
  throw error;
}

function toLogin() {
  events.close();
  location.assign("/login");
}

/** Starts: who am I, then the events. */
export async function start() {
  try {
    const session = await api.session();
    iceServers = session.ice_servers ?? [];
  } catch (error) {
    if (error instanceof Problem && error.slug === "not-logged-in") return toLogin();
    failed(error); // the events connection retries by itself
  }
  store.dispatch({ type: "line", facts: { device: localStorage.getItem(KEPT.device) ?? "" } });
  store.watch(follow);
  events.open();
}

/** @param {boolean} up @param {number|null} retryAt */
function linkChanged(up, retryAt) {
  const was = store.state.link;
  store.dispatch({ type: "link", up, retryAt });
  if (up && was.ever && !was.up) {
    notice("good", t("link.back"));
    if (store.state.selected) void loadTranscript(store.state.selected);
  }
  // A handshake refused for lack of a session looks like any other loss; ask plainly.
  if (!up) api.session().catch((error) => error instanceof Problem && error.slug === "not-logged-in" && toLogin());
}

/** @type {State} */
let seen = store.state;

/** Side effects of a change of state. @param {State} state */
function follow(state) {
  const before = seen;
  seen = state;
  leg.setOpen(micOpen(state));
  // The server has given the leg up for good, whatever the browser still thinks of it.
  if (before.line.heard && !state.line.heard && before.line.id === state.line.id && state.line.why) lineLost();
  const [was, is] = [mine(before), mine(state)];
  remember(state);
  if (was && !is && state.line.muted) void setMuted(false);
  if (state.after && state.after.engagement !== before.after?.engagement) {
    const { engagement } = state.after;
    setTimeout(() => farewell(engagement), REASON_MS);
    setTimeout(() => store.dispatch({ type: "after-over", engagement }), RESUMING_MS);
  }
  if (state.selected && !state.calls.has(state.selected) && !state.gone) store.dispatch({ type: "select", call: null });
}

/** Says how my part in a call ended; my own wish needs no explanation. @param {string} engagement */
function farewell(engagement) {
  const { after } = store.state;
  if (after?.engagement !== engagement || after.reason === "released" || after.reason === "unknown") return;
  const withCall = ENDED_WITH_CALL.has(after.reason);
  const key = !holdsTheFloor(after.mode) && !withCall ? "ended.listener" : `ended.${after.reason}`;
  notice(withCall ? "info" : "error", t(has(key) ? key : "ended.other", { ...after }), !withCall);
}

/** Notes in the tab's own storage that it is live, so that a reloaded page can say what became of the call. @param {State} state */
function remember(state) {
  const one = mine(state);
  const call = one && state.calls.get(one.call);
  if (one && call && holdsTheFloor(one.mode)) {
    sessionStorage.setItem(KEPT.live, JSON.stringify({ call: one.call, caller: name(call), ai: call.ai.name }));
    return;
  }
  const kept = sessionStorage.getItem(KEPT.live);
  if (!kept || !state.link.up || !state.me) return;
  const was = JSON.parse(kept);
  const still = state.calls.get(was.call);
  if (still?.engagements.some((other) => other.agent === state.me?.id && holdsTheFloor(other.mode))) return; // about to be given back
  sessionStorage.removeItem(KEPT.live);
  if (state.line.id) return;
  if (still && !state.selected) select(was.call);
  notice("info", t(still ? "reload.given-back" : "reload.ended", was), true);
}

/** @param {string|null} id */
export function select(id) {
  store.dispatch({ type: "select", call: id });
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
    if (
      error instanceof Problem &&
      (error.slug === "call-ended" || error.slug === "call-unknown" || error.slug === "network")
    )
      return;
    failed(error);
  }
}

// The own line -------------------------------------------------------------------------------------------------

/** @param {string} sdp @returns {Promise<{leg: string, sdp: string}>} */
async function exchange(sdp) {
  const ours = store.state.line.id ?? sessionStorage.getItem(KEPT.leg);
  let answer;
  try {
    answer = await patiently(() => api.openLeg(sdp, moving || store.state.line.id !== null));
  } catch (error) {
    if (!(error instanceof Problem) || error.slug !== "leg-exists") throw error;
    // A leg of this session: this tab's from before a reload, or that of another window, which only its user may close.
    if (error.facts.leg !== ours) throw error;
    answer = await api.openLeg(sdp, true);
  }
  moving = false;
  sessionStorage.setItem(KEPT.leg, answer.leg);
  store.dispatch({ type: "line", facts: { id: answer.leg, heard: false } });
  events.hello();
  return answer;
}

/** Asks again while the server says that it is at its limit: that passes within seconds. @template T @param {() => Promise<T>} ask */
async function patiently(ask) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Problem) || error.slug !== "overloaded" || tries >= OVERLOAD_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, OVERLOAD_MS));
    }
  }
}

/** Takes the line from another window of this session. */
export function moveLine() {
  moving = true;
  return goOnDuty();
}

/** Asks for the microphone and shows its level. @param {string} [device] */
export async function openMicrophone(device = store.state.line.device) {
  let opened;
  try {
    opened = await leg.microphone(device);
  } catch (error) {
    if (!(error instanceof LegError) || error.why !== "missing" || !device) throw micFailed(error);
    opened = await leg.microphone("").catch((again) => {
      throw micFailed(again);
    });
    device = "";
  }
  const devices = await leg.devices();
  store.dispatch({ type: "line", facts: { mic: "ok", micLabel: opened.label, device, devices, fault: "" } });
  await meters.start("mic", opened.stream);
}

/** @param {unknown} error */
function micFailed(error) {
  const why = error instanceof LegError ? error.why : "";
  store.dispatch({ type: "line", facts: { mic: why === "denied" ? "denied" : "missing" } });
  return error;
}

/** @param {string} device */
export async function chooseMicrophone(device) {
  localStorage.setItem(KEPT.device, device);
  store.dispatch({ type: "line", facts: { device } });
  if (store.state.line.mic === "ok" || store.state.line.mic === "gone") await openMicrophone(device).catch(failed);
}

/** Level before duty, without opening the leg. */
export async function testMicrophone() {
  try {
    await openMicrophone();
    if (store.state.line.state === "off") store.dispatch({ type: "line", facts: { state: "testing" } });
  } catch (error) {
    failed(error);
  }
}

/** Opens the own line; at once true when it is open. @returns {Promise<boolean>} whether it is open now */
export function goOnDuty() {
  if (store.state.line.state === "up") return Promise.resolve(true);
  opening ??= openLine()
    .then(() => true)
    .catch((error) => {
      lineFailed(error);
      return false;
    })
    .finally(() => (opening = null));
  return opening;
}

async function openLine() {
  store.dispatch({ type: "line", facts: { state: "opening", fault: "", why: "" } });
  if (store.state.line.mic !== "ok") await openMicrophone();
  await leg.connect(iceServers);
  await until((state) => state.line.heard, HEARD_MS);
  store.dispatch({ type: "line", facts: { state: "up" } });
  if (!store.state.line.suppression) await setSuppression(false);
  await api.setDuty(true);
}

/** @param {unknown} error */
function lineFailed(error) {
  const why = error instanceof LegError ? error.why : "";
  const lost = why === "udp";
  const { id, mic } = store.state.line;
  const before = mic === "ok" ? "none" : mic; // the microphone is let go of; a fault of it stays said
  if (id) void api.closeLeg(id).catch(() => {}); // best effort: the server drops a silent leg by itself
  if (!lost) {
    leg.close();
    meters.stop("mic");
  }
  meters.stop("call");
  moving = false;
  store.dispatch({
    type: "line",
    facts: {
      state: lost ? "lost" : "off",
      id: null,
      heard: false,
      fault: lost ? "udp" : "",
      mic: lost ? "ok" : before,
    },
  });
  if (error instanceof Problem && error.slug === "leg-exists")
    store.dispatch({ type: "dialog", dialog: { kind: "move-line" } });
  else if (!lost) failed(error);
}

/** Closes the own line and the microphone. */
export async function goOffDuty() {
  const one = mine(store.state);
  if (one && holdsTheFloor(one.mode)) return notice("info", t("why.return-first"));
  const { id } = store.state.line;
  meters.stop("mic");
  meters.stop("call");
  leg.close();
  store.dispatch({ type: "line", facts: { state: "off", id: null, heard: false, mic: "none", fault: "", why: "" } });
  try {
    if (one) await api.release(one.id, "");
    if (id) await api.closeLeg(id);
    await api.setDuty(false);
  } catch (error) {
    failed(error);
  }
}

/** Opens a lost line again, by itself a few times. */
async function reopen() {
  for (const wait of REOPEN_MS) {
    if (store.state.line.state !== "lost") return;
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (store.state.line.state === "lost" && (await goOnDuty())) return;
  }
}

function lineLost() {
  if (store.state.line.state !== "up") return;
  store.dispatch({ type: "line", facts: { state: "lost", heard: false } });
  void reopen();
}

leg.addEventListener("lost", lineLost);
leg.addEventListener("microphone", (event) => {
  const gone = /** @type {CustomEvent} */ (event).detail === "gone";
  store.dispatch({ type: "line", facts: { mic: gone ? "gone" : "ok" } });
  if (gone)
    void openMicrophone("").then(
      () => notice("info", t("mic.changed", { label: store.state.line.micLabel })),
      () => {},
    );
});
leg.addEventListener("devices", async () => {
  if (store.state.line.mic === "none") return;
  store.dispatch({ type: "line", facts: { devices: await leg.devices() } });
  if (store.state.line.mic === "gone" || store.state.line.mic === "missing") await openMicrophone().catch(() => {}); // the banner keeps saying it
});
leg.addEventListener("quality", (event) =>
  store.dispatch({ type: "line", facts: { quality: /** @type {CustomEvent} */ (event).detail } }),
);
leg.addEventListener("sound", (event) => void meters.start("call", /** @type {CustomEvent} */ (event).detail));
leg.addEventListener("blocked", () => {
  notice("error", t("sound.blocked"), true);
  addEventListener("pointerdown", () => void audio.play(), { once: true });
});

/** @param {(state: State) => boolean} condition @param {number} ms @returns {Promise<boolean>} whether it came true in time */
function until(condition, ms) {
  return new Promise((resolve) => {
    if (condition(store.state)) return resolve(true);
    const done = (/** @type {boolean} */ met) => {
      clearTimeout(timer);
      unwatch();
      resolve(met);
    };
    const timer = setTimeout(() => done(false), ms);
    const unwatch = store.watch((state) => condition(state) && done(true));
  });
}

/** @param {boolean} muted */
export async function setMuted(muted) {
  store.dispatch({ type: "line", facts: { muted } });
  const { id } = store.state.line;
  if (id) await api.setLeg(id, { muted }).catch(failed);
}

/** @param {boolean} suppression */
export async function setSuppression(suppression) {
  const { id, suppression: before } = store.state.line;
  store.dispatch({ type: "line", facts: { suppression } });
  if (!id) return;
  try {
    await api.setLeg(id, { suppression });
  } catch (error) {
    store.dispatch({ type: "line", facts: { suppression: before } });
    failed(error);
  }
}

// The call -----------------------------------------------------------------------------------------------------

/** @param {Pending} pending @param {() => Promise<unknown>} ask @returns {Promise<boolean>} whether it worked */
async function asking(pending, ask) {
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

/** Enters the selected call in a mode, or changes to it. @param {Mode} mode @param {string} [reason] why a supervisor takes it from a colleague */
export async function press(mode, reason) {
  const call = selectedCall(store.state);
  if (!call) return notice("info", t("why.select"));
  const why = hindrance(store.state, call, mode);
  if (why) return notice("info", why.text || t(why.key, why.facts));
  const current = mine(store.state);
  if (current?.call === call.id && current.mode === mode) return;
  if (store.state.line.state !== "up") {
    store.dispatch({ type: "pending", pending: { kind: "duty", call: call.id, mode } });
    const open = await goOnDuty();
    store.dispatch({ type: "pending", pending: null });
    if (!open) return;
  }
  const one = mine(store.state);
  const pending = /** @type {Pending} */ ({ kind: one?.call === call.id ? "change" : "engage", call: call.id, mode });
  await asking(pending, async () => {
    try {
      if (one?.call === call.id && !reason) {
        store.dispatch({ type: "engagement", engagement: await api.change(one.id, { mode }) });
        return;
      }
      if (one) await api.release(one.id, "");
      store.dispatch({
        type: "engagement",
        engagement: await api.engage(call.id, mode, store.state.line.id ?? "", reason),
      });
    } catch (error) {
      if (!(error instanceof Problem) || error.slug !== "already-taken" || !maySeize(store.state) || reason)
        throw error;
      store.dispatch({
        type: "dialog",
        dialog: { kind: "override", call: call.id, mode, speaker: String(error.facts.speaker ?? "") },
      });
    }
  });
}

/** Gives the call back to the AI, or leaves it as a listener. @param {string} note @returns {Promise<boolean>} */
export async function release(note) {
  const one = mine(store.state);
  if (!one || store.state.pending) return false;
  return asking({ kind: "release", call: one.call }, () => api.release(one.id, note.trim()));
}

export async function toggleHold() {
  const one = mine(store.state);
  if (!one || !holdsTheFloor(one.mode)) return;
  await asking({ kind: "hold", call: one.call }, async () => {
    store.dispatch({ type: "engagement", engagement: await api.change(one.id, { hold: !one.hold }) });
  });
}

export function askEndCall() {
  const call = selectedCall(store.state);
  if (call && store.state.calls.has(call.id))
    store.dispatch({ type: "dialog", dialog: { kind: "end-call", call: call.id } });
}

/** @param {string} id */
export const endCall = (id) => asking({ kind: "hangup", call: id }, () => api.hangup(id));

export async function logout() {
  const one = mine(store.state);
  if (one && holdsTheFloor(one.mode)) return notice("info", t("why.return-first"));
  leg.close();
  try {
    await api.logout();
  } catch (error) {
    if (!(error instanceof Problem) || error.slug !== "not-logged-in") return failed(error);
  }
  toLogin();
}
