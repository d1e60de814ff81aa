"""A party's voice: lines one after another over a little line noise, and a memory of what was sent when."""

import asyncio
import time
from collections import deque

import numpy as np

from .tones import Samples

NOISE_RMS = 40.0  # about -58 dBFS: a quiet line; enough for the measurement to find it in a pause
REMEMBERED_FRAMES = 200  # 4 s of 20 ms


class Mouth:
    """A `Source` that is silent but for line noise until it is given a line to say."""

    def __init__(self, *, noise_rms: float = NOISE_RMS) -> None:
        self.sent: deque[tuple[float, Samples]] = deque(maxlen=REMEMBERED_FRAMES)
        self._noise_rms = noise_rms
        self._random = np.random.default_rng()
        self._line: Samples = np.empty(0, np.int16)
        self._position = 0
        self._over: asyncio.Future[bool] | None = None

    @property
    def speaks(self) -> bool:
        return self._over is not None

    @property
    def said(self) -> float:
        """Part of the line that has been said, 0 to 1."""
        return self._position / len(self._line) if len(self._line) else 1.0

    async def say(self, line: Samples) -> bool:
        """Says a line; True when it was said to its end, False when it was hushed or another line took its place."""
        self.hush()
        self._line, self._position = line, 0
        over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._over = over
        try:
            return await over
        finally:
            if self._over is over:  # cancelled: nobody listens for the end any more
                self._over = None
                self._line = np.empty(0, np.int16)

    def hush(self) -> None:
        """Falls silent at once, in mid-word if need be."""
        self._end(complete=False)

    def take(self, count: int, rate: int) -> Samples:
        """The next `count` samples; lines are expected at the leg's own rate."""
        noise = self._random.normal(0.0, self._noise_rms, count) if self._noise_rms else np.zeros(count)
        piece = self._line[self._position : self._position + count]
        self._position += len(piece)
        noise[: len(piece)] += piece
        samples = np.clip(np.rint(noise), -32768, 32767).astype(np.int16)
        self.sent.append((time.monotonic(), samples))
        if self._over is not None and self._position >= len(self._line):
            self._end(complete=True)
        return samples

    def _end(self, *, complete: bool) -> None:
        over, self._over = self._over, None
        if over is not None:
            if not complete:
                self._line = self._line[: self._position]
            if not over.done():
                over.set_result(complete)
