"""How loud a piece of sound is."""

import math
from collections.abc import Sequence

import numpy as np

from .frame import Frame

FLOOR = -100.0
"dBFS reported for digital silence."


def mean_square(frame: Frame) -> float:
    """Mean power of int16 samples, full scale 1.0; 0.0 for no samples."""
    if not len(frame):
        return 0.0
    sound = frame.astype(np.float32)
    return float(np.dot(sound, sound)) / (len(frame) * 32768.0 * 32768.0)


def mean_squares(frames: Sequence[Frame]) -> list[float]:
    """`mean_square` of each, of any lengths but 0: one conversion for all, as most of the cost is per call."""
    if not frames:
        return []
    lengths = [len(frame) for frame in frames]
    sound = np.concatenate(frames).astype(np.float32)
    if min(lengths) == max(lengths):  # as nearly always
        rows = sound.reshape(len(frames), -1)
        sums = np.einsum("ij,ij->i", rows, rows)
    else:
        sums = np.add.reduceat(sound * sound, np.cumsum([0, *lengths[:-1]]))
    powers: list[float] = (sums / (np.array(lengths) * (32768.0 * 32768.0))).tolist()
    return powers


def decibels(power: float) -> float:
    """Power (full scale 1.0) -> dBFS, never below `FLOOR`."""
    return max(FLOOR, 10 * math.log10(power)) if power > 0 else FLOOR


class Meter:
    """Gathers the power of frames until it is read: one figure for any number of frames."""

    def __init__(self) -> None:
        self.last = 0.0
        "Power of the latest frame."
        self._sum = 0.0
        self._frames = 0

    def add(self, power: float) -> None:
        self.last = power
        self._sum += power
        self._frames += 1

    def read(self) -> float:
        """Mean level since the last reading, dBFS."""
        level = decibels(self._sum / self._frames) if self._frames else FLOOR
        self._sum, self._frames = 0.0, 0
        return level
