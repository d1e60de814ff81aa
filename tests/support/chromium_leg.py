"""A real Chromium's end of an agent leg, without the panel around it: its microphone, what it plays, its counters."""

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page, Route

from media.frame import RATE, Frame
from media.pool import Pool

from .network import Road, UdpForwarder
from .sound_path import address, detour, hidden

_URL = "http://localhost/leg"  # a microphone is given to secure contexts only; nothing is asked of any network
_PAGE = """<!doctype html><title>leg</title><script>
let peer, track, context, mouth;
async function offer(speaks, configuration) {
  const audio = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const real = await navigator.mediaDevices.getUserMedia({audio});  // a page that records may also sound
  if (speaks) {
    context = new AudioContext({sampleRate: 48000});
    mouth = context.createMediaStreamDestination();
    const silence = new ConstantSourceNode(context, {offset: 0});  // without any source nothing would be sent
    silence.connect(mouth);
    silence.start();
    await context.resume();
  }
  const stream = speaks ? mouth.stream : real;
  peer = new RTCPeerConnection(configuration);
  peer.addTrack(stream.getAudioTracks()[0], stream);
  peer.ontrack = event => {
    track = event.track;
    const play = new Audio();
    play.srcObject = new MediaStream([track]);
    play.play();
  };
  await peer.setLocalDescription(await peer.createOffer());
  if (peer.iceGatheringState !== 'complete')
    await new Promise(done => peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && done());
  return peer.localDescription.sdp;
}
async function accept(sdp) {
  await peer.setRemoteDescription({type: 'answer', sdp});
  if (peer.connectionState !== 'connected')
    await new Promise(done => peer.onconnectionstatechange = () => peer.connectionState === 'connected' && done());
}
async function say(sound, rate) {
  const samples = new Int16Array(Uint8Array.from(atob(sound), one => one.charCodeAt(0)).buffer);
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(Float32Array.from(samples, one => one / 32768), 0);
  const source = new AudioBufferSourceNode(context, {buffer});
  source.connect(mouth);
  const at = context.currentTime + 0.2;
  source.start(at);
  // The context's clock goes in steps; the earliest of many readings is the true relation.
  let behind = Infinity;
  while (context.currentTime < at + buffer.duration) {
    behind = Math.min(behind, performance.now() - context.currentTime * 1000);
    await new Promise(done => setTimeout(done, 5));
  }
  return at * 1000 + behind;
}
let way;
function leak(gain, seconds) {
  const heard = context.createMediaStreamSource(new MediaStream([track]));
  way = new GainNode(context, {gain});
  heard.connect(new DelayNode(context, {delayTime: seconds})).connect(way).connect(mouth);
}
async function level(hertz, seconds) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, {fftSize: 8192, smoothingTimeConstant: 0, minDecibels: -120});
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const bins = new Float32Array(analyser.frequencyBinCount), found = [];
  for (const until = performance.now() + seconds * 1000; performance.now() < until;) {
    await new Promise(done => setTimeout(done, 100));
    analyser.getFloatFrequencyData(bins);
    const bin = Math.round(hertz / context.sampleRate * 8192);
    found.push(Math.max(...bins.slice(bin - 1, bin + 2)));
  }
  await context.close();
  return found.sort((a, b) => a - b)[found.length >> 1];
}
async function facts() {
  const all = [...(await peer.getStats()).values()];
  const inbound = all.find(one => one.type === 'inbound-rtp'), outbound = all.find(one => one.type === 'outbound-rtp');
  return {
    received: inbound.packetsReceived, lost: inbound.packetsLost,
    concealed: inbound.concealedSamples / inbound.totalSamplesReceived,
    buffer_ms: 1000 * inbound.jitterBufferDelay / inbound.jitterBufferEmittedCount,
    sent: outbound.packetsSent,
  };
}
</script>"""


@dataclass(frozen=True)
class Heard:
    """What Chromium counted since the line was opened."""

    received: int
    lost: int
    concealed: float
    "Share of the samples that its own buffer invented."
    buffer_ms: float
    "Mean time in its buffer."
    sent: int


@dataclass(eq=False)
class ChromiumLeg:
    """An open line of a browser."""

    page: Page
    network: UdpForwarder
    leg: str

    async def level(self, hertz: float, seconds: float = 1.0) -> float:
        """Of a tone in what it plays: the median over that time, dB."""
        return float(await self.page.evaluate(f"level({hertz}, {seconds})"))

    async def say(self, sentence: Frame) -> float:
        """See `sound_path.Speaks`; for a leg opened with `speaks`."""
        sound = base64.b64encode(sentence.astype("<i2").tobytes()).decode()  # a list of numbers takes seconds
        begun = float(await self.page.evaluate("([sound, rate]) => say(sound, rate)", [sound, RATE]))
        return begun / 1000 + await self._clock()

    async def leak(self, gain: float, seconds: float) -> None:
        """What it plays comes back into what it sends, so much softer and later; for a leg opened with `speaks`."""
        await self.page.evaluate(f"leak({gain}, {seconds})")

    async def plug(self) -> None:
        """A headset is put on: nothing comes back any more."""
        await self.page.evaluate("() => { way.gain.value = 0; }")

    async def _clock(self) -> float:
        """Seconds from the page's clock to the monotonic one: of some questions the one that was answered fastest."""
        found = []
        for _ in range(10):
            asked = time.monotonic()
            page = float(await self.page.evaluate("performance.now()")) / 1000
            took = time.monotonic() - asked
            found.append((took, asked + took / 2 - page))
        return min(found)[1]

    async def facts(self) -> Heard:
        return Heard(**await self.page.evaluate("facts()"))


@asynccontextmanager
async def leg_page(browser: Browser) -> AsyncIterator[Page]:
    """The page, with a microphone and no line yet."""

    async def answer(route: Route) -> None:
        await route.fulfill(body=_PAGE, content_type="text/html")

    async with await browser.new_page(permissions=["microphone"]) as page:
        await page.route(_URL, answer)
        await page.goto(_URL)
        yield page


@asynccontextmanager
async def chromium_leg(
    browser: Browser, pool: Pool, road: Road | None = None, *, speaks: bool = False
) -> AsyncIterator[ChromiumLeg]:
    """Connected to a worker of the pool through a network that is a `road`. With `speaks` it sends no microphone, but
    what `say` is given."""
    async with leg_page(browser) as page:
        offer: Any = await page.evaluate("speaks => offer(speaks)", speaks)
        opened = await pool.open_leg(hidden(offer), owner="test")
        host, port = address(opened.answer)
        async with UdpForwarder((host, port), host=host) as network:
            await page.evaluate("sdp => accept(sdp)", detour(opened.answer, network))
            network.road = road
            yield ChromiumLeg(page, network, opened.leg)
            await pool.close_leg(opened.leg)
