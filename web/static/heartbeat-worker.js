// @ts-check
// A clock that a hidden tab does not slow down.

const scope =
  /** @type {{onmessage: ((event: MessageEvent) => void)|null, postMessage: (message: unknown) => void}} */ (
    /** @type {unknown} */ (self)
  );
/** @type {ReturnType<typeof setInterval>|undefined} */
let timer;

scope.onmessage = (/** @type {MessageEvent} */ event) => {
  clearInterval(timer);
  const { every } = event.data;
  let last = Date.now(); // not performance.now(): on some systems it stands still while the computer sleeps
  // Nothing slows this clock down, so a late beat means that page, browser or computer were asleep.
  timer = setInterval(() => {
    const late = Date.now() - last - every;
    last = Date.now();
    scope.postMessage({ slept: late > every ? late : 0 });
  }, every);
};

export {};
