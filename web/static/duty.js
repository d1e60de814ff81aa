// @ts-check
// The own line: microphone check, on and off duty, and back again after a loss.

import { askToNotify } from "./alerts.js";
import { api, Problem } from "./api.js";
import { events } from "./connection.js";
import { holdsTheFloor, micOpen, mine } from "./derive.js";
import { t } from "./messages.js";
import { meters } from "./meter.js";
import { failed, notice, refused } from "./notices.js";
import { AgentLeg, LegError } from "./rtc.js";
import { store } from "./store.js";

/** @import {State} from "./types.js" */

/** The server hears the leg one packet after it connected; past this the mode is asked for anyway, and its answer tells. */
const HEARD_MS = 2000;
/** Enough packets for a round trip and a jitter that mean something. */
const PROBE_MS = 1500;
const OVERLOAD_TRIES = 8;
const OVERLOAD_MS = 1500;
/** So many refusals are no news; then the agent is told what takes so long. */
const OVERLOAD_SAID = 2;
const REOPEN_MS = [0, 1500, 4000];
const KEPT = { device: "takeover.microphone", speaker: "takeover.speaker", leg: "takeover.leg" };

/** @type {RTCIceServer[]} */
let iceServers = [];
/** @type {Promise<boolean>|null} */
let opening = null;
/** The agent wishes to move the line here from another window. */
let moving = false;
/** The message that says why duty could not begin; over once it has. @type {number|null} */
let said = null;

const audio = /** @type {HTMLAudioElement} */ (document.getElementById("sound"));
const leg = new AgentLeg(audio, exchange);

/** @param {RTCIceServer[]} servers STUN and TURN of the site, none on premises */
export function prepare(servers) {
  iceServers = servers;
  const device = localStorage.getItem(KEPT.device) ?? "";
  const speaker = localStorage.getItem(KEPT.speaker) ?? "";
  store.dispatch({ type: "line", facts: { device, speaker } });
}

/** The site's servers with a login that is good now: those of TURN end by themselves, and a panel stays open all day. */
async function servers() {
  if (iceServers.length === 0) return iceServers;
  try {
    iceServers = (await api.session()).ice_servers ?? [];
  } catch {
    // The line is asked for next, and says what is wrong with the server.
  }
  return iceServers;
}

/** @param {string} sdp @returns {Promise<{leg: string, sdp: string}>} */
async function exchange(sdp) {
  const ours = store.state.line.id ?? sessionStorage.getItem(KEPT.leg);
  let answer;
  try {
    answer = await patiently(() => api.openLeg(sdp, moving || (store.state.line.id ?? false)));
  } catch (error) {
    // A leg of this session: this tab's from before a reload, or another window's, which only its user may close.
    if (!refused(error, "leg-exists") || error.facts.leg !== ours) throw error;
    answer = await api.openLeg(sdp, true);
  }
  moving = false;
  sessionStorage.setItem(KEPT.leg, answer.leg);
  // The same leg goes on with another connection.
  if (answer.leg !== store.state.line.id) store.dispatch({ type: "line", facts: { id: answer.leg, heard: false } });
  events.hello();
  return answer;
}

/** Asks again while the server says that it is at its limit: that passes within seconds. @template T @param {() => Promise<T>} ask */
async function patiently(ask) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!refused(error, "overloaded") || tries >= OVERLOAD_TRIES) throw error;
      if (tries === OVERLOAD_SAID) notice("info", t("duty.waiting"));
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
  const devices = await leg.devices("audioinput");
  store.dispatch({ type: "line", facts: { mic: "ok", micLabel: opened.label, device, devices, fault: "" } });
  await findSpeakers();
  await meters.start("mic", opened.stream);
}

/** Keeps the call's sound on the chosen device, or on the default one once that is gone. */
async function findSpeakers() {
  const speakers = await leg.devices("audiooutput");
  const { speaker } = store.state.line;
  let there = speakers.some((one) => one.id === speaker) ? speaker : "";
  await leg.speaker(there).catch(() => (there = "")); // gone since it was listed: the browser plays on the default one
  const lost = speaker !== "" && there === "" && store.state.line.speakers.length > 0;
  store.dispatch({ type: "line", facts: { speakers, speaker: there } });
  if (lost) notice("error", t("speaker.gone"), true);
}

