// @ts-check
// Meters of the page: audio thread -> worker -> a reading 15 times a second, as `reading` events.

import { workerUrl } from "./trusted.js";

/** @import {Reading} from "./analysis.js" */

/** Fires `mic` and `call` events whose `detail` is a `Reading`, or null when that meter stops. */
class Meters extends EventTarget {
  /** @type {AudioContext|null} */
  #context = null;
  /** @type {Promise<void>|null} */
  #loaded = null;
  /** @type {Worker|null} */
  #worker = null;
  /** @type {Map<string, {source: MediaStreamAudioSourceNode, node: AudioWorkletNode}>} */
  #running = new Map();

  /** @param {"mic"|"call"} name @param {MediaStream} stream */
  async start(name, stream) {
    this.stop(name);
    this.#context ??= new AudioContext({ latencyHint: "interactive" });
    const context = this.#context;
    this.#loaded ??= context.audioWorklet.addModule(workerUrl("meter-worklet.js"));
    if (!this.#worker) {
      this.#worker = new Worker(workerUrl("meter-worker.js"), { type: "module" });
      this.#worker.onmessage = (event) => this.#tell(event.data.name, event.data.reading);
    }
    // Not waited for: it never comes where the machine has no sound output or the browser wants a click first, and a
    // meter that stands still must not keep anybody from duty.
    if (context.state === "suspended") void context.resume();
    await this.#loaded;
    this.stop(name);
    const node = new AudioWorkletNode(context, "takeover-meter", {
      numberOfInputs: 1,
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage({ port: port1 }, [port1]);
    this.#worker.postMessage({ name, port: port2 }, [port2]);
    const source = context.createMediaStreamSource(stream);
    source.connect(node);
    this.#running.set(name, { source, node });
  }

  /** @param {"mic"|"call"} name */
  stop(name) {
    const running = this.#running.get(name);
    if (!running) return;
    this.#running.delete(name);
    running.source.disconnect();
    running.node.port.postMessage({ stop: true });
    this.#worker?.postMessage({ name, port: null });
    this.#tell(name, null);
  }

  /** @param {string} name @param {Reading|null} reading */
  #tell(name, reading) {
    this.dispatchEvent(new CustomEvent(name, { detail: reading }));
  }
}

export const meters = new Meters();
