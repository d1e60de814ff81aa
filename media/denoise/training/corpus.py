"""The sound the net learns from, as band amplitudes on disk.

    python -m media.denoise.training.corpus FOLDER

FOLDER/x holds unpacked packages and cloned repositories (`docs/denoise.md` tells which); FOLDER/train gets
`speech.f16`, `noise.f16`, float16 (frames, BANDS). Training mixes these with random phases, so any talker, noise,
level and filter costs an addition and not a transform. Free material only (`WEIGHTS.md`); no DEV talker, no reserved
language. A file is there when it is whole, and then stays: who stops this and starts it again loses one at most.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...frame import HOP, RATE, Sound
from ..analysis import ANALYSIS, SIZE, WEIGHTS, power
from .noises import ambiences, noises, surroundings
from .voices import packaged, recordings, speech

Amplitudes = npt.NDArray[np.float16]

_SEED = 7
_AT_ONCE = 4096
"Frames."


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    make(options.parse_args().folder)


def make(root: Path) -> None:
    """What is not there yet, each file of chances of its own. Raises FileNotFoundError."""
    train = root / "train"
    train.mkdir(parents=True, exist_ok=True)
    talkers, crowd = packaged(root), recordings(root)
    if missing := [name for name, sounds in (talkers | crowd).items() if not sounds]:
        raise FileNotFoundError(
            f"{root / 'x'} has nothing of {', '.join(missing)}: docs/denoise.md tells where it is had"
        )
    print({name: round(sum(map(len, one)) / RATE / 60, 1) for name, one in (talkers | crowd).items()})
    write(train / "speech.f16", speech(np.random.default_rng(_SEED), talkers))
    random = np.random.default_rng(_SEED + 1)
    made = noises(random, root, [one for some in talkers.values() for one in some])
    found = surroundings(random, ambiences(root), [one for some in crowd.values() for one in some])
    write(train / "noise.f16", itertools.chain(made, found))


def heard(sound: Sound) -> Amplitudes:
    """Any length -> (hops, BANDS): how strong each band is."""
    if len(sound) < SIZE:
        return np.zeros((0, len(WEIGHTS)), np.float16)
    frames = np.lib.stride_tricks.sliding_window_view(sound, SIZE)[::HOP]
    pieces = []
    for start in range(0, len(frames), _AT_ONCE):
        one = np.fft.rfft(frames[start : start + _AT_ONCE] * ANALYSIS).astype(np.complex64)
        pieces.append(np.sqrt(power(one) @ WEIGHTS.T).astype(np.float16))
    return np.concatenate(pieces)


def write(path: Path, sounds: Iterable[Sound]) -> None:
    """One file of all; nothing where it is there."""
    if path.exists():
        return
    total, fresh = 0, path.with_suffix(".new")
    with fresh.open("wb") as file:
        for sound in sounds:
            one = heard(sound)
            one.tofile(file)
            total += len(one)
            print(path.name, f"{total / 6000:.1f} min", file=sys.stderr, flush=True)
    fresh.replace(path)


if __name__ == "__main__":
    main()
