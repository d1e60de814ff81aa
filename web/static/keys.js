// @ts-check
// Keyboard: single keys, shown by `?`, and able to be switched off (WCAG 2.1.4).

import * as actions from "./actions.js";
import { setMuted } from "./agentleg.js";
import * as alerts from "./alerts.js";
import * as duty from "./duty.js";
import { mine, MODES, ordered } from "./derive.js";
import { store } from "./store.js";

const KEPT = "takeover.keys";

export const enabled = () => localStorage.getItem(KEPT) !== "off";
/** @param {boolean} on */
export const enable = (on) => localStorage.setItem(KEPT, on ? "on" : "off");

/** @param {string} id */
const focus = (id) => document.getElementById(id)?.focus();

/** @param {number} step */
function move(step) {
  const calls = ordered(store.state);
  const at = calls.findIndex((call) => call.id === store.state.selected);
  const next = calls[at < 0 ? 0 : Math.min(calls.length - 1, Math.max(0, at + step))];
  if (!next) return;
  actions.select(next.id);
  /** @type {HTMLElement|null} */
  const row = document.querySelector(`[data-call="${CSS.escape(next.id)}"]`);
  row?.scrollIntoView({ block: "nearest" });
  // Enter would open the call that was left.
  if (document.activeElement?.matches("[data-call]")) row?.focus();
}

const note = () => /** @type {HTMLInputElement|null} */ (document.getElementById("note"));

/** Gives the call back with what stands in the note. */
export async function giveBack() {
  const field = note();
  if (await actions.release(field?.value ?? "")) if (field) field.value = "";
}

/** In the order of the sheet; the texts are `keys.{name}`. @type {{name: string, keys: string[], shown: string[], run: () => unknown}[]} */
export const SHORTCUTS = [
  ...MODES.map((mode, i) => ({
    name: mode,
    keys: [String(i + 1), mode[0] ?? ""],
    shown: [String(i + 1), (mode[0] ?? "").toUpperCase()],
    run: () => actions.press(mode),
  })),
  { name: "return", keys: ["r"], shown: ["R"], run: () => mine(store.state) && giveBack() },
  { name: "note", keys: ["n"], shown: ["N"], run: () => note()?.focus() },
  {
    name: "leave",
    keys: ["l"],
    shown: ["L"],
    run: actions.leave,
  },
  {
    name: "mute",
    keys: ["u"],
    shown: ["U"],
    run: () => mine(store.state) && setMuted(!store.state.line.muted),
  },
  { name: "hold", keys: ["h"], shown: ["H"], run: actions.toggleHold },
  { name: "answer", keys: ["a"], shown: ["A"], run: actions.answerFirst },
  { name: "help", keys: ["x"], shown: ["X"], run: actions.askForHelp },
  { name: "sound", keys: ["s"], shown: ["S"], run: alerts.toggleSound },
  { name: "keypad", keys: ["p"], shown: ["P"], run: actions.openKeypad },
  { name: "transfer", keys: ["f"], shown: ["F"], run: actions.askTransfer },
  { name: "coach", keys: ["c"], shown: ["C"], run: () => focus("coach") },
  { name: "wrap-up", keys: ["o"], shown: ["O"], run: () => focus("outcome") },
  { name: "end", keys: ["e"], shown: ["E"], run: actions.askEndCall },
  {
    name: "duty",
    keys: ["d"],
    shown: ["D"],
    run: () => (store.state.line.state === "up" ? duty.goOffDuty() : duty.goOnDuty()),
  },
  {
    name: "check",
    keys: ["q"],
    shown: ["Q"],
    run: actions.openCheck,
  },
  { name: "down", keys: ["j", "ArrowDown"], shown: ["J", "↓"], run: () => move(1) },
  { name: "up", keys: ["k", "ArrowUp"], shown: ["K", "↑"], run: () => move(-1) },
  { name: "filter", keys: ["/"], shown: ["/"], run: () => focus("filter") },
  { name: "newest", keys: ["g"], shown: ["G"], run: () => document.getElementById("newest")?.click() },
  {
    name: "sheet",
    keys: ["?"],
    shown: ["?"],
    run: () => store.dispatch({ type: "dialog", dialog: { kind: "shortcuts" } }),
  },
];

/** Where a key is a letter being written, or belongs to the control itself. @param {EventTarget|null} target @param {string} key */
function taken(target, key) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.matches("input, textarea, select, [contenteditable]")) return true;
  return key.startsWith("Arrow") && target.closest("[data-scrolls]") !== null;
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  if (event.key === "Escape") {
    if (event.target instanceof HTMLElement && event.target.matches("input, select")) event.target.blur();
    else if (!store.state.dialog && matchMedia("(max-width: 44.9375em)").matches) actions.select(null);
    return;
  }
  if (event.ctrlKey || event.altKey || event.metaKey || (event.repeat && !event.key.startsWith("Arrow"))) return;
  // What is open counts, not the state: a dialog's close event comes a moment after it is gone.
  if (document.querySelector("dialog[open]") || taken(event.target, event.key) || !enabled()) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shortcut = SHORTCUTS.find((one) => one.keys.includes(key));
  if (!shortcut) return;
  event.preventDefault();
  void shortcut.run();
}

export function listen() {
  document.addEventListener("keydown", pressed);
}
