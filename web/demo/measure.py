"""What the caller heard at a switch, worked out from what really arrived.

The caller cannot know a voice, but the demo knows what its AI sent: a packet *carries the AI* when it correlates
with that. It does so even in the AI's pauses, because the AI's line noise is its own. The figures:

- `heard_ms`: from the moment the service received the agent's request (`since` of the engagement, the wall clock
  both share) to the caller's first packet that does not carry the AI any more. That packet comes from the bridge
  with the agent in it: a muted two-party bridge sends none at all. So it is the first in which the caller can
  hear the agent, whether or not the agent spoke at that very moment.
- `gap_ms`: the longest time between two of the caller's packets from the last one with the AI to a second after
  the request. Packets come every 20 ms, so 20 means that nothing was missing.

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


def ai_in(received: Iterable[Frame], sent: Sequence[Frame]) -> list[tuple[float, bool]]:
    """For each received frame its time and whether it carries what the AI sent shortly before."""
    flags = []
    for at, samples in received:
        lately = [frame for when, frame in sent if at - PATH_S <= when <= at]
        flags.append((at, bool(lately) and carries(samples, np.concatenate(lately)) >= ALIKE))
    return flags


def switched(flags: Sequence[tuple[float, bool]], since: float) -> Switch | None:
    """The figures of a takeover asked for at `since`; None if the AI never left the caller's ear."""
    run = [carried for _, carried in flags]
    for index, (at, carried) in enumerate(flags):
        if at < since or carried or len(run) - index < SETTLED or any(run[index : index + SETTLED]):
            continue
        times = [when for when, _ in flags[max(0, index - 1) :] if when <= since + AFTER_S]
        gap = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
        return Switch(round((at - since) * 1000, 1), round(gap * 1000, 1))
    return None


def ai_back_ms(flags: Sequence[tuple[float, bool]], since: float) -> float | None:
    """From a return asked for at `since` to the first packet that carries the AI again; None if none does."""
    for at, carried in flags:
        if at >= since and carried:
            return round((at - since) * 1000, 1)
    return None


class Observer:
    """Looks at each switch once it is over. `heard` and `sent` go on being filled meanwhile."""

    def __init__(self, heard: Iterable[Frame], sent: Iterable[Frame], found: Callable[[Switch], None]) -> None:
        self._heard, self._sent, self._found = heard, sent, found
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
            switch = switched(ai_in(heard, list(self._sent)), since)
            if switch:
                self._found(switch)
