// @ts-check
// The agent leg: microphone, one RTCPeerConnection to the server, and the call's sound.

/** @import {Line} from "./types.js" */

/** Answers to the question why a leg could not be opened. */
export class LegError extends Error {
  /** @param {"insecure"|"denied"|"missing"|"busy"|"udp"|"closed"} why */
  constructor(why) {
    super(why);
    this.why = why;
  }
}

/** All candidates, or as many as came by then: on premises these are host candidates, known at once. */
const GATHER_MS = 2000;
/** UDP that works connects in well under a second; past this it does not reach the server. */
const CONNECT_MS = 6000;
/** "disconnected" heals by itself when only a few checks were lost. */
const HEAL_MS = 3000;
/** The server sends each 20 ms, whatever happens: without a packet for so long the network is another one. The server gives
 * the call back after 2 s without the microphone. */
const SILENT_MS = 500;
const LOOK_MS = 100;
/** So long after the last alarm the next one. */
const CALM_MS = 5000;
const STATS_MS = 2000;
/** So many looks without one new packet, and the sound has stopped: silence has packets too. */
const STILL = 2;
/** @type {Line["quality"]} */
const NOTHING = { rtt: null, jitter: null, loss: null };

/**
 * Fires `silent` when packets stop, `lost` (detail: why), `flow` (detail: `Line["flow"]`), `microphone` (detail: `ok`, `gone`), `devices`, `quality` (detail: `Line["quality"]`),
 * `sound` (detail: MediaStream) and `blocked` when the browser does not let the call's sound play.
 */
export class AgentLeg extends EventTarget {
  /** @type {MediaStream|null} */
  #mic = null;
  /** @type {MediaStream|null} */
  #monitor = null;
  /** @type {RTCPeerConnection|null} */
  #peer = null;
  /** The connection that is to take its place. @type {RTCPeerConnection|null} */
  #next = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #healing;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #pulse;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #stats;
  #open = false;
  #last = NOTHING;
  #still = { in: 0, out: 0 };

  /** @param {HTMLAudioElement} audio @param {(sdp: string) => Promise<{leg: string, sdp: string}>} exchange */
  constructor(audio, exchange) {
    super();
    this.audio = audio;
    this.exchange = exchange;
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#tell("devices"));
  }

  /**
   * Devices by name; names are known only after permission.
   * @param {"audioinput"|"audiooutput"} kind
   * @returns {Promise<{id: string, label: string}[]>}
   */
  async devices(kind) {
    if (kind === "audiooutput" && !("setSinkId" in this.audio)) return [];
    const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return all
      .filter((one) => one.kind === kind && one.deviceId)
      .map((one) => ({ id: one.deviceId, label: one.label }));
  }

  /** Where the call's sound comes out. @param {string} device empty for the default */
  async speaker(device) {
    if ("setSinkId" in this.audio && this.audio.sinkId !== device) await this.audio.setSinkId(device);
  }

  /** The microphone, for measuring. */
  get monitor() {
    return this.#monitor;
  }

