"""Sound for captions: what both ends of a patch say, cut into utterances where somebody pauses. Pure.

By loudness, not by a detector of speech: it costs 10 us per frame in a tick, and who turns words into text hears
what was no speech.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .frame import TICK, Frame
from .level import mean_square

Side = Literal["agent", "pbx"]
"""The agent's cleaned microphone as the caller hears it, or what the PBX sends: the caller, in a takeover."""

LOUD = 10 ** (-42 / 10)
"""Power (full scale 1.0) above which a frame counts as sound: a quiet line has -60 dBFS, a soft voice -35."""
BEFORE = 10
"""Frames kept from before an utterance: soft consonants precede what is loud."""
PAUSE = 35
"""Quiet frames that end an utterance: 0.7 s."""
SHORT = 10
"""Loud frames that an utterance has at least: less is a click."""
LONG = 300
"""Frames of the longest utterance, 6 s: what takes longer is cut, so that captions come and messages stay small."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance; `began` in seconds of CLOCK_MONOTONIC, `sound` is 16 kHz mono int16."""

    side: Side
    began: float
    sound: bytes


class Utterances:
    """Of one side of one patch. Give it every frame in turn."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._before: deque[Frame] = deque(maxlen=BEFORE)
        self._frames: list[Frame] = []
        self._began = 0.0
        self._loud = 0
        self._quiet = 0

    def take(self, frame: Frame, now: float) -> Heard | None:
        """The utterance that ends with this frame, if one does."""
        loud = mean_square(frame) > LOUD
        if not self._frames:
            if not loud:
                self._before.append(frame)
                return None
            self._frames = [*self._before]
            self._began = now - len(self._frames) * TICK
            self._before.clear()
        self._frames.append(frame)
        self._loud += loud
        self._quiet = 0 if loud else self._quiet + 1
        return self.end() if self._quiet >= PAUSE or len(self._frames) >= LONG else None

    def end(self) -> Heard | None:
        """What has been said up to now, if it is anything."""
        frames, loud = self._frames, self._loud
        self._frames, self._loud, self._quiet = [], 0, 0
        return Heard(self._side, self._began, np.concatenate(frames).tobytes()) if loud >= SHORT else None


class Tap:
    """Listens to a patch."""

    def __init__(self) -> None:
        self._sides = (Utterances("agent"), Utterances("pbx"))

    def take(self, sent: Frame, received: Frame, now: float) -> list[Heard]:
        """20 ms of each side; the utterances that end with them."""
        found = (side.take(frame, now) for side, frame in zip(self._sides, (sent, received), strict=True))
        return [one for one in found if one is not None]

    def end(self) -> list[Heard]:
        """The patch is over: what was still being said."""
        return [one for one in (side.end() for side in self._sides) if one is not None]
