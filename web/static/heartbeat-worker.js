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
  let last = performance.now();
  // Nothing slows this clock down, so a late beat means that page, browser or computer were asleep.
  timer = setInterval(() => {
    const late = performance.now() - last - every;
    last = performance.now();
    scope.postMessage({ slept: late > every ? late : 0 });
  }, every);
};

export {};
