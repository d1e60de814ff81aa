// @ts-check
// Audio thread: hands the samples of one input, 10 ms at a time, to the meter worker. No analysis here.

/**
 * @typedef {object} Scope
 * @property {new () => {port: MessagePort}} AudioWorkletProcessor
 * @property {(name: string, processor: Function) => void} registerProcessor
 * @property {number} sampleRate
 */
const scope = /** @type {Scope} */ (/** @type {unknown} */ (globalThis));

class Meter extends scope.AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(scope.sampleRate / 100));
    this.filled = 0;
    /** @type {MessagePort|null} */
    this.out = null;
    this.done = false;
    this.port.onmessage = (event) => {
      if (event.data.port) this.out = event.data.port;
      else this.done = true;
    };
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const samples = inputs[0]?.[0];
    if (!samples || !this.out) return !this.done;
    for (let at = 0; at < samples.length;) {
      const n = Math.min(samples.length - at, this.block.length - this.filled);
      this.block.set(samples.subarray(at, at + n), this.filled);
      at += n;
      this.filled += n;
      if (this.filled === this.block.length) {
        const full = this.block;
        this.block = new Float32Array(full.length);
        this.out.postMessage(full, [full.buffer]);
        this.filled = 0;
      }
    }
    return !this.done;
  }
}

scope.registerProcessor("takeover-meter", Meter);

export {};
