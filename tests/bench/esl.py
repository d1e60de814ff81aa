"""How free the service's loop stays under a flood of ESL events: `python -m tests.bench.esl --json [--n 100000]`.

A FreeSWITCH in memory, in a process of its own, sends as fast as it can: digits, calls that begin and end, hostile
bytes. The adapter and the registry take all of it. `loop_lag_ms`: how late a sleep of 2 ms returned meanwhile;
`registry_equal`: whether the registry has exactly the exchange's calls afterwards.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from connector.domain.events import HumanAsked, SnapshotTaken
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.services.registry import Registry
from tests.support.esl_server import event, framed
from tests.support.fake_esl import FakeFreeSwitch
from tests.support.figures import quantile

COUNT = 100_000
BATCH, CALLS = 500, 50
STEP_S = 0.002
END = "flood-is-over"
HOSTILE = (
    event("DTMF", **{"Caller-Caller-ID-Name": "x\nUnique-ID: forged\nEvent-Name: CHANNEL_HANGUP_COMPLETE"}),
    framed(b"Event-Name: CHANNEL_BRIDGE\nUnique-ID: forged\nCaller-Name: \xff\xfe%ff%0A\n\n"),
    framed(b'{"Event-Name": "CHANNEL_HANGUP_COMPLETE"}', "text/event-json"),
    framed(b"no header at all"),
    framed(b"\xff\xfe\x00", "log/data"),
)


@dataclass(frozen=True)
class Flood:
    """What a flood did."""

    events: int
    seconds: float
    lags: list[float]
    """Seconds, of each sleep."""
    registry_equal: bool
    calls: int

    def figures(self) -> dict[str, Any]:
        """As the bench prints them."""
        shares = {"p50": 0.50, "p99": 0.99, "max": 1.0}
        return {
            "events": self.events,
            "events_per_s": round(self.events / self.seconds),
            "loop_lag_ms": {name: round(quantile(self.lags, share) * 1000, 1) for name, share in shares.items()},
            "calls": self.calls,
            "registry_equal": self.registry_equal,
        }


async def flooded(count: int) -> Flood:
    """Sends `count` events through adapter and registry."""
    async with _exchange(count) as (port, process):
        assert process.stdin is not None
        assert process.stdout is not None
        rules = (("bot", "^sofia/internal/ai-"),)
        pbx = FreeSwitchPbx("main", FreeSwitchSettings("right", port=port, ais=rules), "bench")
        registry, ready, over = Registry(["main"], "bench"), asyncio.Event(), asyncio.Event()

        async def take() -> None:
            async for one in pbx.events():
                registry.apply(one)
                if isinstance(one, SnapshotTaken):
                    ready.set()
                if isinstance(one, HumanAsked) and one.reason == END:
                    over.set()

        lags: list[float] = []
        tasks = [asyncio.create_task(take()), asyncio.create_task(_feel(lags))]
        try:
            async with asyncio.timeout(300):
                await ready.wait()
                lags.clear()
                begun = time.monotonic()
                process.stdin.write(b"go\n")
                await over.wait()
                seconds, felt = time.monotonic() - begun, list(lags)
                truth = json.loads(await process.stdout.readline())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        shown = {str(call.id).partition("~")[2] for call in registry.calls()}
        return Flood(count, seconds, felt, shown == set(truth), len(truth))


async def _feel(lags: list[float]) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(STEP_S)
        lags.append(time.monotonic() - before - STEP_S)


@contextlib.asynccontextmanager
async def _exchange(count: int) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.esl", "--exchange", "--n", str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), process
    finally:
        process.stdin.close()
        await process.wait()


async def serve(count: int) -> None:
    """The exchange: says its port, waits for a line, floods, says which callers it has, and waits for the end."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with FakeFreeSwitch() as fake:
        print(fake.port, flush=True)
        if await lines.readline():
            callers = await _flood(fake, count)
            print(json.dumps(callers), flush=True)
            await lines.read()


async def _flood(fake: FakeFreeSwitch, count: int) -> list[str]:
    callers = [fake.call()]
    for start in range(0, count, BATCH):
        callers.append(fake.call())
        if len(callers) > CALLS:
            fake.hangup(callers.pop(0))
        fake.say(b"".join(HOSTILE))
        for number in range(BATCH - len(HOSTILE) - 5):  # a call that begins and one that ends are five events
            fake.tell("DTMF", callers[(start + number) % len(callers)], **{"DTMF-Digit": str(number % 10)})
        await fake.drained()
    fake.tell("takeover::request", callers[-1], **{"Takeover-Reason": END})
    return callers


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.esl", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--n", type=int, default=COUNT, help="events")
    parser.add_argument("--exchange", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.exchange:
        asyncio.run(serve(arguments.n))
    else:
        print(json.dumps(asyncio.run(flooded(arguments.n)).figures()))


if __name__ == "__main__":
    main()
