"""Browsers and the PBX's ends of their patches by the hundred, in a process of their own.

aiortc makes each connection (ICE, DTLS); from then on there are only its keys, its socket and one timer for all.
Packets were encoded before, and each line sends at its own random moment of the 20 ms, as strangers do. A hundred
lines take about half a core, so a worker can be filled on a machine of two.

`python -m tests.support.load` is that process. JSON lines in, `{"id","do",...}`, one answer each,
`{"id","value"}` or `{"id","fault"}`. Times are CLOCK_MONOTONIC.
"""

import asyncio
import contextlib
import itertools
import json
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, cast

import numpy as np
import uvloop
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceParameters, RTCIceTransport
from aiortc.rtp import is_rtcp
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from media import rtp
from media.audiosocket import AUDIO, UUID, Reader, encode
from media.frame import RATE, SAMPLES, SILENCE, Frame, to_frame
from media.level import decibels, mean_square
from media.opus import Decoder, Encoder
from tests.support.browser_leg import tone
from tests.unit.media.synthetic import noise, speech

LINE = 1 << 24
SLOTS = 20
"Of 1 ms: moments of the 20 ms at which lines send."
EVERY, BURST = 25, 3
"Frames from one burst to the next, and in one."
LOUD = 3000
HZ = 1000.0
HOLE_DB = -33.0
"A frame of the steady voice below this, 13 dB under its level, is a hole."
_PAYLOAD_TYPE = 111
_OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF {opus}
c=IN IP4 0.0.0.0
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=fmtp:{opus} minptime=10;useinbandfec=1
a=ssrc:{ssrc} cname:load
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=fingerprint:{algorithm} {value}
a=setup:actpass
{candidates}
"""


# ---- sound ----


@dataclass(frozen=True)
class Sound:
    """A loop in pieces of 20 ms: as Opus for the microphone, as AudioSocket frames for the PBX, by rate."""

    packets: tuple[bytes, ...]
    frames: dict[int, tuple[bytes, ...]]


def bursts(number: int) -> Frame:
    """60 ms of tone every half second."""
    return tone(HZ, 0.5)(number) if number % EVERY < BURST else SILENCE


def voiced(number: int) -> Frame:
    """A vowel that does not end: harmonics of 200 Hz. A pure tone would not do, as the speech codec's FEC cannot
    repeat one."""
    t = (np.arange(SAMPLES) + number * SAMPLES) / RATE
    wave = np.sum([np.sin(2 * np.pi * 200 * k * t) / k for k in range(1, 17)], axis=0)
    return to_frame((0.12 * wave).astype(np.float32))


@cache
def sound(name: str) -> Sound:
    """`bursts`, `voiced`, or `talk`: somebody who speaks in a noisy room. The Opus is as Chrome's, with FEC inside."""
    match name:
        case "bursts":
            frames = [bursts(number) for number in range(2 * EVERY)]
        case "voiced":
            frames = [voiced(number) for number in range(2 * EVERY)]
        case _:
            samples = (speech(8, -26) + noise(8, -45)).astype(np.float32)
            frames = [to_frame(samples[at : at + SAMPLES]) for at in range(0, len(samples), SAMPLES)]
    encoder = Encoder()
    encoder.protect(0.05)
    for frame in frames:  # once round, so that the loop's seam is heard by nobody
        encoder.encode(frame)
    return Sound(
        tuple(encoder.encode(frame) for frame in frames),
        {
            rate: tuple(encode(kind, frame[:: RATE // rate].astype("<i2").tobytes()) for frame in frames)
            for rate, kind in AUDIO.items()
        },
    )


# ---- networks ----

Network = Callable[[int], float | None]
"Number of the packet -> seconds that it takes, None if it is lost."


def lossy(share: float) -> Network:
    """Loses the same packets each time."""
    chance = random.Random(round(share * 1000))
    lost = [chance.random() < share for _ in range(10_000)]
    return lambda number: None if lost[number % len(lost)] else 0.0


def jittery(worst: float) -> Network:
    """Delays each packet by itself, so they overtake each other."""
    chance = random.Random(60)
    late = [chance.uniform(0, worst) for _ in range(10_000)]
    return lambda number: late[number % len(late)]


NETWORKS: dict[str, Network] = {
    "clean": lambda _number: 0.0,
    "loss1": lossy(0.01),
    "loss5": lossy(0.05),
    "loss10": lossy(0.10),
    "jitter60": jittery(0.060),
}


# ---- one line ----


@dataclass
class Onsets:
    """When a burst began to be heard: monotonic seconds of its first loud sample."""

    at: list[float] = field(default_factory=list)
    _quiet: bool = True

    def take(self, frame: Frame, rate: int, now: float) -> None:
        """`now`: when the frame came; its first sample counts as played then."""
        loud = np.flatnonzero(np.abs(frame) > LOUD)
        if len(loud) and self._quiet:
            self.at.append(now + float(loud[0]) / rate)
        self._quiet = not len(loud)


@dataclass
class Heard:
    """What both ends of a line sent and heard since the counts were last cleared."""

    mic: list[float] = field(default_factory=list)
    "When bursts left the microphone."
    pbx: list[float] = field(default_factory=list)
    at_pbx: Onsets = field(default_factory=Onsets)
    at_browser: Onsets = field(default_factory=Onsets)
    frames: int = 0
    "At the PBX."
    holes: int = 0
    "Of them those without the steady voice."
    packets: int = 0
    "At the browser."


class Line(asyncio.Protocol):
    """A browser, and the PBX's end of its patch."""

    def __init__(self, name: str, *, listening: bool) -> None:
        self.heard = Heard()
        self.network: Network = NETWORKS["clean"]
        self._sound = sound(name)
        self._bursting = name == "bursts"
        self._voiced = name == "voiced"
        self._listening = listening
        gatherer = RTCIceGatherer(iceServers=[])
        self._ice = RTCIceTransport(gatherer)
        self._ice._connection.ice_controlling = True  # as who offers
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._dtls._set_role("server")  # we offer actpass, and all of ours answer active
        self._ssrc, self._number, self._played = secrets.randbits(32), 0, 0
        self._start = secrets.randbits(31)
        self._decoder = Decoder()
        self._reader = Reader()
        self._send: Callable[[bytes], None] | None = None
        self._pbx: asyncio.Transport | None = None
        self._rate = 8000

    async def offer(self) -> str:
        """Our SDP, with all candidates inside."""
        gatherer = self._ice.iceGatherer
        await gatherer.gather()
        ice = gatherer.getLocalParameters()
        print_ = self._dtls.getLocalParameters().fingerprints[0]
        return _OFFER.format(
            opus=_PAYLOAD_TYPE,
            ssrc=self._ssrc,
            ufrag=ice.usernameFragment,
            pwd=ice.password,
            algorithm=print_.algorithm,
            value=print_.value,
            candidates="\n".join(f"a=candidate:{candidate_to_sdp(one)}" for one in gatherer.getLocalCandidates()),
        )

    async def accept(self, answer: str) -> None:
        """Connect; from then on the microphone sends."""
        lines = [line.partition(":") for line in answer.splitlines()]
        said: dict[str, str] = {name.removeprefix("a="): value for name, _, value in lines}
        for name, _, value in lines:
            if name == "a=candidate":
                await self._ice.addRemoteCandidate(candidate_from_sdp(value))
        await self._ice.addRemoteCandidate(None)
        async with asyncio.timeout(20):
            await self._ice.start(RTCIceParameters(said["ice-ufrag"], said["ice-pwd"]))
            algorithm, _, value = said["fingerprint"].partition(" ")
            await self._dtls.start(RTCDtlsParameters([RTCDtlsFingerprint(algorithm, value)]))
        if self._dtls.state != "connected":
            raise ConnectionError(f"ICE {self._ice.state}, DTLS {self._dtls.state}")
        connection = self._ice._connection
        pair = connection._nominated[1]
        for protocol in connection._protocols:
            protocol.datagram_received = self._sift(protocol.datagram_received)  # type: ignore[method-assign, assignment]
        socket = pair.protocol.transport
        self._send = lambda data: socket.sendto(data, pair.remote_addr)

    async def call(self, host: str, port: int, patch: str, rate: int) -> None:
        """As the PBX, into the worker."""
        self._rate = rate
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        assert self._pbx is not None
        self._pbx.write(encode(UUID, uuid.UUID(patch).bytes))

    async def close(self) -> None:
        self._send = None
        if self._pbx is not None:
            self._pbx.abort()
            self._pbx = None
        await self._dtls.stop()
        await self._ice.stop()

    def talk(self) -> None:
        """The microphone's turn."""
        if self._send is None:
            return
        number, self._number = self._number, self._number + 1
        payload = self._sound.packets[number % len(self._sound.packets)]
        stamp = self._start + number * 960
        packet = rtp.build(rtp.Rtp(_PAYLOAD_TYPE, number & 0xFFFF, stamp, self._ssrc, payload))
        data = self._dtls._tx_srtp.protect(packet)
        if self._bursting and number % EVERY == 0:
            self.heard.mic.append(time.monotonic())
        delay = self.network(number)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._later, data)
        elif delay is not None:
            self._send(data)

    def play(self) -> None:
        """The PBX's turn."""
        if self._pbx is None:
            return
        frames = self._sound.frames[self._rate]
        frame = frames[self._played % len(frames)]
        if self._bursting and self._played % EVERY == 0:
            self.heard.pbx.append(time.monotonic())
        self._played += 1
        self._pbx.write(frame)

    def _later(self, data: bytes) -> None:
        if self._send is not None:
            self._send(data)

    def _sift(self, rest: Callable[[bytes | str, Any], None]) -> Callable[[bytes | str, Any], None]:
        """RTP is ours, all else aiortc's."""

        def received(data: bytes | str, source: Any) -> None:
            if isinstance(data, str) or data[0] & 0xC0 != 0x80:
                rest(data, source)
            elif not is_rtcp(data):
                self.heard.packets += 1
                if self._listening:
                    self._listen(data)

        return received

    def _listen(self, data: bytes) -> None:
        packet = rtp.parse(self._dtls._rx_srtp.unprotect(data))
        if packet is not None and packet.payload:
            self.heard.at_browser.take(self._decoder.decode(packet.payload), RATE, time.monotonic())

    # asyncio.Protocol: the PBX's end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pbx = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pbx = None

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        for kind, payload in self._reader.feed(data):
            if kind != AUDIO[self._rate]:
                continue
            self.heard.frames += 1
            if self._bursting:
                self.heard.at_pbx.take(np.frombuffer(payload, "<i2"), self._rate, now)
            elif self._voiced:
                self.heard.holes += decibels(mean_square(np.frombuffer(payload, "<i2"))) < HOLE_DB


def delays(sent: list[float], onsets: list[float]) -> list[float]:
    """Milliseconds from each burst to the first onset within 0.4 s of it."""
    found = ((at, next((one for one in onsets if at <= one < at + 0.4), None)) for at in sent)
    return [round((one - at) * 1000, 2) for at, one in found if one is not None]


# ---- all lines ----


@dataclass(frozen=True)
class Figures:
    """Since `clear`: delays in milliseconds of each burst, frames and packets that arrived, and the load's own lateness
    (99th percentile), which is part of the delays."""

    to_pbx: list[float]
    to_browser: list[float]
    frames: int
    holes: int
    packets: int
    late_ms: float


class _Host:
    """Carries out commands, and drives all lines."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._slots: list[list[Callable[[], None]]] = [[] for _ in range(SLOTS)]
        self._late: list[float] = []

    async def drive(self) -> None:
        """For ever: one slot each millisecond; what is overdue is made up for, as a microphone does."""
        start = time.monotonic()
        for slot in itertools.count():
            due = start + slot * 0.001
            if (now := time.monotonic()) < due:
                await asyncio.sleep(due - now)
                now = max(due, time.monotonic())  # uvloop wakes up to 1 ms early
            if turns := self._slots[slot % SLOTS]:
                self._late.append(now - due)
                for turn in turns:
                    turn()
            if not slot % SLOTS:
                await asyncio.sleep(0)  # also when late, what arrives must be read

    async def do(self, do: str, /, **arguments: Any) -> Any:
        match do:
            case "offer":
                line = self._lines[arguments["line"]] = Line(arguments["sound"], listening=arguments["listening"])
                return await line.offer()
            case "accept":
                line = self._lines[arguments["line"]]
                await line.accept(arguments["answer"])
                self._slots[random.randrange(SLOTS)].append(line.talk)
            case "call":
                line = self._lines[arguments.pop("line")]
                await line.call(**arguments)
                self._slots[random.randrange(SLOTS)].append(line.play)
            case "network":
                for line in self._lines.values():
                    line.network = NETWORKS[arguments["name"]]
            case "clear":
                self._late.clear()
                for line in self._lines.values():
                    line.heard = Heard()
            case "read":
                return self._read()
            case "leave":
                line = self._lines.pop(arguments["line"])
                for slot in self._slots:
                    slot[:] = [turn for turn in slot if turn not in (line.talk, line.play)]
                await line.close()
            case _:
                raise ValueError(f"{do!r} is no command")
        return None

    def _read(self) -> dict[str, Any]:
        heard = [line.heard for line in self._lines.values()]
        late = sorted(self._late)
        return asdict(
            Figures(
                to_pbx=[ms for one in heard for ms in delays(one.mic, one.at_pbx.at)],
                to_browser=[ms for one in heard for ms in delays(one.pbx, one.at_browser.at)],
                frames=sum(one.frames for one in heard),
                holes=sum(one.holes for one in heard),
                packets=sum(one.packets for one in heard),
                late_ms=round(late[len(late) * 99 // 100] * 1000, 1) if late else 0.0,
            )
        )


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    host = _Host()
    driving = asyncio.create_task(host.drive(), name="drive")
    while (line := await reader.readline()) and not driving.done():
        command = json.loads(line)
        number = command.pop("id")
        try:
            said = {"id": number, "value": await host.do(command.pop("do"), **command)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side must learn of it
            said = {"id": number, "fault": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    driving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await driving


if __name__ == "__main__":
    uvloop.run(_serve())
