"""Is every talker equally loud? `python -m tests.bench.agc --json`.

Twelve talkers (four real voices that no net of ours has learnt from, each at three speeds) at -42 to -9 dBFS, each
with another noise 25 dB below, 24 s through the whole chain, all in one batch:

- `level_std_db`: of the talkers' levels (active speech, after 8 s), `level_std_in_db` before the chain
- `pause_floor_dbfs`: mean power of all pauses; `pause_floor_max_dbfs` of the talker with the loudest ones
- `clipped`: samples of 0.999 of full scale or more, `clipped_in` before the chain
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from tests.support.extras import run_with

SPEEDS = (0.88, 1.0, 1.14)
SECONDS, SETTLED = 24, 8
SNR_DB = 25
LEVELS_DBFS = [-42 + 3 * i for i in range(12)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always so)")
    parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    run_with("bench")
    print(json.dumps(measured()))
    return 0


def measured() -> dict[str, Any]:
    """The whole object."""
    import numpy as np

    from media import pipeline
    from media.frame import RATE, SAMPLES, to_frame
    from media.pipeline import Voice
    from tests.support import dev_set, dev_sounds

    dev_sounds.fetch()
    spoken, given = [], []
    talkers = [(talker, speed) for talker in dev_sounds.DEV for speed in SPEEDS]
    for at, (talker, speed) in enumerate(talkers):
        random = np.random.default_rng([5, at])
        n = SECONDS * RATE
        voice = dev_set.talk(random, talker, int(n * speed) + 1)
        voice = np.interp(np.arange(n) * speed, np.arange(len(voice)), voice).astype(np.float32)
        voice /= dev_sounds.active_rms(voice)
        dirt = dev_set.noise(random, n, dev_set.KINDS[at % len(dev_set.KINDS)], talker)
        level = 10 ** (LEVELS_DBFS[at * 5 % len(talkers)] / 20)
        spoken.append(voice)
        given.append(np.clip((voice + dirt * 10 ** (-SNR_DB / 20)) * level, -1, 1).astype(np.float32))
    voices = [Voice() for _ in talkers]
    ticks = [
        np.stack(pipeline.process(voices, [to_frame(one[at : at + SAMPLES]) for one in given]))
        for at in range(0, len(given[0]), SAMPLES)
    ]
    heard = np.concatenate(ticks, axis=1).astype(np.float32) / 32768
    before, after, pauses = [], [], []
    for clean, noisy, out in zip(spoken, given, heard, strict=True):
        active, pause = _parts(clean)
        before.append(_level(noisy, active))
        after.append(_level(out[160:], active))  # the chain's delay
        if pause.sum() >= 10:  # somebody may speak without one
            pauses.append(_power(out[160:], pause))
    return {
        "talkers": len(talkers),
        "level_std_in_db": round(float(np.std(before)), 2),
        "level_std_db": round(float(np.std(after)), 2),
        "level_mean_dbfs": round(float(np.mean(after)), 2),
        "levels_dbfs": [round(one, 1) for one in after],
        "pause_floor_dbfs": round(float(10 * np.log10(np.mean(pauses) + 1e-12)), 1),
        "pause_floor_max_dbfs": round(float(10 * np.log10(max(pauses) + 1e-12)), 1),
        "clipped_in": sum(int(np.sum(np.abs(one) >= 0.999)) for one in given),
        "clipped": int(np.sum(np.abs(heard) >= 0.999)),
        "suppressor": voices[0].suppressor.kind,
    }


def _parts(clean: Any) -> tuple[Any, Any]:
    """Which 20 ms are speech and which are pauses, 60 ms away from it; after the gain has settled."""
    import numpy as np

    from tests.support.dev_sounds import frames_db

    level = frames_db(clean, 320)
    loud = np.percentile(level, 95)
    quiet = level < loud - 40
    for _ in range(3):
        quiet = quiet & np.roll(quiet, 1) & np.roll(quiet, -1)
    late = np.arange(len(level)) >= SETTLED * 50
    return (level > loud - 25) & late, quiet & late


def _power(sound: Any, which: Any) -> float:
    import numpy as np

    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    return float(np.mean(frames[which[: len(frames)]].astype(np.float64) ** 2))


def _level(sound: Any, which: Any) -> float:
    import numpy as np

    return float(10 * np.log10(_power(sound, which)))


if __name__ == "__main__":
    sys.exit(main())
