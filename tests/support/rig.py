"""A media worker by itself on one core, and a load for it on another."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from media.pool import MediaSettings, Pool, WorkerStats

from .load import LINE, Figures

ROOT = Path(__file__).parents[2]


class LoadFailed(Exception):
    """What the load was asked failed in its process; the text is the fault there."""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; the kernel counts in 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load:
    """`tests.support.load` from outside. One command at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process
        self._numbers = itertools.count(1)

    async def do(self, do: str, /, **arguments: Any) -> Any:
        """Raises LoadFailed."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        number = next(self._numbers)
        stdin.write(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n")
        async with asyncio.timeout(60):
            answer = await stdout.readline()
        if not answer:
            raise LoadFailed(f"{do}: the load's process is gone")
        said = json.loads(answer)
        if "fault" in said:
            raise LoadFailed(f"{do}: {said['fault']}")
        return said["value"]

    async def read(self) -> Figures:
        return Figures(**await self.do("read"))


class Rig:
    """One worker and its lines."""

    def __init__(self, pool: Pool, load: Load) -> None:
        self.pool, self.load = pool, load
        self.legs: list[str] = []
        self._names = itertools.count()
        self._lines: dict[str, str] = {}

    @property
    def worker(self) -> WorkerStats:
        """Raises IndexError when there is none."""
        return self.pool.stats()[0]

    async def add(self, sound: str, *, listening: bool = False, rate: int = 8000) -> str:
        """A line with its patch open; its leg."""
        name = str(next(self._names))
        offer = await self.load.do("offer", line=name, sound=sound, listening=listening)
        opened = await self.pool.open_leg(offer, owner="bench")
        await self.load.do("accept", line=name, answer=opened.answer)
        async with asyncio.timeout(30):
            while not self.pool.alive(opened.leg):  # noqa: ASYNC110  as the readiness gate asks
                await asyncio.sleep(0.02)
        endpoint = await self.pool.open_patch(opened.leg, rate=rate)
        await self.load.do("call", line=name, host=endpoint.host, port=endpoint.port, patch=endpoint.uuid, rate=rate)
        self.legs.append(opened.leg)
        self._lines[opened.leg] = name
        return opened.leg

    async def drop(self, leg: str) -> None:
        """The browser goes, then the leg."""
        self.legs.remove(leg)
        await self.load.do("leave", line=self._lines.pop(leg))
        await self.pool.close_leg(leg)

    async def measure(self, network: str, seconds: float, settle: float = 3.0) -> Figures:
        """What arrives through a network."""
        await self.load.do("network", name=network)
        await asyncio.sleep(settle)
        await self.load.do("clear")
        await asyncio.sleep(seconds)
        return await self.load.read()

    async def costs(self, seconds: int) -> list[float]:
        """CPU of the worker in each second, milliseconds per line and second: per 50 frames that it took of each side,
        so that a second in which the load itself did not get to send is not counted as cheap."""
        found = []
        for _ in range(seconds):
            await self.load.do("clear")
            before = cpu_seconds(self.worker.pid)
            await asyncio.sleep(1)
            spent = cpu_seconds(self.worker.pid) - before
            heard = await self.load.read()
            found.append(spent * 1000 * 50 / max(1.0, (heard.frames + heard.packets) / 2))
        return found


def go_first(pid: int) -> None:
    """Before other sessions of the machine, where we may (root, Linux): its neighbours are not what is measured."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")


def be_punctual(pid: int) -> None:
    """In real time, where we may: the load stands for other machines, and its own lateness would be taken for jitter of
    the network. The worker gets nothing that it has not in service."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


@asynccontextmanager
async def rig(settings: MediaSettings) -> AsyncIterator[Rig]:
    """The worker has the last core of the machine for itself as far as we are concerned, where there are two."""
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"),
        *(sys.executable, "-m", "tests.support.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=LINE,
        start_new_session=True,  # a share of the machine of its own, see `media.supervisor`
    )
    cores = os.sched_getaffinity(0)
    try:
        async with Pool(settings) as pool:
            for pid in (process.pid, pool.stats()[0].pid):
                go_first(pid)
                await asyncio.sleep(0.2)  # the kernel takes no two of these at once
            if len(cores) > 1:
                os.sched_setaffinity(pool.stats()[0].pid, {max(cores)})
                for pid in (0, process.pid):
                    os.sched_setaffinity(pid, cores - {max(cores)})
                be_punctual(process.pid)
            yield Rig(pool, Load(process))
    finally:
        os.sched_setaffinity(0, cores)
        if process.returncode is None:
            process.kill()
        await process.wait()
