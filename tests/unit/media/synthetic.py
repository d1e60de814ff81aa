"""Sound made by rule, for tests of the voice chain."""

import numpy as np
import numpy.typing as npt

from media.frame import RATE

Samples = npt.NDArray[np.float64]


def noise(seconds: float, level_db: float, seed: int = 1) -> Samples:
    white = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    scaled: Samples = white * 10 ** (level_db / 20)
    return scaled


def speech(seconds: float, level_db: float) -> Samples:
    """Harmonics of a gliding voice in syllables, with pauses: what a suppressor must take for speech."""
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    syllables = np.abs(np.sin(2 * np.pi * 3 * t)) * (np.sin(2 * np.pi * 0.4 * t) > -0.3)
    sound: Samples = voice * syllables
    sound *= 10 ** (level_db / 20) / np.sqrt(np.mean(sound[syllables > 0] ** 2))
    return sound
