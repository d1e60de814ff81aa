// @ts-check
// The events WebSocket: hello, snapshot, deltas, heartbeat, and back again after a loss.

import { workerUrl } from "./trusted.js";

const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 5000];
/** Heartbeat; two unanswered ones and the connection counts as lost, long before TCP would say so. */
const PING_MS = 4000;
const PATIENCE_MS = 2 * PING_MS + 1000;
/** A page that stood still for less has missed nothing. */
const NAP_MS = 1500;

/**
 * @typedef {object} Handlers
 * @property {() => string|null} leg the leg to say hello with
 * @property {() => number} rev the last revision seen
 * @property {(message: any) => void} message a snapshot or delta
 * @property {(up: boolean, retryAt: number|null) => void} link
 * @property {(ms: number) => void} rtt
 * @property {(ms: number) => void} slept the browser stopped this page for so long
 * @property {() => void} refused the session is not valid any more
 */

export class Events {
  /** @type {WebSocket|null} */
  #socket = null;
  #attempt = 0;
  #alive = 0;
  #closed = false;
  #woken = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #retry;

  /** @param {Handlers} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    // A hidden tab's own timers are slowed down to one a minute; a worker's are not.
    this.clock = new Worker(workerUrl("heartbeat-worker.js"), { type: "module" });
    this.clock.onmessage = (event) => {
      this.#slept(event.data.slept);
      this.#beat();
    };
    this.clock.postMessage({ every: PING_MS });
    let frozen = 0;
    document.addEventListener("freeze", () => (frozen = Date.now()));
    document.addEventListener("resume", () => {
      this.#slept(Date.now() - frozen);
      this.#beat();
    });
    addEventListener("online", () => this.#now());
    addEventListener("offline", () => this.#lost());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#now());
  }

  open() {
    this.#closed = false;
    this.#connect();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.close(1000);
  }

  /** Tells the server which leg is ours. */
  hello() {
    this.#send({ type: "hello", leg: this.handlers.leg() });
  }

  /** @param {object} message */
  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #connect() {
    clearTimeout(this.#retry);
    if (this.#closed || this.#socket) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/events`);
    this.#socket = socket;
    this.#alive = performance.now();
    socket.onopen = () => {
      this.#alive = performance.now();
      this.hello();
      if (this.handlers.rev()) this.#send({ type: "resume", rev: this.handlers.rev() });
      this.#send({ type: "ping", t: performance.now() });
    };
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      if (event.code === 4401 || event.code === 1008) this.handlers.refused();
      else this.#later();
    };
  }

  /** @param {any} message */
  #receive(message) {
    this.#alive = performance.now();
    if (message.type === "pong") {
      this.handlers.rtt(Math.max(0, Math.round(performance.now() - message.t)));
      return;
    }
    if (message.type === "snapshot" || message.type === "delta") {
      this.#attempt = 0;
      this.handlers.link(true, null);
    }
    this.handlers.message(message);
  }

  #beat() {
    if (!this.#socket) return;
    if (performance.now() - this.#alive > PATIENCE_MS) this.#lost();
    else this.#send({ type: "ping", t: performance.now() });
  }

  /** Says it once, however many clocks have noticed. @param {number} ms */
  #slept(ms) {
    if (ms < NAP_MS || Date.now() - this.#woken < PATIENCE_MS) return;
    this.#woken = Date.now();
    this.handlers.slept(ms);
  }

  /** The connection is dead whatever TCP thinks. */
  #lost() {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.close();
    this.#later();
  }

  #later() {
    if (this.#closed) return;
    const base = BACKOFF_MS[Math.min(this.#attempt, BACKOFF_MS.length - 1)] ?? 5000;
    this.#attempt += 1;
    const wait = base * (0.75 + Math.random() / 2);
    this.handlers.link(false, Date.now() + wait);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  /** Tries at once: the network or the tab is back. */
  #now() {
    if (this.#closed || this.#socket) return;
    this.#connect();
  }
}
