// @ts-check
// The one agent leg of this window, and what the server is asked for it.

import { api } from "./api.js";
import { events } from "./connection.js";
import { t } from "./messages.js";
import { meters } from "./meter.js";
import { failed, notice, refused } from "./notices.js";
import { AgentLeg } from "./rtc.js";
import { store } from "./store.js";

const OVERLOAD_TRIES = 8;
const OVERLOAD_MS = 1500;
/** So many refusals are no news; then the agent is told what takes so long. */
const OVERLOAD_SAID = 2;
/** In the tab's own storage: the leg it had before a reload. */
const KEPT = "takeover.leg";

/** @type {RTCIceServer[]} */
let iceServers = [];
/** The agent wishes to move the line here from another window. */
let moving = false;

const audio = /** @type {HTMLAudioElement} */ (document.getElementById("sound"));
export const leg = new AgentLeg(audio, exchange);

/** @param {RTCIceServer[]} known STUN and TURN of the site, none on premises */
export const useServers = (known) => void (iceServers = known);

/** Whether the leg may be taken from another window of this session. @param {boolean} wanted */
export const takeFromOthers = (wanted) => void (moving = wanted);

/** The site's servers with a login that is good now: those of TURN end by themselves, and a panel stays open all day. */
export async function servers() {
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
  const ours = store.state.line.id ?? sessionStorage.getItem(KEPT);
  let answer;
  try {
    answer = await patiently(() => api.openLeg(sdp, moving || (store.state.line.id ?? false)));
  } catch (error) {
    // A leg of this session: this tab's from before a reload, or another window's, which only its user may close.
    if (!refused(error, "leg-exists") || error.facts.leg !== ours) throw error;
    answer = await api.openLeg(sdp, true);
  }
  moving = false;
  sessionStorage.setItem(KEPT, answer.leg);
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
