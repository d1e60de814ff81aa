"""A browser's end of an agent leg, made of stock aiortc: offers Opus, sends a tone, keeps what it hears."""

import asyncio
import fractions
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AUDIO_PTIME, MediaStreamError, MediaStreamTrack
from aiortc.rtp import is_rtcp

from media.frame import RATE, SAMPLES, Frame
from media.opus import Encoder

Source = Callable[[int], Frame]
"Number of the frame -> 20 ms at 16 kHz."


def tone(hertz: float, level: float = 0.2) -> Source:
    """A steady tone of the given peak level."""

    def frame(number: int) -> Frame:
        t = (np.arange(SAMPLES) + number * SAMPLES) / RATE
        return (np.sin(2 * np.pi * hertz * t) * level * 32767).astype(np.int16)

    return frame


def power_at(sound: npt.NDArray[Any], hertz: float, rate: int = RATE) -> float:
    """Mean power of a tone in int16 samples, dBFS of a sine's mean power."""
    if not len(sound):
        return -120.0
    t = np.arange(len(sound)) / rate
    window = np.hanning(len(sound))
    line = np.sum(sound / 32768 * window * np.exp(-2j * np.pi * hertz * t)) / np.sum(window)
    return float(10 * np.log10(max(2 * abs(line) ** 2, 1e-12)))


class _Microphone(MediaStreamTrack):
    """Paced like a browser's: one Opus packet each 20 ms."""

    kind = "audio"

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.sent_at: list[float] = []
        "Monotonic time at which each frame was handed over."
        self._encoder = Encoder()
        self._start: float | None = None
        self._number = 0

    async def recv(self) -> "av.Packet[Any]":
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        if self._start is None:
            self._start = now
        wait = self._start + self._number * AUDIO_PTIME - now
        if wait > 0:
            await asyncio.sleep(wait)
        packet = av.Packet(self._encoder.encode(self.source(self._number)))
        packet.pts = self._number * 960
        packet.time_base = fractions.Fraction(1, 48000)
        self._number += 1
        self.sent_at.append(time.monotonic())
        return packet


class BrowserLeg:
    """Use with `async with`; `accept` the answer that `Pool.open_leg` gave to `offer()`."""

    def __init__(self, source: Source | None = None, *, loss: float = 0.0, seed: int = 1) -> None:
        self.microphone = _Microphone(source or tone(1500))
        self.loss = loss
        self.sending = True
        "Off: nothing is sent any more, as from a browser whose network is gone."
        self.heard: list[npt.NDArray[np.int16]] = []
        "What the browser plays, 48 kHz mono."
        self._random = random.Random(seed)
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peer.addTrack(self.microphone)
        self._listener: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._peer.on("connectionstatechange", self._changed)
        self._peer.on("track", self._track)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def state(self) -> str:
        return str(self._peer.connectionState)

    async def offer(self) -> str:
        """Our SDP with all candidates inside."""
        await self._peer.setLocalDescription(await self._peer.createOffer())
        return str(self._peer.localDescription.sdp)

    async def accept(self, answer: str, *, within: float = 20.0) -> None:
        """Connect; returns when ICE and DTLS stand."""
        await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self._lose_packets()
        async with asyncio.timeout(within):
            await self._connected.wait()

    def hearing(self, seconds: float) -> npt.NDArray[np.int16]:
        """The last seconds heard, 48 kHz."""
        return np.concatenate([np.zeros(0, np.int16), *self.heard[-int(seconds * 50) :]])

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        self.microphone.stop()
        await self._peer.close()

    def _changed(self) -> None:
        if self._peer.connectionState == "connected":
            self._connected.set()

    def _track(self, track: MediaStreamTrack) -> None:
        self._listener = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.AudioFrame)
            self.heard.append(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(np.int16))

    def _lose_packets(self) -> None:
        transport = self._peer.getSenders()[0].transport
        send = transport._send_rtp

        async def lossy(data: bytes) -> None:
            if is_rtcp(data) or (self.sending and self._random.random() >= self.loss):
                await send(data)

        transport._send_rtp = lossy  # type: ignore[method-assign]
