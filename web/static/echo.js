// @ts-check
// The echo test: plays a tone into the headset and looks for it in the microphone.

import { decibels } from "./analysis.js";

/** Between the harmonics of mains hum and of the pitch of a voice, and well inside of what every headset plays. */
const TONE_HZ = 1730;
const VOLUME = 0.25;
const BEFORE_MS = 500;
/** The browser's echo canceller needs this long to learn the way from the loudspeaker to the microphone. */
const LEARN_MS = 700;
const DURING_MS = 800;
const LOOK_MS = 40;

/**
 * @param {MediaStream} stream the microphone, as the caller would hear it: after the browser's echo canceller
 * @param {string} speaker output device, empty for the default
 * @returns {Promise<{above: number, level: number}>} the tone: dB above what was there before, and dBFS
 */
export async function listenForEcho(stream, speaker) {
  const context = new AudioContext();
  try {
    if (speaker && "setSinkId" in context) await /** @type {any} */ (context).setSinkId(speaker);
    await context.resume();
    const source = context.createMediaStreamSource(stream);
    const analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
    source.connect(analyser);
    const before = await power(analyser, BEFORE_MS);
    const tone = new OscillatorNode(context, { frequency: TONE_HZ });
    const volume = new GainNode(context, { gain: VOLUME });
    tone.connect(volume).connect(context.destination);
    tone.start();
    await pause(LEARN_MS);
    const during = await power(analyser, DURING_MS);
    tone.stop();
    return { above: decibels(during) - decibels(before), level: decibels(during) };
  } finally {
    await context.close();
  }
}

/** Typical power at the tone, full scale 1; the median, so that a word or a click does not count. @param {AnalyserNode} analyser @param {number} ms */
async function power(analyser, ms) {
  const bins = new Float32Array(analyser.frequencyBinCount);
  const at = Math.round((TONE_HZ * analyser.fftSize) / analyser.context.sampleRate);
  const seen = [];
  for (let left = ms; left > 0; left -= LOOK_MS) {
    await pause(LOOK_MS);
    analyser.getFloatFrequencyData(bins);
    seen.push(Math.max(...bins.subarray(at - 1, at + 2)));
  }
  seen.sort((a, b) => a - b);
  return 10 ** ((seen[seen.length >> 1] ?? Number.NEGATIVE_INFINITY) / 10);
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
