"""Noise suppression, the first, classical one: a Wiener gain over a noise spectrum tracked by speech presence.

Noise: unbiased MMSE with a fixed prior SNR (Gerkmann and Hendriks 2012).
Gain: decision-directed (Ephraim and Malah 1984).
Frames of 20 ms every 10 ms with a square-root Hann window on both sides, so the delay is 10 ms.
"""

import numpy as np
import numpy.typing as npt

from .frame import HOP, Sound

_SIZE = 2 * HOP
_BINS = _SIZE // 2 + 1
_FLOOR = np.float32(10 ** (-18 / 20))
"What is left of pure noise: less sounds like a dead line and brings musical tones."
_PRIOR = 10 ** (15 / 10)
_TINY = np.float32(1e-10)
_START = 8
"Hops whose mean is the first guess of the noise."
_FASTEST = np.float32(3.0)
"A hop may raise the noise estimate by this factor at most."

_WINDOW = np.sqrt(np.hanning(_SIZE + 1)[:-1]).astype(np.float32)


class Denoiser:
    """`process` takes 10 ms at a time and returns the cleaned 10 ms before them."""

    def __init__(self) -> None:
        self._noise: npt.NDArray[np.float32] = np.full(_BINS, _TINY, dtype=np.float32)
        self._presence = np.full(_BINS, 0.5, dtype=np.float32)
        self._speech = np.zeros(_BINS, dtype=np.float32)
        self._hops = 0
        self.flush()

    def flush(self) -> None:
        """Drop the sound that is still inside; what was learnt about the noise stays."""
        self._past = np.zeros(HOP, dtype=np.float32)
        self._tail = np.zeros(HOP, dtype=np.float32)

    def process(self, hop: Sound) -> Sound:
        """160 samples in, 160 samples out, 10 ms later."""
        spectrum = np.fft.rfft(np.concatenate((self._past, hop)) * _WINDOW)
        self._past = hop
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        self._learn(power)
        clean = np.fft.irfft(spectrum * self._gain(power), _SIZE).astype(np.float32) * _WINDOW
        out: Sound = self._tail + clean[:HOP]
        self._tail = clean[HOP:]
        return out

    def _learn(self, power: npt.NDArray[np.float32]) -> None:
        if self._hops < _START:
            self._noise += (power - self._noise) / (self._hops + 1)
            self._hops += 1
            return
        posterior = np.minimum(power / (self._noise + _TINY), 200.0)
        presence = 1 / (1 + (1 + _PRIOR) * np.exp(-posterior * (_PRIOR / (1 + _PRIOR))))
        self._presence += 0.1 * (presence - self._presence)
        # A bin that looks like speech for seconds is noise that has grown: let a little of it in.
        presence = np.where(self._presence > 0.99, np.minimum(presence, 0.99), presence)
        heard = np.minimum(power, self._noise * _FASTEST + _TINY)
        self._noise += (0.2 * (1 - presence) * (heard - self._noise)).astype(np.float32)

    def _gain(self, power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        noise = self._noise * np.float32(1.5) + _TINY
        prior = 0.97 * self._speech / noise + 0.03 * np.maximum(power / noise - 1, 0)
        gain: npt.NDArray[np.float32] = np.maximum(prior / (1 + prior), _FLOOR).astype(np.float32)
        self._speech = gain * gain * power
        return gain
