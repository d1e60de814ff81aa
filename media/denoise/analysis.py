"""Short-time spectra with little delay, and the bands in which the net hears them.

Asymmetric windows (Mauler and Martin 2007): the analysis sees 32 ms of past, the synthesis touches only the last 20 ms,
so the sound comes out one hop, 10 ms, after it went in. Both are float32 throughout.
"""

import numpy as np
import numpy.typing as npt

from ..frame import HOP, Sound

SIZE = 512
"Samples under the analysis window."
BINS = SIZE // 2 + 1
KEPT = SIZE - HOP
"Samples of the past that the next spectrum needs."
OVERLAP = 2 * HOP
"Samples that the synthesis window covers."
BANDS = 96
_SINGLE = 48
"Bands of one bin each (to 1.5 kHz, where the harmonics of a voice lie apart); the rest widen by a fixed ratio."


def _hann(length: int) -> npt.NDArray[np.float64]:
    return np.hanning(length + 1)[:-1]


def _analysis_window() -> Sound:
    rise = np.sqrt(_hann(2 * (SIZE - HOP)))[: SIZE - HOP]
    fall = np.sqrt(_hann(OVERLAP))[HOP:]
    return np.concatenate((rise, fall)).astype(np.float32)


def _synthesis_window() -> Sound:
    """Times the analysis window this is a Hann window of two hops: overlapping halves add up to one."""
    both = _hann(OVERLAP)
    return (both / np.maximum(_analysis_window()[-OVERLAP:], 1e-6)).astype(np.float32)


def _bands() -> Sound:
    """(BANDS, BINS), triangles whose columns add up to one."""
    wide = BANDS - _SINGLE
    ratio = np.power((BINS - 1) / (_SINGLE - 1), np.arange(1, wide + 1) / wide)
    centres = np.concatenate((np.arange(float(_SINGLE)), (_SINGLE - 1.0) * ratio))
    bins = np.arange(BINS)
    return np.stack([np.interp(bins, centres, row) for row in np.eye(BANDS)]).astype(np.float32)


ANALYSIS = _analysis_window()
SYNTHESIS = _synthesis_window()
WEIGHTS = _bands()
"(BANDS, BINS): `power @ WEIGHTS.T` are band powers, `gains @ WEIGHTS` are gains per bin."
_ALIKE = _SINGLE - 1
"That many bands are their bins; only the rest needs a matrix."
_WIDE = np.ascontiguousarray(WEIGHTS[_ALIKE:, _ALIKE:])
_GATHER = np.ascontiguousarray(_WIDE.T)


def power(spectra: npt.NDArray[np.complex64]) -> Sound:
    """|spectra|^2, float32."""
    return (spectra.real**2 + spectra.imag**2).astype(np.float32, copy=False)


def in_bands(power: Sound) -> Sound:
    """(..., BINS) -> (..., BANDS): `power @ WEIGHTS.T`."""
    out = np.empty((*power.shape[:-1], BANDS), np.float32)
    out[..., :_ALIKE] = power[..., :_ALIKE]
    _product(power[..., _ALIKE:], _GATHER, out[..., _ALIKE:])
    return out


def in_bins(gains: Sound) -> Sound:
    """(..., BANDS) -> (..., BINS): `gains @ WEIGHTS`."""
    out = np.empty((*gains.shape[:-1], BINS), np.float32)
    out[..., :_ALIKE] = gains[..., :_ALIKE]
    _product(gains[..., _ALIKE:], _WIDE, out[..., _ALIKE:])
    return out


def _product(rows: Sound, by: Sound, out: Sound) -> None:
    """One product for all hops and sessions."""
    out[...] = (rows.reshape(-1, len(by)) @ by).reshape(out.shape)


def features(bands: Sound) -> Sound:
    """(n, BANDS) power of the bands -> the same shape, about -2.5 (silence) to 2 (full scale)."""
    out: Sound = np.float32(0.5) * np.log10(bands + np.float32(1e-7)) + np.float32(1)
    return out
