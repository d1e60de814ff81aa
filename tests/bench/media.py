"""What an agent's line costs, delays and loses, and stock aiortc beside it: `python -m tests.bench.media --json`.

A real worker, alone on a core where the machine has two; browsers and the PBX's ends of AudioSockets in a process of
their own (`tests.support.load`), which sends packets that were encoded before: Opus as Chrome's, with FEC inside.
Networks are explicit patterns on the browsers' packets: `loss1`, `loss5`, `loss10` (the same packets each run) and
`jitter60` (0 to 60 ms each, so they overtake each other).

- `sessions_per_core`: so many ran, with an open patch each and the voice chain on, all talking and hearing talk, before
  the worker's ticks were late by 5 ms (p99 of 10 s, where a worker takes no further leg) or one was left out. Legs are
  added step by step; a step that fails is looked at once more, as the neighbours on the machine make ticks late
  too. `steps` are all that ran, `limit` is what ended it: the worker, the load (which has the other core) or `--most`
- `cpu_ms_per_s`: of the worker, per session: median over seconds, from what the kernel counts for the process. Ours and
  stock take turns. `sessions_by_cpu` is 80 % of a core divided by it, for both; stock is not filled step by step
- `mic_to_pbx_ms`: from sending a packet to its first sample at the PBX; `pbx_to_browser_ms`: from the PBX's write to
  the packet's arrival at the browser (whose own buffer comes on top). Bursts of a tone; the voice chain is off, as a
  suppressor rightly removes them: its `voice_chain_ms` come on top of the first. `after_loss10` is the clean network
  again after ten per cent of loss: what is left of the delay. `late_meanwhile_ms` (p99) is how late worker and load
  were themselves: a hold-up of 60 to 100 ms lengthens the buffers of all lines by a frame or two, up to four seconds,
  and that is the p99 of this measurement
- `frames_unconcealed_pct`: frames of 20 ms at the PBX with a hole in a steady vowel (13 dB below its level): neither
  played, nor recovered, nor concealed
- `tick_late_ms`: of the worker's ticks over 10 s, against their schedule, with `sessions_per_core` and with stock's few
- `drift_200ppm_ok`: ten minutes of a sender 200 ppm too fast and too slow, in virtual time, stay below 60 ms and
  without a hole
- `blas`: the kernels that the environment asks of OpenBLAS (`OPENBLAS_CORETYPE`), which the worker inherits; null: its
  own choice. Old ones where the processor has AVX-512 cost the voice chain a fifth
- `load`: what the generator itself took and how late it sent (in real time, where it may, as it stands for other
  machines), and the machine's load average: figures taken on a busy machine are no better than those say
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

from media.frame import HOP, RATE
from media.jitter import JitterBuffer, Kind
from media.messages import Tier
from media.pool import MediaSettings
from tests.support.load import Figures
from tests.support.rig import Rig, cpu_seconds, rig

BUSY = 0.8
"Share of a core that the sessions of an extrapolation may take: the rest is for what comes at once."
LATE = MediaSettings().max_lateness_ms
WINDOW = 10
"Seconds that the worker's 99th percentile looks back."
STEP = 10
LOADED = 0.95
"Share of its core from which on the load is what limits."
ROUNDS = 2
LINES = 6
"Of a measurement of delay or loss."
DELAYS = ("clean", "loss5", "jitter60")
LOSSES = ("loss1", "loss5", "loss10")


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def settings(tier: Tier, *, suppression: bool) -> MediaSettings:
    """One worker that takes whatever comes."""
    return MediaSettings(tier=tier, suppression=suppression, max_lateness_ms=10_000, max_legs_per_worker=1000)


def spread(values: list[float]) -> dict[str, float] | None:
    """p50 and p99 of milliseconds."""
    if len(values) < 2:
        return None
    return {"p50": round(statistics.median(values), 1), "p99": round(statistics.quantiles(values, n=100)[-1], 1)}


async def capacity(tier: Tier, legs: int, seconds: int, rate: int) -> dict[str, Any]:
    """A worker with so many sessions that talk and hear talk, the voice chain on."""
    async with rig(settings(tier, suppression=True)) as one:
        for _ in range(legs):
            await one.add("talk", rate=rate)
        await asyncio.sleep(3)
        began, worker, load = time.monotonic(), cpu_seconds(one.worker.pid), cpu_seconds(one.load.pid)
        costs = await one.costs(seconds)
        heard, took = await one.load.read(), time.monotonic() - began
        found = {
            "costs": costs,
            "late": one.worker.lateness_p99_ms,
            "skipped": one.worker.skipped_ticks,
            "worker_share": round((cpu_seconds(one.worker.pid) - worker) / took, 2),
            "load_share": round((cpu_seconds(one.load.pid) - load) / took, 2),
            "load_late_ms": heard.late_ms,
        }
    say(f"{tier}, {legs} sessions: {statistics.median(costs):.1f} ms/s each; {found}")
    return found


async def costs(legs: int, stock_legs: int, seconds: int, rate: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ours and stock in turns, each as `capacity`."""
    rounds: dict[Tier, list[dict[str, Any]]] = {"fast": [], "stock": []}
    for _ in range(ROUNDS):
        rounds["fast"].append(await capacity("fast", legs, max(1, seconds // ROUNDS), rate))
        rounds["stock"].append(await capacity("stock", stock_legs, max(1, seconds // ROUNDS), rate))
    return _joined(rounds["fast"]), _joined(rounds["stock"])


def _joined(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    best = min(rounds, key=lambda one: one["load_late_ms"])
    return {**best, "cost": statistics.median(cost for one in rounds for cost in one["costs"])}


async def fill(first: int, most: int, rate: int) -> tuple[str, list[dict[str, Any]]]:
    """Legs are added to one worker until its ticks are late: what ended it, and each step."""
    steps: list[dict[str, Any]] = []
    async with rig(settings("fast", suppression=True)) as one:
        while len(one.legs) < most:
            for _ in range(STEP if one.legs else first):
                await one.add("talk", rate=rate)
            steps.append(await step(one))
            if not steps[-1]["punctual"]:
                steps.append(await step(one))
            if steps[-1]["load_share"] > LOADED:
                return "load", steps
            if not steps[-1]["punctual"]:
                return "worker", steps
    return "most", steps


async def step(one: Rig) -> dict[str, Any]:
    """The worker's next ten seconds, with the legs that it has."""
    await asyncio.sleep(1)
    await one.load.do("clear")
    skipped, shares = one.worker.skipped_ticks, [cpu_seconds(one.worker.pid), cpu_seconds(one.load.pid)]
    began = time.monotonic()
    await asyncio.sleep(WINDOW + 0.5)
    took, worker, heard = time.monotonic() - began, one.worker, await one.load.read()
    found = {
        "sessions": len(one.legs),
        "late_p99_ms": worker.lateness_p99_ms,
        "skipped": worker.skipped_ticks - skipped,
        "punctual": worker.lateness_p99_ms < LATE and worker.skipped_ticks == skipped,
        "worker_share": round((cpu_seconds(worker.pid) - shares[0]) / took, 2),
        "load_share": round((cpu_seconds(one.load.pid) - shares[1]) / took, 2),
        "load_late_ms": heard.late_ms,
    }
    say(f"fill: {found}")
    return found


async def lines(one: Rig, sound: str) -> None:
    for _ in range(LINES):
        await one.add(sound, listening=sound == "bursts")


async def delays(tier: Tier, networks: tuple[str, ...], seconds: float) -> tuple[dict[str, Figures], dict[str, Any]]:
    """Both ways through each network, on the same connections, and then without loss again; and how late we were."""
    found, late = {}, {}
    async with rig(settings(tier, suppression=False)) as one:
        await lines(one, "bursts")
        for name in networks:
            found[name] = await one.measure(name, seconds)
            late[name] = {"worker": one.worker.lateness_p99_ms, "load": found[name].late_ms}
            say(f"{tier} {name}: to the PBX {spread(found[name].to_pbx)}, {spread(found[name].to_browser)} back")
        await one.measure("loss10", seconds / 2)
        found["after_loss10"] = await one.measure("clean", seconds, settle=5)
        say(f"{tier} after loss: to the PBX {spread(found['after_loss10'].to_pbx)}")
    return found, late


async def holes(tier: Tier, networks: tuple[str, ...], seconds: float) -> dict[str, float]:
    """Per cent of the frames at the PBX with a hole in a steady vowel."""
    found = {}
    async with rig(settings(tier, suppression=False)) as one:
        await lines(one, "voiced")
        for name in networks:
            heard = await one.measure(name, seconds)
            found[name] = round(100 * heard.holes / max(1, heard.frames), 2)
            say(f"{tier} {name}: {found[name]} % of {heard.frames} frames are holes")
    return found


def drift_ok(ppm: float, minutes: float = 10) -> bool:
    """A sender whose clock differs, in virtual time."""
    buffer, sent, worst, idle = JitterBuffer(), 0, 0.0, 0
    for tick in range(round(minutes * 3000)):
        now = tick * 0.02 + 0.006
        while sent * 0.02 * (1 + ppm * 1e-6) <= now:
            buffer.push(sent * 960, b"x", sent * 0.02 * (1 + ppm * 1e-6))
            sent += 1
        pop = buffer.pop(now, quiet=tick % 75 < 15)
        if tick > 100:
            worst = max(worst, buffer.delay_ms)
            idle += pop.kind is Kind.IDLE
    return worst < 60 and idle == 0


async def bench(legs: int, stock_legs: int, seconds: int, rate: int, first: int, most: int) -> dict[str, Any]:
    """Everything, as one JSON object."""
    limit, steps = await fill(first, most, rate)
    best = max((one for one in steps if one["punctual"]), key=lambda one: one["sessions"], default=None)
    ours, theirs = await costs(legs, stock_legs, seconds, rate)
    delayed, late = await delays("fast", DELAYS, seconds)
    stock, _ = await delays("stock", ("clean", "loss5"), seconds / 2)
    return {
        "sessions_per_core": best["sessions"] if best else 0,
        "limit": limit,
        "sessions_by_cpu": int(BUSY * 1000 / ours["cost"]),
        "stock_sessions_per_core": int(BUSY * 1000 / theirs["cost"]),
        "ratio": round(theirs["cost"] / ours["cost"], 2),
        "cpu_ms_per_s": round(ours["cost"], 2),
        "stock_cpu_ms_per_s": round(theirs["cost"], 2),
        "basis": f"sessions_per_core ran with ticks less than {LATE} ms late (p99) and none left out; those by CPU are"
        f" {BUSY:.0%} of a core over the CPU per session, measured with {legs} sessions ({stock_legs} of stock); all"
        f" talk at once through {rate} Hz AudioSockets, voice chain on",
        "steps": steps,
        "mic_to_pbx_ms": {name: spread(one.to_pbx) for name, one in delayed.items()},
        "stock_mic_to_pbx_ms": {name: spread(one.to_pbx) for name, one in stock.items()},
        "late_meanwhile_ms": late,
        "voice_chain_ms": HOP * 1000 / RATE,
        "pbx_to_browser_ms": {name: spread(one.to_browser) for name, one in delayed.items()},
        "frames_unconcealed_pct": await holes("fast", LOSSES, seconds),
        "stock_frames_unconcealed_pct": await holes("stock", ("loss5",), seconds),
        "tick_late_ms": {"p99": best["late_p99_ms"] if best else None, "stock_p99": theirs["late"]},
        "drift_200ppm_ok": drift_ok(200) and drift_ok(-200),
        "blas": os.environ.get("OPENBLAS_CORETYPE"),
        "load": {
            "share": best["load_share"] if best else None,
            "late_p99_ms": ours["load_late_ms"],
            "cores": os.cpu_count(),
            "machine_1min": round(os.getloadavg()[0], 1),
        },
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--legs", type=int, default=64, help="sessions of the CPU measurement")
    parser.add_argument("--stock-legs", type=int, default=8, help="the same for stock, which is full at 15 to 20")
    parser.add_argument("--seconds", type=int, default=16, help="length of each measurement")
    parser.add_argument("--first", type=int, default=50, help="sessions with which the filling begins")
    parser.add_argument("--most", type=int, default=140, help="sessions at which it ends")
    parser.add_argument("--rate", type=int, default=8000, choices=(8000, 16000), help="Hz of the AudioSockets")
    a = parser.parse_args()
    print(json.dumps(asyncio.run(bench(a.legs, a.stock_legs, a.seconds, a.rate, a.first, a.most))))


if __name__ == "__main__":
    main()
