// @ts-check
// Worker: analyses what the meter worklets send and reports 15 times a second, off the main thread.

import { Analysis } from "./analysis.js";

const REPORT_BLOCKS = 7; // 70 ms

const scope =
  /** @type {{onmessage: ((event: MessageEvent) => void)|null, postMessage: (message: unknown) => void}} */ (
    /** @type {unknown} */ (self)
  );
/** @type {Map<string, MessagePort>} */
const ports = new Map();

scope.onmessage = (/** @type {MessageEvent} */ event) => {
  const { name, port } = event.data;
  ports.get(name)?.close();
  ports.delete(name);
  if (!port) return;
  ports.set(name, port);
  const analysis = new Analysis();
  let blocks = 0;
  port.onmessage = (/** @type {MessageEvent<Float32Array>} */ block) => {
    analysis.add(block.data);
    blocks += 1;
    if (blocks % REPORT_BLOCKS === 0) scope.postMessage({ name, reading: analysis.read() });
  };
};
