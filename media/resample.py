"""Between the PBX's 8 kHz and our 16 kHz: one half-band filter, both ways, with state over frames.

31 taps, Hamming window: 15 samples (0.94 ms) of delay, 0.1 dB up to 3.3 kHz, telephone band kept. Every second tap of
a half-band filter is zero but for the middle one, so one of the two phases is a plain delay and the other has 16 taps.
They are symmetric, so `np.correlate`, which costs half of what `np.convolve` does, is the same.
"""

import numpy as np
import numpy.typing as npt

from .frame import Frame, Sound, rounded

_TAPS = 31
_PAST = _TAPS // 2
_DELAY = _PAST // 2 + 1
"Where the plain phase begins in the samples with their past."


def _phase() -> Sound:
    n = np.arange(0, _TAPS, 2) - _TAPS // 2
    taps = 0.5 * np.sinc(n / 2) * np.hamming(_TAPS)[::2]
    normal: Sound = (0.5 * taps / taps.sum()).astype(np.float32)
    return normal


_HALF = _phase()
_WHOLE = 2 * _HALF


class Doubler:
    """8 kHz -> 16 kHz."""

    def __init__(self) -> None:
        self._past = np.zeros(_PAST, dtype=np.int16)

    def __call__(self, frame: Frame) -> Frame:
        """n samples -> 2n samples."""
        whole = np.concatenate((self._past, frame))
        self._past = whole[-_PAST:]
        double = np.empty(2 * len(frame), dtype=np.int16)
        double[::2] = rounded(np.correlate(whole.astype(np.float32), _WHOLE, mode="valid"))
        double[1::2] = whole[_DELAY : _DELAY + len(frame)]
        return double


class Halver:
    """16 kHz -> 8 kHz."""

    def __init__(self) -> None:
        self._past: npt.NDArray[np.float32] = np.zeros(2 * _PAST, dtype=np.float32)

    def __call__(self, frame: Frame) -> Frame:
        """2n samples -> n samples."""
        whole = np.concatenate((self._past, frame), dtype=np.float32)
        self._past = whole[-2 * _PAST :]
        half = np.correlate(whole[::2], _HALF, mode="valid")
        plain = whole[1::2][_DELAY - 1 :]
        half += np.float32(0.5) * plain[: len(half)]
        return rounded(half)
