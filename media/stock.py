"""The agent leg's transport by aiortc alone, through its public interface: for an aiortc that `rtc` does not know.

It costs several times the CPU of `rtc`, adds aiortc's own buffer to the delay (281 ms after the first lost packet), and
has neither FEC nor concealment of its own: our buffer behind it fills the holes. `udp_ports` and `public_addresses`
have no effect here, as aiortc cannot be told.
"""

import asyncio
import fractions
import time
from collections.abc import Callable

import av
import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from . import rtp, sdp, turn
from .frame import RATE, SAMPLES, SILENCE, Frame
from .peer import Network, OnPacket, PeerLost
from .resample import Doubler

_SELFTEST = 15.0
_WAITING = 3
"Frames that wait for aiortc to send them."


class Pcm:
    """Decodes what aiortc has decoded already."""

    def __init__(self) -> None:
        self._last: Frame = SILENCE

    def length(self, payload: bytes) -> int:
        return len(payload) // 2 * rtp.CLOCK // RATE

    def decode(self, packet: bytes) -> Frame:
        self._last = np.frombuffer(packet, dtype=np.int16)
        return self._last

    def recover(self, following: bytes, samples: int = SAMPLES) -> Frame:
        return self.conceal(samples)

    def conceal(self, samples: int = SAMPLES) -> Frame:
        """The last frame once more, backwards and half as loud, so that it goes on from where it stopped."""
        self._last = (np.resize(self._last[::-1], samples) // 2).astype(np.int16)
        return self._last

    def reset(self) -> None:
        self._last = SILENCE


class _Outgoing(MediaStreamTrack):
    """What the browser is to hear, as aiortc asks for it."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._frames: asyncio.Queue[tuple[Frame, int]] = asyncio.Queue()
        self._wider = Doubler()

    def put(self, frame: Frame, timestamp: int) -> None:
        if self._frames.qsize() >= _WAITING:
            self._frames.get_nowait()
        self._frames.put_nowait((frame, timestamp))

    async def recv(self) -> av.AudioFrame:
        samples, timestamp = await self._frames.get()
        if len(samples) < SAMPLES:
            samples = self._wider(samples)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = timestamp * RATE // rtp.CLOCK
        frame.time_base = fractions.Fraction(1, RATE)
        return frame


class StockPeer:
    """See `peer.Peer`."""

    def __init__(self, offer: sdp.Offer, network: Network, on_packet: OnPacket) -> None:
        self.up = False
        self.packets_out = 0
        self.reception: rtp.Reception | None = None
        self.lost_at_browser = 0.0
        self.rtt: float | None = None
        self.decoder = Pcm()
        self._offer = offer.text
        self._patience = network.connect_s
        self._closing: asyncio.Task[None] | None = None
        self._on_packet = on_packet
        servers = [RTCIceServer(s.url, s.username, s.credential) for s in turn.current(network.ice_servers, "worker")]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._outgoing = _Outgoing()
        self._listener: asyncio.Task[None] | None = None
        self._connected, self._gone = asyncio.Event(), asyncio.Event()
        self._connection.on("connectionstatechange", self._changed)
        self._connection.on("track", self._track)

    async def answer(self) -> str:
        """See `peer.Peer`."""
        await self._connection.setRemoteDescription(RTCSessionDescription(self._offer, "offer"))
        self._connection.addTrack(self._outgoing)
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)

    async def serve(self, on_up: Callable[[], None]) -> str:
        """See `peer.Peer`."""
        try:
            async with asyncio.timeout(self._patience):
                await self._connected.wait()
            self.up = True
            on_up()
            await self._gone.wait()
        except TimeoutError:
            return "ice-timeout"
        else:
            return "browser-gone"
        finally:
            self.up = False
            await self.close()

    async def close(self) -> None:
        """See `peer.Peer`."""
        # A browser that leaves while we hang up cancels this half way: without the shield some sockets stayed open.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        self._outgoing.stop()
        await self._connection.close()

    def read(self) -> None:
        """See `peer.Peer`: aiortc reads by itself."""

    def send(self, frame: Frame, timestamp: int) -> None:
        """See `peer.Peer`."""
        self.packets_out += 1
        self._outgoing.put(frame, timestamp)

    def report(self) -> None:
        """aiortc reports by itself."""

    def _changed(self) -> None:
        state = self._connection.connectionState
        if state == "connected":
            self._connected.set()
        elif state in ("failed", "closed"):
            self._gone.set()

    def _track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._listener is None:
            self._listener = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        reception = self.reception = rtp.Reception(0)
        sequence = 0
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            now = time.monotonic()
            assert isinstance(frame, av.AudioFrame)  # noqa: S101  narrows: an audio track gives nothing else
            timestamp = (frame.pts or 0) & 0xFFFFFFFF
            for part in resampler.resample(frame):
                packet = rtp.Rtp(0, sequence & 0xFFFF, timestamp, 0, part.to_ndarray().astype(np.int16).tobytes())
                sequence += 1
                reception.add(packet, now)
                self._on_packet(packet, now)
                timestamp = (timestamp + self.decoder.length(packet.payload)) & 0xFFFFFFFF


async def selftest() -> None:
    """A call to ourselves over loopback. Raises PeerLost with a sentence for the administrator."""
    browser = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    browser.addTransceiver("audio")
    await browser.setLocalDescription(await browser.createOffer())
    network = Network.local(_SELFTEST)
    peer = StockPeer(sdp.parse(browser.localDescription.sdp), network, lambda _packet, _now: None)
    await browser.setRemoteDescription(RTCSessionDescription(await peer.answer(), "answer"))
    up = asyncio.Event()
    task = asyncio.create_task(peer.serve(up.set))
    try:
        async with asyncio.timeout(_SELFTEST):
            await up.wait()
    except TimeoutError:
        raise PeerLost("the worker could not connect to itself over ICE and DTLS: is UDP filtered here?") from None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await browser.close()
