"""A real Chromium's end of an agent leg, without the panel around it: its microphone, what it plays, its counters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page, Route

from media.pool import Pool

from .network import Road, UdpForwarder
from .sound_path import address, detour, hidden

_URL = "http://localhost/leg"  # a microphone is given to secure contexts only; nothing is asked of any network
_PAGE = """<!doctype html><title>leg</title><script>
let peer, track;
async function offer() {
  const audio = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const stream = await navigator.mediaDevices.getUserMedia({audio});
  peer = new RTCPeerConnection();
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

    async def facts(self) -> Heard:
        return Heard(**await self.page.evaluate("facts()"))


@asynccontextmanager
async def chromium_leg(browser: Browser, pool: Pool, road: Road | None = None) -> AsyncIterator[ChromiumLeg]:
    """Connected to a worker of the pool through a network that is a `road`."""

    async def answer(route: Route) -> None:
        await route.fulfill(body=_PAGE, content_type="text/html")

    async with await browser.new_page(permissions=["microphone"]) as page:
        await page.route(_URL, answer)
        await page.goto(_URL)
        offer: Any = await page.evaluate("offer()")
        opened = await pool.open_leg(hidden(offer), owner="test")
        host, port = address(opened.answer)
        async with UdpForwarder((host, port), host=host) as network:
            await page.evaluate("sdp => accept(sdp)", detour(opened.answer, network))
            network.road = road
            yield ChromiumLeg(page, network, opened.leg)
            await pool.close_leg(opened.leg)
