"""When somebody speaks: webrtcvad on what a party hears, with the patience of a polite listener."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import webrtcvad

from .tones import Samples

STRICT = 3  # webrtcvad's least excitable mode: line noise is no speech
BEGIN_FRAMES = 3  # of the last five: a click is no word
PAUSE_S = 0.85  # people wait as long before they take a turn; a synthesiser's full stop takes up to 0.7
FLOOR_RMS = 100.0  # about -50 dBFS: below it is line noise, whatever its spectrum

Heard = Literal["began", "stopped"]


@dataclass
class Ear:
    """Feed it frames of 10, 20 or 30 ms at 8, 16, 32 or 48 kHz, in the order in which they are heard."""

    rate: int = 8000
    pause_s: float = PAUSE_S
    speaking: bool = False
    """Whether the other side speaks now; a pause within a sentence does not end it."""
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=5))
    _silent_s: float = 0.0

    def __post_init__(self) -> None:
        self._vad = webrtcvad.Vad(STRICT)

    def hear(self, samples: Samples) -> Heard | None:
        """Takes a frame; says whether with it somebody began or stopped to speak."""
        speech = self._is_speech(samples)
        self._recent.append(speech)
        if speech and sum(self._recent) >= BEGIN_FRAMES:
            self._silent_s = 0.0
            if not self.speaking:
                self.speaking = True
                return "began"
            return None
        self._silent_s += len(samples) / self.rate
        if self.speaking and self._silent_s >= self.pause_s:
            self.speaking = False
            return "stopped"
        return None

    def _is_speech(self, samples: Samples) -> bool:
        if np.sqrt(np.mean(np.square(samples, dtype=np.float64))) < FLOOR_RMS:
            return False
        return bool(self._vad.is_speech(samples.tobytes(), self.rate))
