"""Between the PBX's 8 kHz and our 16 kHz: one half-band filter, both ways, with state over frames.

31 taps, Hamming window: 15 samples (0.94 ms) of delay, 0.1 dB up to 3.3 kHz, telephone band kept. Every second tap of
a half-band filter is zero but for the middle one, so one of the two phases is a plain delay and the other has 16 taps.
They are symmetric, so `np.correlate`, which costs half of what `np.convolve` does, is the same.
Downwards all sessions of a tick go together.
"""

from collections.abc import Sequence

import numpy as np

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
_BLOCK = len(_HALF)
_BEFORE = 2 * _BLOCK
"Samples of the past that a `Halver` keeps, so that its input is whole blocks."


def _blocks() -> tuple[Sound, Sound]:
    """The taps as matrices, (samples of a block, samples out): for the block before, and for the block itself."""
    both = np.zeros((2 * _BLOCK, _BLOCK), dtype=np.float32)
    for at in range(_BLOCK):
        both[at + 1 : at + 1 + _BLOCK, at] = _HALF
    return both[:_BLOCK], both[_BLOCK:]


_EARLIER, _PRESENT = _blocks()


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
        self.past: Frame = np.zeros(_BEFORE, dtype=np.int16)

    def __call__(self, frame: Frame) -> Frame:
        """2n samples -> n samples, n a multiple of 16."""
        return halved([self], [frame])[0]


def halved(halvers: Sequence[Halver], frames: Sequence[Frame]) -> list[Frame]:
    """Each by its own halver, all of one length. One product for all: 32 frames cost 1 us each, one alone 10."""
    whole = np.concatenate([part for one, frame in zip(halvers, frames, strict=True) for part in (one.past, frame)])
    rows = whole.reshape(len(frames), -1).astype(np.float32)
    for one, frame in zip(halvers, frames, strict=True):
        one.past = frame[-_BEFORE:]
    blocks = rows[:, ::2].reshape(len(frames), -1, _BLOCK)
    half = blocks[:, :-1].reshape(-1, _BLOCK) @ _EARLIER
    half += blocks[:, 1:].reshape(-1, _BLOCK) @ _PRESENT
    sound = half.reshape(len(frames), -1)
    sound += np.float32(0.5) * rows[:, 2 * _DELAY + 1 : -_PAST : 2]
    return list(rounded(sound))
