// @ts-check
// What becomes of the own line without its user's doing: lost, moved, opened again; and what the events tell of it.

import { leg } from "./agentleg.js";
import { api } from "./api.js";
import { holdsTheFloor, micOpen, mine } from "./derive.js";
import { closeLine, goOnDuty, renewLine } from "./duty.js";
import { t } from "./messages.js";
import { notice } from "./notices.js";
import { store } from "./store.js";

/** @import {State} from "./types.js" */

const REOPEN_MS = [0, 1500, 4000];

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
leg.addEventListener("silent", async () => {
  if (!(await renewLine())) lineLost();
});