  /**
   * Asks for the microphone, kept closed (hard mute). Also changes the device of an open leg, without a gap in its packets.
   * @param {string} device empty for the default
   * @returns {Promise<{stream: MediaStream, label: string}>} a second track of the same microphone, for the meter only
   */
  async microphone(device) {
    if (!navigator.mediaDevices?.getUserMedia) throw new LegError("insecure");
    /** @type {MediaTrackConstraints} */
    const audio = {
      echoCancellation: true, // only the browser knows what its loudspeaker plays
      noiseSuppression: false, // the server cleans the voice; twice cleaned is worse
      autoGainControl: false,
      channelCount: 1,
    };
    if (device) audio.deviceId = { exact: device };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new LegError(reason(error));
    }
    const [track] = stream.getAudioTracks();
    if (!track) throw new LegError("missing");
    const monitor = new MediaStream([track.clone()]);
    track.enabled = false;
    track.addEventListener("ended", () => track === this.#track && this.#tell("microphone", "gone"));
    const [old, oldMonitor] = [this.#mic, this.#monitor];
    this.#mic = stream;
    this.#monitor = monitor;
    for (const peer of [this.#peer, this.#next]) await peer?.getSenders()[0]?.replaceTrack(track);
    for (const one of [...(old?.getTracks() ?? []), ...(oldMonitor?.getTracks() ?? [])]) one.stop();
    this.setOpen(this.#open);
    this.#tell("microphone", "ok");
    return { stream: monitor, label: track.label };
  }

  get #track() {
    return this.#mic?.getAudioTracks()[0] ?? null;
  }

  /** Opens or hard-mutes the microphone. The track is never stopped: silent packets keep the leg alive. @param {boolean} open */
  setOpen(open) {
    this.#open = open;
    if (this.#track) this.#track.enabled = open;
  }

  /**
   * Connects to the server. `microphone()` comes first. A connection that stands stays until the new one does.
   * @param {RTCIceServer[]} iceServers
   * @returns {Promise<string>} the leg's id, once sound can flow both ways
   */
  async connect(iceServers) {
    const track = this.#track;
    if (!track || !this.#mic) throw new LegError("missing");
    this.#next?.close();
    this.#tell("over");
    const peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.#next = peer;
    try {
      const { receiver } = peer.addTransceiver(track, { direction: "sendrecv", streams: [this.#mic] });
      await peer.setLocalDescription(await peer.createOffer());
      await gathered(peer);
      const answer = await this.exchange(peer.localDescription?.sdp ?? "");
      if (peer !== this.#next) throw new LegError("closed");
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      await this.#connected(peer);
      if (peer !== this.#next) throw new LegError("closed");
      this.#use(peer, receiver);
      return answer.leg;
    } catch (error) {
      peer.close();
      if (peer === this.#next) this.#next = null;
      throw error;
    }
  }

  /** From now on this is the connection. @param {RTCPeerConnection} peer @param {RTCRtpReceiver} receiver */
  #use(peer, receiver) {
    this.#next = null;
    this.hangUp();
    this.#peer = peer;
    this.#play(new MediaStream([receiver.track]));
    peer.onconnectionstatechange = () => this.#watch(peer);
    this.#stats = setInterval(() => void this.#measure(peer), STATS_MS);
    let [packet, since] = [0, performance.now()];
    this.#pulse = setInterval(() => {
      const now = performance.now();
      const last = receiver.getSynchronizationSources()[0]?.rtpTimestamp ?? 0;
      if (last !== packet || last === 0) [packet, since] = [last, Math.max(since, now)];
      else if (now - since > SILENT_MS) {
        since = now + CALM_MS;
        this.#tell("silent");
      }
    }, LOOK_MS);
  }

  /** @param {RTCPeerConnection} peer @returns {Promise<void>} */
  #connected(peer) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => done(new LegError("udp")), CONNECT_MS);
      const look = () => {
        if (peer.connectionState === "connected") done(null);
        else if (peer.connectionState === "failed") done(new LegError("udp"));
        else if (peer.connectionState === "closed") done(new LegError("closed"));
      };
      /** @param {LegError|null} error */
      const done = (error) => {
        clearTimeout(timer);
        peer.removeEventListener("connectionstatechange", look);
        this.removeEventListener("over", look);
        if (error) reject(error);
        else resolve();
      };
      peer.addEventListener("connectionstatechange", look);
      this.addEventListener("over", look); // of one's own closing a connection tells nothing
      look();
    });
  }

  /** @param {RTCPeerConnection} peer */
  #watch(peer) {
    if (peer !== this.#peer) return;
    clearTimeout(this.#healing);
    if (peer.connectionState === "failed") this.#tell("lost", "failed");
    if (peer.connectionState === "disconnected")
      this.#healing = setTimeout(() => this.#tell("lost", "disconnected"), HEAL_MS);
  }

  /** @param {MediaStream} stream */
  #play(stream) {
    this.audio.srcObject = stream;
    this.audio.play().catch(() => this.#tell("blocked"));
    this.#tell("sound", stream);
  }

  /** @param {RTCPeerConnection} peer */
  async #measure(peer) {
    if (peer !== this.#peer) return;
    const quality = await this.quality();
    this.#tell("quality", quality);
    this.#still.in = quality.received === this.#last.received ? this.#still.in + 1 : 0;
    this.#still.out = quality.sent === this.#last.sent ? this.#still.out + 1 : 0;
    this.#last = quality;
    this.#tell("flow", { in: this.#still.in < STILL, out: this.#still.out < STILL });
  }

  /** The way to the server and back, as the browser counts it. @returns {Promise<Line["quality"]>} */
  async quality() {
    /** @type {Line["quality"]} */
    const quality = { ...NOTHING };
    const stats = await this.#peer?.getStats();
    for (const one of stats?.values() ?? []) {
      if (one.type === "candidate-pair" && one.nominated) {
        quality.rtt ??= milliseconds(one.currentRoundTripTime);
        quality.relayed = stats?.get(one.localCandidateId)?.candidateType === "relay";
      }
      // Firefox tells no round trip of a pair, but the one of its RTCP.
      if (one.type === "remote-inbound-rtp") quality.rtt ??= milliseconds(one.roundTripTime);
      if (one.type === "outbound-rtp") quality.sent = one.packetsSent;
      if (one.type === "inbound-rtp") {
        quality.received = one.packetsReceived;
        quality.jitter = Math.round((one.jitter ?? 0) * 1000);
        quality.lost = Math.max(0, one.packetsLost ?? 0);
        // Since the last look: what is over is no reason to change the network now.
        const lost = Math.max(0, quality.lost - (this.#last.lost ?? 0));
        const all = lost + (one.packetsReceived ?? 0) - (this.#last.received ?? 0);
        quality.loss = all > 0 ? Math.round((1000 * lost) / all) / 10 : 0;
      }
    }
    return quality;
  }

  /** Ends the connection; the microphone stays. */
  hangUp() {
    clearTimeout(this.#healing);
    clearInterval(this.#stats);
    clearInterval(this.#pulse);
    this.#next?.close();
    this.#peer?.close();
    this.#next = this.#peer = null;
    this.#tell("over");
    this.#last = NOTHING;
  }

  /** Ends the leg and lets go of the microphone. */
  close() {
    this.hangUp();
    this.#open = false;
    for (const one of [...(this.#mic?.getTracks() ?? []), ...(this.#monitor?.getTracks() ?? [])]) one.stop();
    this.#mic = this.#monitor = null;
    this.audio.srcObject = null;
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {number|undefined} seconds */
const milliseconds = (seconds) => (seconds === undefined ? null : Math.round(seconds * 1000));

/** @param {RTCPeerConnection} peer @returns {Promise<void>} */
function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") return resolve();
    const timer = setTimeout(resolve, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}

/** @param {unknown} error @returns {"denied"|"missing"|"busy"} */
function reason(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "missing";
  return "busy";
}
