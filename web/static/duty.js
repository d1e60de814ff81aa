// @ts-check
// The own line, from on duty to off duty.

import { leg, servers, setSuppression, takeFromOthers } from "./agentleg.js";
import { askToNotify } from "./alerts.js";
import { api, Problem } from "./api.js";
import { holdsTheFloor, mine } from "./derive.js";
import { openMicrophone } from "./devices.js";
import { t } from "./messages.js";
import { meters } from "./meter.js";
import { failed, notice, refused } from "./notices.js";
import { LegError } from "./rtc.js";
import { store } from "./store.js";

/** @import {State} from "./types.js" */

/** The server hears the leg one packet after it connected; past this the mode is asked for anyway, and its answer tells. */
const HEARD_MS = 2000;

/** @type {Promise<boolean>|null} */
let opening = null;
/** The message that says why duty could not begin; over once it has. @type {number|null} */
let said = null;

/** Takes the line from another window of this session. */
export function moveLine() {
  takeFromOthers(true);
  return goOnDuty();
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

/**
 * The line's sound has stopped, perhaps for another network: the leg, and with it the call, moves to a new connection.
 * @returns {Promise<boolean>} whether it is still the same leg; the server may have known it no more, and made another one
 */
export async function renewLine() {
  const { id, state } = store.state.line;
  if (state !== "up" || !id || opening || !mine(store.state)) return true; // without a call there is time
  let same = true;
  opening = moveLeg(id)
    .then((kept) => (same = kept))
    .finally(() => (opening = null));
  await opening;
  return same;
}

/** @param {string} id @returns {Promise<boolean>} whether the line is still that of this leg */
async function moveLeg(id) {
  try {
    await leg.connect(await servers());
  } catch {
    return true; // the old one may come back by itself; else it is lost in a moment, and that is said
  }
  if (store.state.line.id !== id) return false;
  store.dispatch({ type: "line", facts: { state: "up", heard: true, fault: "" } });
  return true;
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
  takeFromOthers(false);
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
export function closeLine() {
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
    if (id) await api.closeLeg(id).catch(unlessGone);
    await api.setDuty(false);
  } catch (error) {
    failed(error);
  }
}

/** The server drops a leg whose connection ends, perhaps before it is asked to. @param {unknown} error */
function unlessGone(error) {
  if (!refused(error, "not-found")) throw error;
}

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
