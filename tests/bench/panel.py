"""How fast many panels learn what happens in many calls: `python -m tests.bench.panel --json [--minutes 10]`.

The real application with its real services and store in a process of its own, pinned to one core; the PBX is a
stand-in that reports turns, speech and changed calls. The panels are WebSocket clients in this process, on another
core where there is one. Everybody may see every call: each change goes to every panel.

- `delta_ms`: from the moment a change is reported to the moment a panel has read it, on one clock; every turn is timed
- `cpu_core`: the server's processor time by wall time; `rss_mb` its memory, and by how much that grew
- `dropped`: panels that lost their socket, or were so far behind that they got a second snapshot
- `machine_load`: of the last minute. Where others want the cores too, delays are theirs
- `stalled`: one more client that never reads: when it was dropped, and what the others had meanwhile
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from connector.domain.calls import CallId
from connector.domain.events import CallChanged, Talking
from connector.domain.people import Actor, ActorRole
from connector.domain.transcript import Turn
from tests.unit.web.house import House

WORDS = "I would like to know what has become of my order, which should have come last week already. "
AI = Actor("ai", "bot", "ai", ai="acme")
TURNS = 4
ROLES: tuple[ActorRole, ...] = ("agent", "supervisor")
STAMP = re.compile(r'"text":"@(\d+) ')
WARM_UP_S = 5.0


# ---- the server's process ----


async def serve(calls: int, panels: int, rate: float) -> None:
    """Prints where it is and who may come in, then reports its clients every second until its input ends."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        async with House(Path(folder)) as house:
            ids = [house.call(str(number)) for number in range(calls)]
            for call in ids:  # what the transcripts will hold is there from the beginning, so that growth is growth
                for turn in range(TURNS):
                    await house.parts.transcripts.put(AI, call, _turn(turn, final=False))
            secrets = [await _secret(house, number) for number in range(panels + 1)]
            gc.collect()
            gc.freeze()
            print(json.dumps({"url": house.url, "cookie": house.site.cookie, "secrets": secrets}), flush=True)
            async with asyncio.TaskGroup() as tasks:
                working = [tasks.create_task(_feed(house, ids, rate)), tasks.create_task(_report(house))]
                await asyncio.to_thread(sys.stdin.read)
                for task in working:
                    task.cancel()


async def _secret(house: House, number: int) -> str:
    name = f"panel-{number}"
    await house.store.accounts.add(name, name, ROLES[number % len(ROLES)], "no password")
    return (await house.guard.login_once(house.guard.link(name)))[0]


async def _feed(house: House, ids: list[CallId], rate: float) -> None:
    """Of ten changes, five are turns (one of them final), four begin or stop to speak, one changes a call."""
    began = time.monotonic()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        call, kind, turn = ids[number * 7 % len(ids)], number % 10, number // len(ids) % TURNS
        if kind < 5:
            await house.parts.transcripts.put(AI, call, _turn(turn, final=kind == 0))
        elif kind < 9:
            house.registry.apply(Talking(call, "caller", on=not house.registry.talking(call).get("caller", False)))
        else:
            known = house.registry.call(call)
            house.registry.apply(CallChanged(replace(known, recording=f"{number % 1000}.wav")))


def _turn(number: int, *, final: bool) -> Turn:
    return Turn(f"t{number}", "caller", f"@{time.monotonic_ns()} {WORDS}", datetime.now(UTC), final=final)


async def _report(house: House) -> None:
    while True:
        print(json.dumps({"clients": len(house.hub)}), flush=True)
        await asyncio.sleep(0.25)


# ---- the panels' process ----


@dataclass
class Heard:
    """What all panels have heard in one stretch of time; delays by tenths of a millisecond."""

    delays: Counter[int] = field(default_factory=Counter)
    frames: int = 0
    dropped: int = 0

    def quantile(self, part: float) -> float:
        """Milliseconds."""
        wanted, seen = part * self.delays.total(), 0
        for tenths, count in sorted(self.delays.items()):
            seen += count
            if seen >= wanted:
                return tenths / 10
        return 0.0

    def spread(self) -> dict[str, float]:
        """As it is printed."""
        return {"p50": self.quantile(0.5), "p95": self.quantile(0.95), "p99": self.quantile(0.99)}


@dataclass
class Server:
    """The other process, as this one sees it."""

    process: asyncio.subprocess.Process
    url: str
    cookie: str
    secrets: list[str]
    clients: int = 0

    def cpu_s(self) -> float:
        """User and system time."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def headers(self, number: int) -> dict[str, str]:
        """Those of one panel's browser."""
        return {"Cookie": f"{self.cookie}={self.secrets[number]}", "Origin": self.url}


