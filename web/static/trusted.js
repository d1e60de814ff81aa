// @ts-check
// The one place where a string becomes the address of a script, for pages that require Trusted Types.

const SCRIPTS = new Set(["heartbeat-worker.js", "meter-worker.js", "meter-worklet.js"]);

/** @param {string} name */
const address = (name) => {
  if (!SCRIPTS.has(name)) throw new TypeError(`${name} is not a script of the panel`);
  return `/static/${name}`;
};

/** @type {{createScriptURL: (name: string) => any}|undefined} */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("panel", { createScriptURL: address });

/** The address of one of the panel's worker scripts. @param {string} name @returns {string} */
export const workerUrl = (name) => (policy ? policy.createScriptURL(name) : address(name));
