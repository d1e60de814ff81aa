"""Even loudness: automatic gain that moves only in speech, and a limiter that looks ahead inside the frame."""

import numpy as np

from .frame import HOP, Sound
from .level import decibels

_TARGET = -20.0
_UP = 8.0 * HOP / 16_000
_DOWN = 24.0 * HOP / 16_000
_LOUDEST_FLOOR = -45.0
_MOST = 30.0
_ABOVE_FLOOR = 9.0
_RUN = 3
_PEAK = 10 ** (-1 / 20)
_PIECE = 16
_RELEASE = 0.02


class Agc:
    """Brings speech to -20 dBFS: at most 8 dB/s up and 24 dB/s down, in speech only.

    It never lifts the background above -45 dBFS. Hops are 10 ms.
    """

    def __init__(self) -> None:
        self._gain = 0.0
        self._floor = -60.0
        self._run = 0
        self._level = _TARGET
        self._applied = 0.0

    @property
    def gain(self) -> float:
        """dB now in force."""
        return self._gain

    def process(self, hop: Sound, *, speech: bool) -> Sound:
        """160 samples; `speech` is the voice detector's word on them."""
        level = decibels(float(np.dot(hop, hop)) / len(hop))
        # The floor follows pauses down quickly and rises slowly, so a long sentence does not become the floor.
        self._floor += (level - self._floor) * (0.1 if level < self._floor else 0.001)
        self._run = self._run + 1 if speech and level > self._floor + _ABOVE_FLOOR else 0
        if self._run >= _RUN:
            self._level += 0.05 * (level - self._level)
            self._gain += max(-_DOWN, min(_UP, _TARGET - self._level - self._gain))
        before = self._applied
        self._applied = min(self._gain, _MOST, max(0.0, _LOUDEST_FLOOR - self._floor))
        ramp = np.linspace(10 ** (before / 20), 10 ** (self._applied / 20), len(hop), dtype=np.float32)
        return hop * ramp


class Limiter:
    """Keeps every sample below -1 dBFS, by pieces of 1 ms; the gain is already down when the peak comes."""

    def __init__(self) -> None:
        self._gain = 1.0

    def process(self, sound: Sound) -> Sound:
        """A multiple of 16 samples."""
        pieces = np.abs(sound).reshape(-1, _PIECE).max(axis=1)
        if self._gain >= 1.0 and float(pieces.max()) <= _PEAK:
            return sound
        allowed = np.minimum(1.0, _PEAK / np.maximum(pieces, 1e-9))
        nodes = [min(self._gain, float(allowed[0]))]
        for i in range(len(allowed)):
            after = float(min(allowed[i], allowed[i + 1])) if i + 1 < len(allowed) else float(allowed[i])
            nodes.append(min(after, nodes[-1] + _RELEASE * (1.0 - nodes[-1])))
        self._gain = nodes[-1] if nodes[-1] < 0.9999 else 1.0
        at = np.arange(len(sound), dtype=np.float32) / _PIECE
        curve = np.interp(at, np.arange(len(nodes)), nodes).astype(np.float32)
        return sound * curve
