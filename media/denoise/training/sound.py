"""What both voices and noises are made with: recordings, rooms, speeds. Nothing beyond what the service has."""

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from ...frame import RATE, Sound

Random = np.random.Generator


def level(sound: Sound | npt.NDArray[np.float64], rms: float = 0.1) -> Sound:
    out: Sound = (sound * (rms / (np.sqrt(np.mean(sound**2)) + 1e-9))).astype(np.float32)
    return out


def read(path: Path) -> Sound:
    """Mono at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as file:
        pieces = [out.to_ndarray()[0] for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def convolved(sound: npt.NDArray[np.floating], with_: Sound) -> Sound:
    """As long as `sound`: what would come after it is left out."""
    size = 1 << (len(sound) + len(with_) - 2).bit_length()
    both = np.fft.rfft(sound.astype(np.float32), size) * np.fft.rfft(with_, size)
    out: Sound = np.fft.irfft(both, size)[: len(sound)].astype(np.float32)
    return out


def resampled(sound: Sound, length: int) -> Sound:
    """The same in so many samples."""
    found = np.fft.rfft(sound)
    kept = np.zeros(length // 2 + 1, found.dtype)
    kept[: min(len(kept), len(found))] = found[: len(kept)]
    out: Sound = (np.fft.irfft(kept, length) * (length / len(sound))).astype(np.float32)
    return out


def stretched(sound: Sound, speed: float) -> Sound:
    """By pieces of a second, as one transform of an hour would take long."""
    size = RATE * 20
    pieces = [sound[i : i + size] for i in range(0, len(sound), size)]
    return np.concatenate([resampled(one, max(2, int(len(one) / speed))) for one in pieces])


def room(random: Random, seconds: float, direct: float) -> Sound:
    """Decaying noise after a direct sound that is `direct` times as strong in total."""
    n = int(seconds * RATE)
    tail = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[: int(0.002 * RATE)] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = direct
    return tail.astype(np.float32)
