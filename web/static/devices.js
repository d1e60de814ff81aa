// @ts-check
// Which microphone and which speaker, also when one of them goes.

import { leg } from "./agentleg.js";
import { t } from "./messages.js";
import { meters } from "./meter.js";
import { failed, noMicrophone, notice } from "./notices.js";
import { LegError } from "./rtc.js";
import { store } from "./store.js";

const KEPT = { device: "takeover.microphone", speaker: "takeover.speaker" };

/** Those that were chosen the last time. */
export function recallDevices() {
  const device = localStorage.getItem(KEPT.device) ?? "";
  const speaker = localStorage.getItem(KEPT.speaker) ?? "";
  store.dispatch({ type: "line", facts: { device, speaker } });
}

/** Asks for the microphone and shows its level. @param {string} [device] */
export async function openMicrophone(device = store.state.line.device) {
  let opened;
  if (store.state.line.mic !== "ok") store.dispatch({ type: "line", facts: { mic: "none" } }); // asked for anew
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
  store.dispatch({ type: "line", facts: { mic: noMicrophone(error) ?? "busy" } });
  return error;
}

/** @param {string} device */
export async function chooseMicrophone(device) {
  localStorage.setItem(KEPT.device, device);
  store.dispatch({ type: "line", facts: { device } });
  if (store.state.line.mic === "ok" || store.state.line.mic === "gone") await openMicrophone(device).catch(failed);
}

/** The open microphone, for measuring. */
export const microphone = () => leg.monitor;

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
  if (["gone", "missing", "busy"].includes(store.state.line.mic)) await openMicrophone().catch(() => {}); // the faults keep saying it
});
