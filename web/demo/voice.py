"""What a party says and what it hears: sources, the recording with arrival times, and the 20 ms beat.

All times are `time.monotonic()`, the one clock of every party of a measurement.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import tones
from .tones import Samples, Trace

FRAME_S = 0.020
Measure = Callable[[Samples, float, int], NDArray[np.float64]]
"""Samples, Hz and rate to the level in each window."""


class Source(Protocol):
    """Where a party's voice comes from."""

    def take(self, count: int, rate: int) -> Samples:
        """The next `count` samples at `rate`; always exactly that many, silence when there is nothing to say."""


class Silence:
    """Says nothing."""

    def take(self, count: int, rate: int) -> Samples:
        return np.zeros(count, np.int16)


class Tone:
    """A steady tone of `hz`."""

    def __init__(self, hz: float, level_dbov: float = -12.0) -> None:
        self.hz, self._level, self._position = hz, level_dbov, 0

    def take(self, count: int, rate: int) -> Samples:
        piece = tones.tone(self.hz, count, rate, start=self._position, level_dbov=self._level)
        self._position += count
        return piece


class Clip:
    """Speaks recorded samples once (at the party's own rate); `done` is set when the last one was taken."""

    def __init__(self, samples: Samples) -> None:
        self._samples, self._position = samples, 0
        self.done = asyncio.Event()

    def take(self, count: int, rate: int) -> Samples:
        piece = self._samples[self._position : self._position + count]
        self._position += count
        if self._position >= len(self._samples):
            self.done.set()
        return np.pad(piece, (0, count - len(piece)))


@dataclass
class Recording:
    """What a party received: frames with their arrival time."""

    rate: int
    frames: list[tuple[float, Samples]] = field(default_factory=list)

    def add(self, at: float, samples: Samples) -> None:
        self.frames.append((at, samples))

    def clear(self) -> None:
        self.frames.clear()

    def trace(
        self, hz: float, since: float = -np.inf, until: float = np.inf, *, measure: Measure = tones.levels
    ) -> Trace:
        """How loud `hz` was in each window of 10 ms (with `tones.others`: all else); a window's time is its frame's
        arrival plus its offset.

        Cut to [since, until), with frames that arrived a little earlier looked at too.
        """
        width = round(self.rate * tones.WINDOW_S)
        times: list[float] = []
        pieces: list[Samples] = []
        for at, samples in list(self.frames):
            windows = len(samples) // width
            if not windows or at + windows * tones.WINDOW_S < since or at >= until:
                continue
            times.extend(at + index * tones.WINDOW_S for index in range(windows))
            pieces.append(samples[: windows * width])
        if not pieces:
            return Trace(np.empty(0), np.empty(0))
        trace = Trace(np.array(times), measure(np.concatenate(pieces), hz, self.rate))
        return trace.between(since, until)

    def samples(self) -> Samples:
        """All that was received, end to end."""
        return np.concatenate([frame for _, frame in self.frames]) if self.frames else np.empty(0, np.int16)


async def beat(send: Callable[[], None], period: float = FRAME_S) -> None:
    """Calls `send` every `period` on an absolute schedule until cancelled.

    A short delay of ours is caught up, as the frames would otherwise be missing; after a long one the schedule
    starts anew, because a burst would only add delay for good.
    """
    due = time.monotonic()
    while True:
        send()
        due += period
        now = time.monotonic()
        if now - due > 5 * period:
            due = now
        await asyncio.sleep(max(0.0, due - now))
