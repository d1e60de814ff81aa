"""Whether a media worker grows: `python -m tests.bench.media_soak --json [--minutes 30]`.

Browsers come and go, each with a call, as they do in a day of work: the oldest line leaves every few seconds and a new
one takes its place. Memory (RSS), threads and descriptors of the worker are read twice a minute.

- `memory_mb`, `threads`, `descriptors`: `first` and `last` are medians of the first and last quarter of the readings,
  after a warm-up of a tenth
- `grows`: what of it is more at the end than at the start, by more than 3 % of memory or any thread or descriptor
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from media.pool import MediaSettings
from tests.support.rig import Rig, rig

READ = 30.0
SLACK = 0.03


def reading(pid: int) -> dict[str, float]:
    """Now, from the kernel."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "memory_mb": int(told["VmRSS"].split()[0]) / 1024,
        "threads": int(told["Threads"]),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


async def change(one: Rig, lines: int, every: float, until: float) -> int:
    """Lines come and go until a moment; how many there were."""
    count = 0
    while time.monotonic() < until:
        if len(one.legs) >= lines:
            await one.drop(one.legs[0])
        await one.add("talk")
        count += 1
        await asyncio.sleep(every)
    return count


async def bench(minutes: float, lines: int, every: float) -> dict[str, Any]:
    """Everything, as one JSON object."""
    settings = MediaSettings(max_lateness_ms=10_000)
    readings = []
    async with rig(settings) as one:
        pid, began = one.worker.pid, time.monotonic()
        for _ in range(lines):
            await one.add("talk")
        changing = asyncio.create_task(change(one, lines, every, began + minutes * 60), name="lines")
        while not changing.done():
            await asyncio.wait([changing], timeout=min(READ, minutes))
            readings.append(reading(pid))
            print(f"{(time.monotonic() - began) / 60:.1f} min: {readings[-1]}", file=sys.stderr, flush=True)
        count = await changing
        same = one.worker.pid == pid
    return {"minutes": minutes, "lines": count + lines, "at_once": lines, "same_worker": same, **told(readings)}


def told(readings: list[dict[str, float]]) -> dict[str, Any]:
    """First and last, and what grows."""
    warm = readings[len(readings) // 10 :]
    part = max(1, len(warm) // 4)
    found = {
        name: {
            "first": round(statistics.median(one[name] for one in warm[:part]), 1),
            "last": round(statistics.median(one[name] for one in warm[-part:]), 1),
        }
        for name in readings[0]
    }
    grows = [
        name
        for name, one in found.items()
        if one["last"] > one["first"] * (1 + (SLACK if name == "memory_mb" else 0.0))
    ]
    return {**found, "grows": grows}


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media_soak", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--lines", type=int, default=4, help="at once")
    parser.add_argument("--every", type=float, default=5, help="seconds from one that goes to the next")
    a = parser.parse_args()
    print(json.dumps(asyncio.run(bench(a.minutes, a.lines, a.every))))


if __name__ == "__main__":
    main()
