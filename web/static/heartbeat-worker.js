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
  timer = setInterval(() => scope.postMessage(null), event.data.every);
};

export {};
