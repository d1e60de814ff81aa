// @ts-check
// How good the own line is, both ways, and what the voice cleaning does to it: in figures and in words. Pure.

import { LIMITS } from "./linecheck.js";

/** @import {Line} from "./types.js" */

/** Below this the microphone is muted, and there is nothing to clean, dBFS. */
const SILENT_DB = -80;

/**
 * One way of the sound: share lost in percent and jitter in ms, null where nobody has told yet.
 * @typedef {{loss: number|null, jitter: number|null, bad: boolean}} Way
 */
/** @typedef {{from: number, to: number}} Level dBFS before and after the voice cleaning */
/** @typedef {{rtt: number|null, slow: boolean, up: Way, down: Way}} Ways up: from here to the caller; down: back */

/** Both ways, as the browser and the server see them. @param {Pick<Line, "quality"|"server">} line @returns {Ways} */
export function ways({ quality, server }) {
  const rtt = quality.rtt ?? rounded(server?.rtt_ms);
  return {
    rtt,
    slow: (rtt ?? 0) > LIMITS.rtt,
    up: way(percent(server?.lost), rounded(server?.jitter_ms)),
    down: way(worst(quality.loss, percent(server?.lost_at_browser)), quality.jitter),
  };
}

/**
 * What to do about the worst of it; null while all is well.
 * @param {Ways} found @returns {{text: string, facts: Record<string, number>}|null}
 */
export function remedy({ rtt, slow, up, down }) {
  for (const [name, one] of /** @type {const} */ ([
    ["up", up],
    ["down", down],
  ])) {
    if ((one.loss ?? 0) > LIMITS.loss) return { text: `quality.${name}.loss`, facts: { n: one.loss ?? 0 } };
    if ((one.jitter ?? 0) > LIMITS.jitter) return { text: `quality.${name}.jitter`, facts: { n: one.jitter ?? 0 } };
  }
  return slow ? { text: "check.delay.far", facts: { rtt: rtt ?? 0 } } : null;
}

/**
 * What the voice cleaning takes out of the room: told between two words, and true until the next pause.
 * @param {Level|null} last @param {Line["server"]} server @returns {Level|null}
 */
export function noise(last, server) {
  if (server?.level_in === undefined || server.level_out === undefined) return last;
  if (server.speaking || !(server.level_in > SILENT_DB)) return last;
  return { from: Math.round(server.level_in), to: Math.round(Math.max(server.level_out, -99)) };
}

/**
 * For those who want to know more: what became of the microphone's sound since the line was opened.
 * @param {Line["server"]} server @returns {{key: string, text: string, facts: Record<string, number>}[]}
 */
export function details(server) {
  if (server?.played === undefined) return [];
  const of = (/** @type {string[]} */ ...names) => names.reduce((sum, name) => sum + (server[name] ?? 0), 0);
  const all = Math.max(1, of("played", "recovered", "concealed", "stretched"));
  const share = (/** @type {number} */ part) => ({ n: Math.round((1000 * part) / all) / 10 });
  return [
    { key: "restored", text: "unit.percent", facts: share(of("recovered")) },
    { key: "invented", text: "unit.percent", facts: share(of("concealed", "stretched")) },
    { key: "missing", text: "unit.s", facts: { n: Math.round(of("underruns", "noise") / 5) / 10 } },
    { key: "waits", text: "unit.ms", facts: { n: Math.round(of("buffer_ms")) } },
  ];
}

/** @param {number|null} loss @param {number|null} jitter @returns {Way} */
const way = (loss, jitter) => ({ loss, jitter, bad: (loss ?? 0) > LIMITS.loss || (jitter ?? 0) > LIMITS.jitter });

/** @param {number|null|undefined} value */
const rounded = (value) => (value === null || value === undefined ? null : Math.round(value));

/** @param {number|undefined} share */
const percent = (share) => (share === undefined ? null : Math.round(1000 * share) / 10);

/** The larger of two figures of which either may be missing. @param {number|null} a @param {number|null} b */
const worst = (a, b) => (a === null ? b : b === null ? a : Math.max(a, b));
