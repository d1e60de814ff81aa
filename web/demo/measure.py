"""What the caller heard at a switch, worked out from what really arrived.

The caller cannot know a voice, but the demo knows what its AI sent: a packet *carries the AI* when it correlates
with that. It does so even in the AI's pauses, because the AI's line noise is its own. The figures:

- `heard_ms`: from the moment the service received the agent's request (`asked_at`, on the wall clock both share)
  to the caller's first packet with the agent in it. That is the first one in which anything sounds once the AI is
  out of it: a muted two-party bridge sends nothing at all, and the bridge with a silent agent sends zeros. An agent
  who is silent at that moment cannot be timed by ear; then it is the first packet of the bridge with the agent in
  it, from which on the caller *can* hear the agent.
- `gap_ms`: from the caller's last packet with the AI to that packet, or the longest time without any packet around
  it, whichever is longer. Packets come every 20 ms, so 20 means that nothing was missing.

Where the agent's microphone is a known tone (`--check`), the same moments are also taken from the tone itself.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .tones import Samples

ALIKE = 0.8  # the same 20 ms through two G.711 codecs correlate above .95, two different voices rarely above .6
PATH_S = 0.3  # no packet takes longer through a PBX on the same machine
SETTLED = 3  # packets in a row that must agree: one lost frame is no switch
AFTER_S = 1.0
SOUNDS_RMS = 16.0  # about -66 dBFS: more than the rounding of a codec, less than a breath
SPEAKS_WITHIN_S = 0.25  # whoever begins later was silent when the line opened, and is not timed by the voice
LISTEN_S = 1.2  # a switch is looked at when its second is over and the last packets are in

Frame = tuple[float, Samples]
"""When a frame was sent or received (monotonic seconds, its first sample) and its samples."""


@dataclass(frozen=True)
class Switch:
    """What the caller experienced, in ms."""

    heard_ms: float
    gap_ms: float


def carries(received: Samples, sent: Samples) -> float:
    """How much `received` is a piece of `sent`: the greatest normalised correlation over all positions, 0 to 1."""
    piece, whole = received.astype(np.float64), sent.astype(np.float64)
    size = len(piece)
    energy = float(piece @ piece)
    if size == 0 or len(whole) < size or energy == 0:
        return 0.0
    length = 1 << (len(whole) + size - 1).bit_length()
    spectrum = np.fft.rfft(whole, length) * np.conj(np.fft.rfft(piece, length))
    product = np.fft.irfft(spectrum, length)[: len(whole) - size + 1]
    running = np.concatenate(([0.0], np.cumsum(whole**2)))
    local = running[size:] - running[:-size]
    return float(np.max(product / np.sqrt(np.maximum(local, 1.0) * energy)))


@dataclass(frozen=True)
class Received:
    """A packet at the caller."""

    at: float
    ai: bool
    """It carries what the AI sent shortly before."""
    sounds: bool
    """It is not digital silence."""


def listen(received: Iterable[Frame], sent: Sequence[Frame]) -> list[Received]:
    """What is in each frame that the caller received."""
    packets = []
    for at, samples in received:
        lately = [frame for when, frame in sent if at - PATH_S <= when <= at]
        ai = bool(lately) and carries(samples, np.concatenate(lately)) >= ALIKE
        loudness = np.sqrt(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
        packets.append(Received(at, ai, bool(loudness >= SOUNDS_RMS)))
    return packets


def switched(packets: Sequence[Received], since: float, speaks_within: float = SPEAKS_WITHIN_S) -> Switch | None:
    """The figures of a takeover asked for at `since`; None if the AI never left the caller's ear."""
    for index, packet in enumerate(packets):
        rest = packets[index:]
        if packet.at < since or len(rest) < SETTLED or any(one.ai for one in rest[:SETTLED]):
            continue
        before = packets[index - 1].at if index else packet.at
        voices = (one.at for one in rest if one.sounds and one.at <= packet.at + speaks_within)
        heard = next(voices, packet.at)
        times = [before, *(one.at for one in rest if one.at <= since + AFTER_S)]
        longest = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
        return Switch(round((heard - since) * 1000, 1), round(max(heard - before, longest) * 1000, 1))
    return None


class Observer:
    """Looks at each switch once it is over. `heard` and `sent` go on being filled meanwhile."""

    def __init__(
        self,
        heard: Iterable[Frame],
        sent: Iterable[Frame],
        found: Callable[[Switch], None],
        *,
        speaks_within: float = SPEAKS_WITHIN_S,
    ) -> None:
        self._heard, self._sent, self._found = heard, sent, found
        self._speaks_within = speaks_within
        self._asked: asyncio.Queue[float] = asyncio.Queue()

    def switched(self, since: float) -> None:
        """A takeover was asked for at this moment and has been told us now."""
        self._asked.put_nowait(since)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            since = await self._asked.get()
            await asyncio.sleep(max(0.0, since + LISTEN_S - time.monotonic()))
            heard = [frame for frame in list(self._heard) if since - PATH_S <= frame[0] <= since + LISTEN_S]
            switch = switched(listen(heard, list(self._sent)), since, self._speaks_within)
            if switch:
                self._found(switch)
