// @ts-check
// The check before duty: what was found out, as sentences that name cause and remedy. Pure.

/** @import {Reading} from "./analysis.js" */

/** The tone of the echo test may stand out of the room by so much, dB. */
const ECHO_DB = 15;
/** And this quiet it does no harm, dBFS. */
const ECHO_LEAST_DB = -65;
const NOISY_DB = -38;
/** Past these a conversation suffers: round trip ms, jitter ms, loss percent. */
export const LIMITS = { rtt: 250, jitter: 40, loss: 3 };
/** A microphone that delivers nothing at all for this long is switched off, s. */
const SILENT_S = 1.5;
const NOISE_S = 2;
const QUIET_S = 5;

/**
 * @typedef {object} Facts
 * @property {""|"ok"|"denied"|"missing"|"busy"|"insecure"} mic
 * @property {string} label the microphone's name
 * @property {Reading|null} reading
 * @property {boolean} spoken a voice was heard at a good level
 * @property {number} seconds since the microphone opened
 * @property {{above: number, level: number}|null} echo the test tone in the microphone: dB above the room, dBFS
 * @property {""|"ok"|"udp"|"leg-exists"|"server"} line
 * @property {{rtt: number|null, jitter: number|null, loss: number|null, relayed?: boolean}} quality ms, ms, percent; through a TURN server
 */

/** @typedef {{key: string, tone: "wait"|"good"|"warn"|"bad", text: string, facts?: Record<string, string|number>}} Finding */

/** @type {Facts} */
export const UNKNOWN = {
  mic: "",
  label: "",
  reading: null,
  spoken: false,
  seconds: 0,
  echo: null,
  line: "",
  quality: { rtt: null, jitter: null, loss: null },
};

/** @param {Facts} facts @returns {Finding[]} one for each question, in the order asked */
export const findings = (facts) => {
  // Without a microphone nothing else is asked: "one moment" would be for ever.
  const found = facts.mic === "" || facts.mic === "ok" ? { level, noise, echo, line, delay } : UNASKED;
  return [
    { key: "mic", ...microphone(facts) },
    ...Object.entries(found).map(([key, answer]) => ({ key, ...answer(facts) })),
  ];
};

/** @typedef {Omit<Finding, "key">} Answer */
/** @type {Answer} */
const WAITING = { tone: "wait", text: "check.waiting" };
/** @type {() => Answer} */
const unasked = () => ({ tone: "wait", text: "check.unasked" });
const UNASKED = { level: unasked, noise: unasked, echo: unasked, line: unasked, delay: unasked };

/** @param {Facts} facts @returns {Answer} */
function microphone({ mic, label }) {
  if (mic === "") return { tone: "wait", text: "check.mic.asking" };
  if (mic === "ok") return { tone: "good", text: "check.mic.good", facts: { label } };
  return { tone: "bad", text: mic === "denied" || mic === "missing" ? `fault.mic-${mic}` : `leg.${mic}` };
}

/** @param {Facts} facts @returns {Answer} */
function level({ reading, spoken, seconds }) {
  if (!reading) return WAITING;
  if (reading.clipped) return { tone: "warn", text: "check.clipping" };
  if (reading.silent && seconds > SILENT_S) return { tone: "bad", text: "check.silent" };
  if (spoken) return { tone: "good", text: "check.level.good" };
  if (seconds > QUIET_S && reading.rms < -55) return { tone: "warn", text: "check.quiet" };
  return { tone: "wait", text: "check.speak" };
}

/** @param {Facts} facts @returns {Answer} */
function noise({ reading, seconds }) {
  if (!reading || seconds < NOISE_S || reading.silent) return WAITING;
  const facts = { n: Math.round(reading.floor) };
  return reading.floor > NOISY_DB
    ? { tone: "warn", text: "check.noise.bad", facts }
    : { tone: "good", text: "check.noise.good", facts };
}

/** @param {Facts} facts @returns {Answer} */
function echo({ echo: heard }) {
  if (!heard) return { tone: "wait", text: "check.echo.ask" };
  const bad = heard.above > ECHO_DB && heard.level > ECHO_LEAST_DB;
  return { tone: bad ? "warn" : "good", text: bad ? "check.echo.bad" : "check.echo.good" };
}

/** @param {Facts} facts @returns {Answer} */
function line({ line: found, quality }) {
  if (found === "") return WAITING;
  if (found === "ok") return { tone: "good", text: quality.relayed ? "check.line.relayed" : "check.line.good" };
  if (found === "udp") return { tone: "bad", text: "fault.udp" };
  return { tone: "bad", text: found === "leg-exists" ? "problem.leg-exists" : "check.line.server" };
}

/** The way to the server and back; also asked on duty. @param {Pick<Facts, "quality">} facts @returns {Answer} */
export function delay({ quality: { rtt, jitter, loss } }) {
  if (rtt === null) return WAITING;
  const facts = { rtt, jitter: jitter ?? 0, loss: loss ?? 0 };
  if ((loss ?? 0) > LIMITS.loss) return { tone: "warn", text: "check.delay.loss", facts };
  if ((jitter ?? 0) > LIMITS.jitter) return { tone: "warn", text: "check.delay.jitter", facts };
  if (rtt > LIMITS.rtt) return { tone: "warn", text: "check.delay.far", facts };
  return { tone: "good", text: "check.delay.good", facts };
}
