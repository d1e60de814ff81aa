// @ts-check
// What draws attention to a call that asks for a person: a sound, a notification, a spoken sentence.

import { now } from "./clock.js";
import { asking, holdsTheFloor, maySeize, mine, name } from "./derive.js";
import { clean } from "./dom.js";
import { t } from "./messages.js";
import { store } from "./store.js";

/** @import {Call, Priority, State} from "./types.js" */

const KEPT = { sound: "takeover.sound", asked: "takeover.notify" };
/** Notes in Hz, each NOTE_S long: told apart by their number and rise, not by loudness alone. @type {Record<Priority, number[]>} */
const TUNES = { normal: [660], urgent: [660, 880], emergency: [660, 880, 1175] };
const NOTE_S = 0.14;
/** While nobody answers, the sound comes again, each time louder. A normal request rings once. */
const AGAIN_MS = { normal: 0, urgent: 15_000, emergency: 6_000 };
const QUIET = 0.08;
const LOUD = 0.5;
const LOUDER = 1.35;

/** @type {AudioContext|null} */
let context = null;
/** `called`: nobody came, and this supervisor is wanted. @type {Map<string, {priority: Priority, called: boolean, rung: number, gain: number, shown: Notification|null}>} */
const open = new Map();
/** @type {ReturnType<typeof setTimeout>|undefined} */
let ringing;
/** @type {Set<() => void>} */
const listeners = new Set();

export const soundOn = () => localStorage.getItem(KEPT.sound) !== "off";

export function toggleSound() {
  localStorage.setItem(KEPT.sound, soundOn() ? "off" : "on");
  for (const listener of listeners) listener();
  if (soundOn()) play("normal", QUIET);
}

/** @param {() => void} listener called when the sound is switched on or off */
export const onSound = (listener) => void listeners.add(listener);

/** Asks once, when duty begins, whether calls for a person may be shown outside of this page. */
export function askToNotify() {
  if (!("Notification" in globalThis) || Notification.permission !== "default" || localStorage.getItem(KEPT.asked))
    return;
  localStorage.setItem(KEPT.asked, "asked");
  void Notification.requestPermission();
}

export function watch() {
  store.watch(follow);
  // A page may sound only after somebody has touched it.
  addEventListener("pointerdown", () => void context?.resume(), { capture: true });
  addEventListener("keydown", () => void context?.resume(), { capture: true });
}

/** @param {State} state */
function follow(state) {
  const calls = asking(state);
  const ids = new Set(calls.map((call) => call.id));
  for (const [id, alert] of open)
    if (!ids.has(id)) {
      alert.shown?.close();
      open.delete(id);
    }
  for (const call of calls) {
    const priority = call.escalation?.priority ?? "normal";
    const called = Boolean(call.escalation?.supervisors) && maySeize(state);
    const known = open.get(call.id);
    if (known?.priority === priority && known.called === called) continue;
    known?.shown?.close();
    open.set(call.id, { priority, called, rung: 0, gain: known?.gain ?? QUIET, shown: notify(call) });
  }
  ring();
}

/** Rings what is due, and comes back when the next is. */
function ring() {
  clearTimeout(ringing);
  let next = Number.POSITIVE_INFINITY;
  /** @type {{priority: Priority, gain: number}|null} */
  let due = null;
  for (const alert of open.values()) {
    const again = AGAIN_MS[alert.priority];
    const wait = alert.rung ? (again ? alert.rung + again - performance.now() : Number.POSITIVE_INFINITY) : 0;
    if (wait > 0) {
      next = Math.min(next, wait);
      continue;
    }
    if (!due || TUNES[alert.priority].length > TUNES[due.priority].length) due = alert;
    alert.rung = performance.now();
    if (again) next = Math.min(next, again);
  }
  if (due) {
    play(due.priority, due.gain);
    due.gain = Math.min(LOUD, due.gain * LOUDER);
  }
  if (Number.isFinite(next)) ringing = setTimeout(ring, next);
}

/** @param {Priority} priority @param {number} gain */
function play(priority, gain) {
  // Not into the ear, or the open microphone, of somebody whom a caller hears.
  if (!soundOn() || holdsTheFloor(mine(store.state)?.mode)) return;
  context ??= new AudioContext();
  const start = context.currentTime + 0.02;
  for (const [i, pitch] of TUNES[priority].entries()) {
    const tone = new OscillatorNode(context, { frequency: pitch, type: "triangle" });
    const volume = new GainNode(context, { gain: 0 });
    const at = start + i * NOTE_S;
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(gain, at + 0.01);
    volume.gain.exponentialRampToValueAtTime(0.001, at + NOTE_S);
    tone.connect(volume).connect(context.destination);
    tone.start(at);
    tone.stop(at + NOTE_S);
  }
  document.body.dataset.rang = String(now());
}

/** @param {Call} call @returns {Notification|null} */
function notify(call) {
  if (document.visibilityState === "visible" && document.hasFocus()) return null;
  if (!("Notification" in globalThis) || Notification.permission !== "granted") return null;
  const asked = call.escalation;
  const shown = new Notification(t(`attention.${asked?.priority ?? "normal"}`, { reason: clean(asked?.reason) }), {
    body: clean(name(call)) || t("caller.unknown"),
    tag: call.id,
    icon: "/static/favicon.svg",
    requireInteraction: asked?.priority === "emergency",
  });
  shown.onclick = () => {
    focus();
    store.dispatch({ type: "select", call: call.id });
    shown.close();
  };
  return shown;
}
