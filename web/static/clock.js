// @ts-check
// Durations on screen: one timer for all of them, on the server's clock.

/** Server time minus browser time, ms. */
let skew = 0;
/** @type {Set<() => void>} */
const listeners = new Set();
/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;

/** Learns the server's time from an answer's Date header (whole seconds). @param {string|null} date */
export function learn(date) {
  const at = date ? Date.parse(date) : Number.NaN;
  if (Number.isNaN(at)) return;
  const seen = at + 500 - Date.now();
  if (Math.abs(seen - skew) > 1500) skew = seen;
}

export const now = () => Date.now() + skew;

/** Seconds since an RFC 3339 time, never negative. @param {string} at */
export const since = (at) => Math.max(0, Math.floor((now() - Date.parse(at)) / 1000));

/** `4:07`, `1:02:33`. @param {number} seconds */
export function duration(seconds) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Made once: making it takes longer than all the times of a transcript. @type {Intl.DateTimeFormat|null} */
let clockFace = null;

/** `14:03:22`, local time. @param {string} at */
export function timeOfDay(at) {
  clockFace ??= new Intl.DateTimeFormat(document.documentElement.lang, {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  });
  return clockFace.format(new Date(at));
}

/** Calls `listener` each second. @param {() => void} listener @returns {() => void} stops it */
export function everySecond(listener) {
  listeners.add(listener);
  if (listeners.size === 1) beat();
  return () => {
    listeners.delete(listener);
    if (!listeners.size) clearTimeout(timer);
  };
}

function beat() {
  clearTimeout(timer);
  timer = setTimeout(
    () => {
      for (const listener of listeners) listener();
      if (listeners.size) beat();
    },
    1000 - (now() % 1000),
  );
}
