"""An agent who speaks through a bad network, a media worker and a real Asterisk, and what the caller hears of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from aiortc.rtp import AnyRtcpPacket, RtcpRrPacket, RtcpSrPacket

from connector.domain.calls import Mode
from connector.ports import Engaged
from media.frame import RATE, SAMPLES, SILENCE, Frame
from media.pool import Endpoint, LegNotReady, Pool
from web.demo.voice import Recording

from .adapter import Watched
from .browser_leg import BrowserLeg
from .lab import Lab, LabCall
from .network import Road, UdpForwarder
from .stoi import aligned, resampled, stoi

_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host.*$", re.MULTILINE | re.IGNORECASE)
_ANY_CANDIDATE = re.compile(r"^a=candidate:.*\r?\n", re.MULTILINE)
LONGEST_DELAY_S = 1.0
BETWEEN_S = 0.5
"Pause between two sentences."
TOLD_S = 2.5
"Two receiver reports: by then a sender knows its network."


class Talker(BrowserLeg):
    """Speaks sentences, and sends FEC as a browser does: when receiver reports tell of loss."""

    def __init__(self) -> None:
        super().__init__(self._frame)
        self._words: list[Frame] = []
        self._begun = 0

    async def accept(self, answer: str, *, within: float = 20.0) -> None:
        sender = self._peer.getSenders()[0]
        handle = sender._handle_rtcp_packet

        async def hear(packet: AnyRtcpPacket) -> None:
            if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
                for report in packet.reports:
                    self.microphone._encoder.protect(report.fraction_lost / 256)
            await handle(packet)

        sender._handle_rtcp_packet = hear  # type: ignore[method-assign]
        await super().accept(answer, within=within)

    async def say(self, sentence: Frame) -> float:
        """See `Speaks`."""
        sent = self.microphone.sent_at
        self._words = [sentence[at : at + SAMPLES] for at in range(0, len(sentence) // SAMPLES * SAMPLES, SAMPLES)]
        self._begun = first = len(sent)
        last = first + len(self._words) - 1
        while len(sent) <= last:  # noqa: ASYNC110  the track is asked for frames, it tells nobody
            await asyncio.sleep(0.05)
        return sent[first]

    def _frame(self, number: int) -> Frame:
        at = number - self._begun
        return self._words[at] if 0 <= at < len(self._words) else SILENCE


@dataclass(frozen=True)
class Said:
    """A sentence as the caller got it: how intelligible, and how long after it was sent."""

    stoi: float
    delay_ms: float


def judged(sentence: Frame, begun: float, recording: Recording) -> Said:
    """Finds the sentence in what was received since `begun` (monotonic) and compares."""
    seconds = len(sentence) / RATE
    frames = [(at, piece) for at, piece in list(recording.frames) if begun <= at < begun + seconds + LONGEST_DELAY_S]
    if not frames:
        return Said(0.0, float("nan"))
    received = np.concatenate([piece for _, piece in frames]).astype(float)
    heard = resampled(received, len(received) * RATE // recording.rate)
    clean = sentence.astype(float)
    found, at = aligned(clean, np.pad(heard, (0, max(0, len(clean) - len(heard)))), RATE)
    # Of the frames' arrivals the earliest relative to its place tells the pace; single ones come late.
    size = len(frames[0][1]) / recording.rate
    start = min(arrived - number * size for number, (arrived, _) in enumerate(frames))
    return Said(stoi(clean, found, RATE), (start + at / RATE - begun) * 1000)


class Speaks(Protocol):
    """A browser that can say a sentence."""

    async def say(self, sentence: Frame, /) -> float:
        """Returns when it has said it: when it had begun, on the monotonic clock."""


@dataclass(eq=False)
class SoundPath:
    """A takeover."""

    talker: Speaks
    network: UdpForwarder
    call: LabCall
    adapter: Watched
    engaged: Engaged

    async def hear(self, sentences: Sequence[Frame]) -> list[Said]:
        """Says them one after the other and judges each as the caller heard it."""
        begun = []
        for sentence in sentences:
            await self.adapter.pbx.renew(self.engaged)
            begun.append(await self.talker.say(sentence))
            await asyncio.sleep(BETWEEN_S)
        await asyncio.sleep(LONGEST_DELAY_S)
        recording = self.call.caller.recording
        # In a thread: the phones, and the worker's supervisor, live in this loop.
        return [await asyncio.to_thread(judged, one, at, recording) for one, at in zip(sentences, begun, strict=True)]


def detour(answer: str, network: UdpForwarder) -> str:
    """An SDP with one way to its writer only: through the forwarder."""
    line = f"a=candidate:1 1 udp 2130706431 {network.host} {network.port} typ host"
    return _ANY_CANDIDATE.sub("", answer).replace("a=end-of-candidates", f"{line}\r\na=end-of-candidates")


def hidden(offer: str) -> str:
    """An SDP whose writer can be reached only by answering his checks: port 9 discards. (With no candidate at all
    aiortc gives up at once.)"""
    return re.sub(
        r"^(a=candidate:\S+ 1 udp \d+) \S+ \d+ typ .*$", r"\1 127.0.0.1 9 typ host", offer, flags=re.MULTILINE
    )


def address(answer: str) -> tuple[str, int]:
    """Of the first host candidate."""
    found = _CANDIDATE.search(answer)
    if found is None:
        raise ValueError(f"no host candidate in {answer}")
    return found[1], int(found[2])


@asynccontextmanager
async def sound_path(
    lab: Lab, adapter: Watched, pool: Pool, road: Road | None, *, rate: int = 8000, suppression: bool = True
) -> AsyncIterator[SoundPath]:
    """The agent, whose browser is aiortc and whose network is `road`, is in the call; the rest is real."""
    async with Talker() as talker:
        opened = await pool.open_leg(hidden(await talker.offer()), owner="test")
        async with UdpForwarder(address(opened.answer)) as network:
            await talker.accept(detour(opened.answer, network))
            await pool.set_leg(opened.leg, suppression=suppression)
            async with in_call(lab, adapter, pool, opened.leg, talker, network, rate=rate) as path:
                network.road = road
                await asyncio.sleep(TOLD_S)
                yield path
            await pool.close_leg(opened.leg)


@asynccontextmanager
async def in_call(
    lab: Lab, adapter: Watched, pool: Pool, leg: str, talker: Speaks, network: UdpForwarder, *, rate: int = 8000
) -> AsyncIterator[SoundPath]:
    """A leg that is open takes a call over."""
    call = await lab.call("T1")
    known = await adapter.call(call)
    engaged = await adapter.pbx.engage(known, await patch(pool, leg, rate), Mode.TAKEOVER)
    yield SoundPath(talker, network, call, adapter, engaged)
    await adapter.pbx.release(engaged)
    await call.hangup()


async def patch(pool: Pool, leg: str, rate: int) -> Endpoint:
    """As soon as the leg is ready: on a busy machine its microphone, in this process, pauses now and then."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await pool.open_patch(leg, rate=rate)
            except LegNotReady:
                await asyncio.sleep(0.1)