/** @param {string} speaker */
export async function chooseSpeaker(speaker) {
  localStorage.setItem(KEPT.speaker, speaker);
  store.dispatch({ type: "line", facts: { speaker } });
  await leg.speaker(speaker).catch(findSpeakers); // unplugged at this moment
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

/** The open microphone, for measuring. */
export const microphone = () => leg.monitor;

/** Opens the microphone for a check before duty. Throws `LegError`. */
export async function beginCheck() {
  if (store.state.line.mic !== "ok") await openMicrophone();
  if (store.state.line.state === "off") store.dispatch({ type: "line", facts: { state: "testing" } });
}

/** Lets go of the microphone, unless duty has begun meanwhile. */
export function endCheck() {
  if (store.state.line.state === "testing") closeLine();
}

/**
 * Opens the line for a moment, to learn whether sound gets through and how fast; an open line is only asked.
 * Throws `LegError`, `Problem`.
 */
export async function probeLine() {
  if (store.state.line.state === "up") return leg.quality();
  await leg.connect(await servers());
  await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
  const quality = await leg.quality();
  const { id, state } = store.state.line;
  if (state === "testing" && id) {
    leg.hangUp();
    store.dispatch({ type: "line", facts: { id: null, heard: false } });
    await api.closeLeg(id);
  }
  return quality;
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

/** The line's sound has stopped, perhaps for another network: the leg, and with it the call, moves to a new connection. */
async function renew() {
  const { id, state } = store.state.line;
  if (state !== "up" || !id || opening || !mine(store.state)) return; // without a call there is time
  opening = moveLeg(id).finally(() => (opening = null));
  await opening;
}

/** @param {string} id @returns {Promise<boolean>} whether the line is open */
async function moveLeg(id) {
  try {
    await leg.connect(await servers());
  } catch {
    return false; // the old one may come back by itself; else it is lost in a moment, and that is said
  }
  if (store.state.line.id === id) store.dispatch({ type: "line", facts: { state: "up", heard: true, fault: "" } });
  else lineLost(); // the server knew the leg no more, and has made another one
  return store.state.line.state === "up";
}

async function openLine() {
  store.dispatch({ type: "line", facts: { state: "opening", fault: "", why: "" } });
  if (said !== null) store.dispatch({ type: "notice-over", id: said });
  said = null;
  if (store.state.line.mic !== "ok") await openMicrophone();
  await leg.connect(await servers());
  await until((state) => state.line.heard, HEARD_MS);
  store.dispatch({ type: "line", facts: { state: "up", flow: { in: true, out: true } } });
  if (!store.state.line.suppression) await setSuppression(false);
  askToNotify();
  await api.setDuty(true).catch(failed); // the line is open all the same
}

/** @param {unknown} error */
function lineFailed(error) {
  const { id } = store.state.line;
  moving = false;
  leg.hangUp();
  meters.stop("call");
  if (id) void api.closeLeg(id).catch(() => {}); // best effort: the server drops a silent leg by itself
  const udp = error instanceof LegError && error.why === "udp";
  if (udp || refused(error, "network")) {
    // The microphone stays open to us: the way to the server may come back.
    store.dispatch({ type: "line", facts: { state: "lost", id: null, heard: false, fault: udp ? "udp" : "" } });
    return;
  }
  closeLine();
  if (refused(error, "leg-exists")) store.dispatch({ type: "dialog", dialog: { kind: "move-line" } });
  else if (error instanceof Problem && error.slug !== "not-logged-in")
    said = notice("error", t("duty.failed", { why: error.sentence }), true);
  else failed(error);
}

/** Lets go of the line and the microphone; a fault of the microphone stays said. */
function closeLine() {
  const { mic, id, state } = store.state.line;
  if (state === "testing" && id) void api.closeLeg(id).catch(() => {}); // best effort: a silent leg is dropped anyway
  meters.stop("mic");
  meters.stop("call");
  leg.close();
  const facts = {
    state: /** @type {const} */ ("off"),
    id: null,
    heard: false,
    fault: /** @type {const} */ (""),
    why: "",
  };
  store.dispatch({ type: "line", facts: { ...facts, mic: mic === "ok" ? "none" : mic } });
}

/** Closes the own line and the microphone. */
export async function goOffDuty() {
  const one = mine(store.state);
  if (one && holdsTheFloor(one.mode)) return notice("info", t("why.return-first"));
  const { id } = store.state.line;
  closeLine();
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

/** A server that was started anew does not know the line; the browser would notice that only seconds later. */
async function stillThere() {
  const { id } = store.state.line;
  try {
    const { legs } = await api.legs();
    if (store.state.line.id !== id || legs.some((one) => one.leg === id)) return;
    if (legs.length) moved();
    else lineLost();
  } catch {
    // Gone again: its return asks again, and the browser notices a dead line by itself.
  }
}

function lineLost() {
  if (store.state.line.state !== "up") return;
  store.dispatch({ type: "line", facts: { state: "lost", heard: false } });
  void reopen();
}

/** @type {Promise<WakeLockSentinel|null>|null} */
let awake = null;

/** While a caller hears me the computer does not fall asleep. @param {boolean} wanted */
async function keepAwake(wanted) {
  if (wanted === (awake !== null) || !("wakeLock" in navigator)) return;
  const held = awake;
  // Refused on a low battery or in a hidden page: the exchange gives the call back either way.
  awake = wanted ? navigator.wakeLock.request("screen").catch(() => null) : null;
  await (await held)?.release();
}

/** What the events tell of the own line. @param {State} before @param {State} state */
export function followLine(before, state) {
  leg.setOpen(micOpen(state));
  void keepAwake(holdsTheFloor(mine(state)?.mode));
  if (before.link.ever && !before.link.up && state.link.up && state.line.state === "up") void stillThere();
  if (!before.link.up && state.link.up && state.line.state === "lost" && !state.line.fault) void reopen();
  const down = before.line.heard && !state.line.heard && before.line.id === state.line.id && state.line.why;
  if (!down || state.line.state !== "up") return;
  if (state.line.why !== "closed") return lineLost(); // gone for good, whatever the browser still thinks of it
  moved();
}

/** Another window of this session has taken the line. */
function moved() {
  closeLine();
  notice("info", t("move.moved"), true);
}

leg.addEventListener("lost", lineLost);
leg.addEventListener("silent", renew);
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
  store.dispatch({ type: "line", facts: { devices: await leg.devices("audioinput") } });
  await findSpeakers();
  if (store.state.line.mic === "gone" || store.state.line.mic === "missing") await openMicrophone().catch(() => {}); // the banner keeps saying it
});
leg.addEventListener("quality", (event) =>
  store.dispatch({ type: "line", facts: { quality: /** @type {CustomEvent} */ (event).detail } }),
);
leg.addEventListener("flow", (event) => {
  const flow = /** @type {CustomEvent} */ (event).detail;
  const { flow: before } = store.state.line;
  if (flow.in !== before.in || flow.out !== before.out) store.dispatch({ type: "line", facts: { flow } });
});
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