@asynccontextmanager
async def served(options: argparse.Namespace, core: int) -> AsyncIterator[Server]:
    """The server, pinned to one core."""
    numbers = [str(value) for value in (options.calls, options.panels, options.rate)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.panel", "--serve", *numbers),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    os.sched_setaffinity(process.pid, {core})
    first = await process.stdout.readline()
    server = Server(process, **json.loads(first))
    following = asyncio.create_task(_follow(server, process.stdout))
    try:
        yield server
    finally:
        process.stdin.close()
        await process.wait()
        await following


async def _follow(server: Server, lines: asyncio.StreamReader) -> None:
    async for line in lines:
        server.clients = json.loads(line)["clients"]


class Panels:
    """All panels; what they hear goes into `heard`."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.ready = 0

    async def follow(self, client: aiohttp.ClientSession, server: Server, number: int) -> None:
        """One panel, until cancelled."""
        url = f"{server.url}/api/v1/events"
        async with client.ws_connect(url, headers=server.headers(number), max_msg_size=0) as events:
            await events.send_str('{"type":"hello","leg":null}')
            rev = -1
            async for message in events:
                now = time.monotonic_ns()
                text = message.data
                self.heard.frames += 1
                if text.startswith('{"type":"snapshot"'):
                    self.heard.dropped += rev >= 0
                    self.ready += rev < 0
                    rev = 0
                    continue
                for stamp in STAMP.findall(text):
                    self.heard.delays[(now - int(stamp)) // 100_000] += 1
        self.heard.dropped += 1

    def turn_over(self) -> Heard:
        """What was heard until now; from here on it is counted afresh."""
        heard, self.heard = self.heard, Heard()
        return heard


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served(options, cores[0]))
        connector = aiohttp.TCPConnector(limit=0)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        panels, began = Panels(), time.monotonic()
        tasks = [asyncio.create_task(panels.follow(client, server, number)) for number in range(options.panels)]
        try:
            while panels.ready < options.panels:  # noqa: ASYNC110 - a bench
                await asyncio.sleep(0.02)
            all_in = time.monotonic() - began
            await asyncio.sleep(WARM_UP_S)
            figures = await _steady(options, server, panels)
            stalled = await _stalled(options, server, panels)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "calls": options.calls,
        "panels": options.panels,
        "deltas_per_s": options.rate,
        **figures,
        "snapshots_s": round(all_in, 2),
        "machine_load": round(os.getloadavg()[0], 1),
        "stalled": stalled,
    }


async def _steady(options: argparse.Namespace, server: Server, panels: Panels) -> dict[str, Any]:
    panels.turn_over()
    cpu, began, memory = server.cpu_s(), time.monotonic(), [server.rss_mb()]
    seconds = options.minutes * 60
    while time.monotonic() - began < seconds:
        await asyncio.sleep(min(5.0, seconds))
        memory.append(server.rss_mb())
    wall = time.monotonic() - began
    heard = panels.turn_over()
    return {
        "delta_ms": heard.spread(),
        "cpu_core": round((server.cpu_s() - cpu) / wall, 3),
        "rss_mb": round(memory[-1], 1),
        "dropped": heard.dropped,
        "seconds": round(wall, 1),
        "growth_mb": round(memory[-1] - memory[0], 2),
        "growth_mb_per_min": round((memory[-1] - memory[len(memory) // 2]) / (wall / 120), 3),
        "frames_per_s_and_panel": round(heard.frames / wall / options.panels, 1),
        "timed": heard.delays.total(),
    }


async def _stalled(options: argparse.Namespace, server: Server, panels: Panels) -> dict[str, Any]:
    """One more client says hello and never reads."""
    panels.turn_over()
    host, port = server.url.removeprefix("http://").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((host, int(port)))
    before, began = server.rss_mb(), time.monotonic()
    with contextlib.closing(raw):
        lines = [
            "GET /api/v1/events HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            *(f"{name}: {value}" for name, value in server.headers(options.panels).items()),
        ]
        raw.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        hello = b'{"type":"hello","leg":null}'
        raw.sendall(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)  # masked with zeros (RFC 6455, 5.3)
        peak, joined = before, False
        while time.monotonic() - began < 40 and not (joined and server.clients <= options.panels):
            await asyncio.sleep(0.25)
            joined = joined or server.clients > options.panels
            peak = max(peak, server.rss_mb())
    return {
        "joined": joined,
        "dropped_after_s": round(time.monotonic() - began, 1) if server.clients <= options.panels else None,
        "others_delta_ms": panels.heard.spread(),
        "others_dropped": panels.heard.dropped,
        "memory_mb": round(peak - before, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.panel", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--panels", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200, help="changes per second")
    parser.add_argument("--minutes", type=float, default=0.5, help="of steady running; growth shows in 10")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    factory = None
    with contextlib.suppress(ImportError):  # as the service: the extra `fast`
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        if options.serve:
            runner.run(serve(int(options.serve[0]), int(options.serve[1]), float(options.serve[2])))
            return
        figures = runner.run(measure(options))
    print(json.dumps(figures, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
