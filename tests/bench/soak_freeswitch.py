"""Many takeovers at once for minutes on a FreeSWITCH: `python -m tests.bench.soak_freeswitch --json [--minutes 6]`.

The whole real path as in `tests.bench.switch`, every call in takeover by an agent of its own, the topologies in turn.

- `delay_ms`: one way, as there; each leg's first and last (medians of the rounds in its first and last quarter), and
  `drift`, the difference of the two per leg: what built up
- `processes`: memory (RSS), threads and open files of service, media worker and FreeSWITCH, when all calls were up, and
  before they were given back; and `after`, when all calls had ended
- `rtp`: of all that the callers received; `channels` of the PBX in the middle and after the last call
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.figures import spread
from tests.support.fleet import AgentFailed
from tests.support.freeswitch import TOPOLOGIES, FsLab, Instance
from tests.support.hearing import sequence_breaks
from tests.support.stack import Stack, Taken
from web.demo import freeswitch as demo

from .switch import one_way, say

CALLS = 20
WAYS = ("agent_to_caller", "caller_to_agent")
AT_ONCE = 4
"""Delays that are measured at once: all twenty would be a load of their own."""
PAUSE_S = 5.0

Use = dict[str, dict[str, float]]
Delays = dict[str, dict[int, list[float]]]


def use(pids: dict[str, int]) -> Use:
    """What each process needs now."""
    return {name: _of(Path("/proc") / str(pid)) for name, pid in pids.items()}


def _of(process: Path) -> dict[str, float]:
    facts = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {
        "rss_mib": round(int(facts["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(facts["Threads"]),
        "fds": len(list((process / "fd").iterdir())),
    }


async def measure(taken: Sequence[Taken], until: float, faults: list[str]) -> Delays:
    """Every leg's delays, again and again; what could not be measured is told in `faults`."""
    found: Delays = {way: defaultdict(list) for way in WAYS}
    slots, there = asyncio.Semaphore(AT_ONCE), set(range(len(taken)))

    async def one(number: int) -> None:
        async with slots:
            try:
                delays = await one_way(taken[number])
            except AgentFailed as error:  # its leg has ended, which is told below: the others go on
                faults.append(str(error))
                there.discard(number)
                return
        for way, value in zip(WAYS, delays, strict=True):
            if value is not None:
                found[way][number].append(value)

    rounds = 0
    while there and time.monotonic() < until:
        await asyncio.gather(*(one(number) for number in sorted(there)))
        rounds += 1
        last = [values[-1] for values in found[WAYS[0]].values()]
        say(f"round {rounds}: agent to caller {spread(last)}, {max(0.0, until - time.monotonic()):.0f} s to go")
        await asyncio.sleep(PAUSE_S)
    return found


def drift(legs: dict[int, list[float]]) -> dict[str, Any]:
    """First, last and their difference over all legs."""
    quarter = {leg: max(1, len(values) // 4) for leg, values in legs.items() if values}
    first = {leg: statistics.median(legs[leg][:count]) for leg, count in quarter.items()}
    last = {leg: statistics.median(legs[leg][-count:]) for leg, count in quarter.items()}
    return {
        "legs": len(quarter),
        "rounds": min((len(legs[leg]) for leg in quarter), default=0),
        "first": spread(first.values()),
        "last": spread(last.values()),
        "drift": spread(last[leg] - first[leg] for leg in quarter),
    }


def rtp(taken: Sequence[Taken], since: float, until: float) -> dict[str, Any]:
    """What the callers received."""
    reports = [one.call.caller.media.report(since, until) for one in taken]
    return {
        "lost": sum(report.lost for report in reports),
        "sequence_breaks": sum(sequence_breaks(one.call.caller.media.packets, since) for one in taken),
        "ssrc_changes": sum(report.ssrc_changes for report in reports),
        "reinvites": sum(one.call.caller.reinvites for one in taken),
        "max_gap_ms": round(max(report.max_gap_ms for report in reports), 1),
    }


async def bench(count: int, minutes: float, topologies: Sequence[str]) -> dict[str, Any]:
    """Everything, as one JSON object."""
    found = demo.find()
    chosen = [topology for topology in TOPOLOGIES if topology in topologies]
    async with Instance(found.program.parents[1]) as instance:
        lab = FsLab(instance, fallback=True, topologies=chosen)
        async with Stack(lab, staff=count) as stack:
            taken = await stack.take(count)
            pids = {"service": stack.server.pid, "worker": stack.workers()[0], "freeswitch": instance.pid}
            since, first, channels = time.monotonic(), use(pids), len(await lab.channels())
            say(f"{count} takeovers, {channels} channels: {first}")
            faults: list[str] = []
            delays = await measure(taken, since + minutes * 60, faults)
            faults += [f"{one.call.topology}: the call ended" for one in taken if one.call.caller.ended.is_set()]
            for one in taken:
                ended = (await one.agent.ended()).get(one.engagement)
                faults += [] if ended is None else [f"{one.call.topology}: the engagement ended: {ended[1]}"]
            last, stream = use(pids), rtp(taken, since, time.monotonic())
            for one in taken:
                reply = await one.agent.release(one.engagement)
                faults += [] if reply.status == 204 else [f"release: {reply.status} {reply.body}"]
            await asyncio.gather(*(one.call.hangup() for one in taken))
            with suppress(AssertionError):  # counted instead
                await lab.no_channels()
            return {
                "pbx": f"freeswitch {found.version}",
                "calls": count,
                "minutes": minutes,
                "delay_ms": {way: drift(delays[way]) for way in WAYS},
                "processes": {"first": first, "last": last, "after": use(pids)},
                "channels": {"during": channels, "after": len(await lab.channels())},
                "rtp": stream,
                **({"faults": faults} if faults else {}),
            }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak_freeswitch", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--n", type=int, default=CALLS, help="takeovers at once")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--topologies", default=",".join(TOPOLOGIES), help="which, separated by commas")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(bench(arguments.n, arguments.minutes, arguments.topologies.split(",")))))


if __name__ == "__main__":
    main()
