"""Short-time objective intelligibility (Taal, Hendriks, Heusdens, Jensen, IEEE TASLP 19, 2011), in numpy alone.

Within 0.001 of pystoi (the resampling differs), which needs scipy: no test should.
"""

import itertools

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float64]

FS = 10_000
_FRAME, _HOP, _FFT = 256, 128, 512
_BANDS, _LOWEST = 15, 150.0
_SEGMENT = 30
_CLIP = 1 + 10 ** (15 / 20)
_RANGE_DB = 40.0
_REACH_MS = 150


def stoi(clean: Sound, heard: Sound, rate: int) -> float:
    """0 to 1: mean correlation of the bands' envelopes in segments of 0.4 s, those heard scaled, their peaks clipped.

    Both aligned and equally long. NaN for less than one segment of speech.
    """
    count = len(clean) * FS // rate
    spoken, received = _without_pauses(resampled(clean, count), resampled(heard, count))
    if len(spoken) < _FRAME + _SEGMENT * _HOP:
        return float("nan")
    one, other = (np.lib.stride_tricks.sliding_window_view(_octaves(x), _SEGMENT, axis=1) for x in (spoken, received))
    scale = np.linalg.norm(one, axis=2, keepdims=True) / (np.linalg.norm(other, axis=2, keepdims=True) + 1e-12)
    clipped = np.minimum(other * scale, one * _CLIP)
    a, b = (x - x.mean(axis=2, keepdims=True) for x in (one, clipped))
    sizes = np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2) + 1e-12
    return float(np.mean(np.sum(a * b, axis=2) / sizes))


def resampled(sound: Sound, count: int) -> Sound:
    """A whole clip in so many samples, band-limited."""
    if len(sound) == count:
        return sound
    spectrum = np.fft.rfft(sound)
    size = count // 2 + 1
    fitted = np.pad(spectrum[:size], (0, max(0, size - len(spectrum))))
    out: Sound = np.fft.irfft(fitted, count) * (count / len(sound))
    return out


def lag(reference: Sound, heard: Sound) -> int:
    """Samples of `heard` before `reference` begins in it, by cross-correlation; `heard` is the longer one."""
    size = 1 << (len(reference) + len(heard)).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size)), size)
    return int(np.argmax(both[: max(1, len(heard) - len(reference) + 1)]))


def aligned(clean: Sound, heard: Sound, rate: int) -> tuple[Sound, float]:
    """What was heard of `clean`, as long as it, and how many samples into `heard` it lay (the median).

    A second at a time, cut where it is quietest: a jitter buffer that plays a frame more or less shifts what follows,
    which an ear hardly notices and the correlation of short segments does.
    """
    whole = lag(clean, heard)
    reach, lags, pieces = rate * _REACH_MS // 1000, [], []
    cuts = _cuts(clean, rate)
    for begin, end in itertools.pairwise(cuts):
        first = max(0, whole + begin - reach)
        around = heard[first : whole + end + reach]
        around = np.pad(around, (0, max(0, end - begin - len(around))))
        at = lag(clean[begin:end], around)
        lags.append(first + at - begin)
        pieces.append(around[at : at + end - begin])
    return np.concatenate(pieces), float(np.median(lags))


def _cuts(clean: Sound, rate: int) -> list[int]:
    """About a second apart, each the quietest 10 ms around there."""
    size = rate // 100
    level = np.sum(clean[: len(clean) // size * size].reshape(-1, size) ** 2, axis=1)
    cuts = [0]
    while len(level) - cuts[-1] > 150:
        near = cuts[-1] + 70
        cuts.append(near + int(np.argmin(level[near : near + 60])))
    return [cut * size for cut in cuts] + [len(clean)]


def _frames(sound: Sound) -> Sound:
    window = np.hanning(_FRAME + 2)[1:-1]
    starts = range(0, len(sound) - _FRAME + 1, _HOP)
    return np.array([sound[at : at + _FRAME] * window for at in starts])


def _without_pauses(clean: Sound, heard: Sound) -> tuple[Sound, Sound]:
    one, other = _frames(clean), _frames(heard)
    level = 20 * np.log10(np.linalg.norm(one, axis=1) + 1e-12)
    spoken = level > level.max() - _RANGE_DB
    return _added(one[spoken]), _added(other[spoken])


def _added(frames: Sound) -> Sound:
    out = np.zeros((len(frames) - 1) * _HOP + _FRAME)
    for number, frame in enumerate(frames):
        out[number * _HOP : number * _HOP + _FRAME] += frame
    return out


def _octaves(sound: Sound) -> Sound:
    """(bands, frames)"""
    power = np.abs(np.fft.rfft(_frames(sound), _FFT, axis=1)) ** 2
    bins = np.linspace(0, FS, _FFT + 1)[: _FFT // 2 + 1]
    third = np.arange(_BANDS)
    edges = [_LOWEST * 2 ** ((2 * third + side) / 6) for side in (-1, 1)]
    low, high = (np.array([np.argmin((bins - edge) ** 2) for edge in side]) for side in edges)
    bands = np.array([power[:, a:b].sum(axis=1) for a, b in zip(low, high, strict=True)])
    out: Sound = np.sqrt(bands)
    return out
