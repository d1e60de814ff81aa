"""How well the voice is cleaned, beside others: `python -m tests.bench.denoise --json [--systems ours,noisy]`.

On 40 clips with real voices that no net of ours has learnt from (`tests.support.dev_set`), means over the clips:

- `pesq_wb`, `pesq_nb`, `estoi`, `sisdr` (dB) against the clean voice; `sig`, `bak`, `ovr`, `p808`: DNSMOS of the result
- `na`: dB that pauses are taken down
- `delay_ms`: by cross-correlation, beyond the 10 ms frame that each of them needs
- `cpu_us_b1`, `cpu_us_b32`: microseconds of CPU per session and 10 ms, alone and with 32 sessions together (the
  others know no batch). `chain_us_b32` is our whole chain, with voice detector, gain and limiter

A system whose package cannot be installed is under `skipped`, with the reason.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.extras import run_with

_HOP = 160


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always so)")
    parser.add_argument("--systems", help="comma-separated; all by default")
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    missing = run_with("bench")
    print(json.dumps(measured(options.systems.split(",") if options.systems else None, missing)))
    return 0


def measured(names: list[str] | None, missing: Mapping[str, str]) -> dict[str, Any]:
    """The whole object."""
    from tests.support import dev_set, dev_sounds
    from tests.support.chain_cost import chain_us
    from tests.support.suppressors import SYSTEMS

    unknown = set(names or ()) - set(SYSTEMS)
    if unknown:
        raise SystemExit(f"--systems: no {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    dev_sounds.fetch()
    clips = list(dev_set.clips())
    out: dict[str, Any] = {"dev": {}, "skipped": {}, "clips": len(clips), "set": dev_set.digest(clips)}
    out["set_as_published"] = out["set"] == dev_set.DIGEST
    for name in names or SYSTEMS:
        say(name)
        try:
            process = SYSTEMS[name].make()
        except (ImportError, OSError) as fault:  # the package, or a library that it brings, is not here
            out["skipped"][name] = f"{fault}; not installed: {dict(missing)}" if missing else str(fault)
            say(f"SKIPPED {name}: {out['skipped'][name]}")
            continue
        batched = SYSTEMS[name].cpu_us_b32
        out["dev"][name] = {**judged(process, clips), "cpu_us_b32": round(batched(), 1) if batched else None}
        say(json.dumps(out["dev"][name]))
    from media import denoise

    out["ours_is"] = denoise.shipped().kind
    out["chain_us_b32"] = round(chain_us(32), 1)
    return out


def judged(process: Any, clips: Sequence[Any]) -> dict[str, Any]:
    """One system on all clips."""
    from tests.support import voice_figures

    heard, lags, spent, frames = [], [], 0.0, 0.0
    for clip in clips:
        sound, seconds = process(clip.noisy)
        heard.append(sound)
        lags.append(voice_figures.delay(clip.noisy, sound))
        spent += seconds
        frames += len(clip.noisy) / _HOP
    lag = int(statistics.median(lags))
    rows = []
    for clip, sound in zip(clips, heard, strict=True):
        clean, noisy = clip.clean.astype("float64"), clip.noisy.astype("float64")
        rows.append(
            voice_figures.figures(clean, noisy, voice_figures.aligned(sound, lag, len(clean)).astype("float64"))
        )
    return {
        **voice_figures.means(rows),
        "delay_ms": round(lag / 16, 1),
        "cpu_us_b1": round(spent / frames * 1e6, 1),
    }


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
