// @ts-check
// Trying microphone and line before duty.

import { leg, servers } from "./agentleg.js";
import { api } from "./api.js";
import { openMicrophone } from "./devices.js";
import { closeLine } from "./duty.js";
import { failed } from "./notices.js";
import { store } from "./store.js";

/** Enough packets for a round trip and a jitter that mean something. */
const PROBE_MS = 1500;

/** Level before duty, without opening the leg. */
export async function testMicrophone() {
  try {
    await openMicrophone();
    if (store.state.line.state === "off") store.dispatch({ type: "line", facts: { state: "testing" } });
  } catch (error) {
    failed(error);
  }
}

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
