"""Sentences of the evaluation set's talkers, for whoever has no scipy: `python -m tests.support.sentences FILE.npz`."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .extras import run_with

Sentences = dict[str, list[npt.NDArray[np.int16]]]
EACH = 3
LEVEL_DBFS = -26.0
_SHORTEST_S, _LONGEST_S = 2.5, 6.0


def sentences() -> Sentences:
    """By talker: some of 3 to 6 s, 16 kHz. Made in the environment of the benches, so the first time takes minutes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sentences.npz"
        subprocess.run([sys.executable, "-m", __name__, str(file)], check=True, stdout=sys.stderr)
        with np.load(file) as made:
            by_talker: Sentences = {}
            for name in made.files:
                by_talker.setdefault(name.rpartition("_")[0], []).append(made[name])
    return by_talker


def _make(file: Path) -> None:
    from . import dev_sounds

    dev_sounds.fetch()
    made: dict[str, npt.NDArray[np.int16]] = {}
    for talker in dev_sounds.DEV:
        for path in dev_sounds.files(talker, "dev"):
            said = dev_sounds.utterance(path)
            if said is None or not _SHORTEST_S * dev_sounds.FS < len(said) < _LONGEST_S * dev_sounds.FS:
                continue
            loud = said / dev_sounds.active_rms(said) * 10 ** (LEVEL_DBFS / 20)
            made[f"{talker}_{sum(name.startswith(talker) for name in made)}"] = np.rint(loud * 32767).astype(np.int16)
            if f"{talker}_{EACH - 1}" in made:
                break
    np.savez(file, allow_pickle=False, **made)


if __name__ == "__main__":
    run_with("bench")
    _make(Path(sys.argv[1]))
