"""What the caller hears on hold: a soft, slow broken chord, made here, so that no file and no licence is needed."""

from functools import cache

import numpy as np
import numpy.typing as npt

from .frame import RATE, SAMPLES, Frame

_BEAT = 0.4
_NOTE = 1.6
_CHORDS = (
    (261.63, 329.63, 392.00, 523.25),  # C
    (220.00, 261.63, 329.63, 440.00),  # A minor
    (174.61, 261.63, 349.23, 440.00),  # F
    (196.00, 246.94, 293.66, 392.00),  # G
)
_LEVEL = 10 ** (-26 / 20)
_NOISE_LEVEL = 10 ** (-62 / 20)


@cache
def _loop() -> npt.NDArray[np.int16]:
    beats = [note for chord in _CHORDS for note in (*chord, *chord[-2:0:-1], chord[0], chord[1])]
    step = int(_BEAT * RATE)
    length = len(beats) * step // SAMPLES * SAMPLES
    music = np.zeros(length, dtype=np.float64)
    t = np.arange(int(_NOTE * RATE)) / RATE
    swell = np.minimum(t / 0.03, 1) * np.exp(-t * 2.2) * np.minimum((_NOTE - t) / 0.2, 1)
    for beat, pitch in enumerate(beats):
        note = swell * (np.sin(2 * np.pi * pitch * t) + 0.25 * np.sin(4 * np.pi * pitch * t))
        at = (beat * step + np.arange(len(note))) % length  # the loop's end rings on into its start
        music[at] += note
    music *= _LEVEL / np.sqrt(np.mean(music**2))
    return np.rint(np.clip(music * 32768, -32000, 32000)).astype(np.int16)


class Music:
    """One caller's place in the loop."""

    def __init__(self) -> None:
        self._at = 0

    def frame(self) -> Frame:
        """The next 20 ms."""
        loop = _loop()
        piece = loop[self._at : self._at + SAMPLES]
        self._at = (self._at + SAMPLES) % len(loop)
        return piece


@cache
def _hiss() -> npt.NDArray[np.int16]:
    random = np.random.default_rng(1)
    white = random.standard_normal(RATE // SAMPLES * SAMPLES)
    soft = np.convolve(white, np.ones(8) / 8, mode="same")
    soft *= 32768 * _NOISE_LEVEL / np.sqrt(np.mean(soft**2))
    return np.rint(soft).astype(np.int16)


def comfort_noise(tick: int) -> Frame:
    """20 ms of line noise at -62 dBFS: a caller who hears digital nothing thinks that he was cut off."""
    hiss = _hiss()
    start = tick * SAMPLES % len(hiss)
    return hiss[start : start + SAMPLES]
