"""The life of a worker process: started, pinged, killed when it does not answer, started again. Knows of no legs."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Protocol

from . import messages as m
from .errors import WorkerFailed
from .pulse import Silence, cpu_if_waiting

log = logging.getLogger(__name__)

PING = 0.25
"Seconds between two pings."
KILL = 1.0
"""Seconds without an answer after which a worker is killed, those not counted in which we were held up ourselves or it
got no core. A hundred legs beside six tasks of the same precedence on two cores: 0.5 at most (measured)."""
_LAST_LOOK = 0.05
"Seconds for what may lie in the pipe, not read yet."
_START = 30.0
_REPLY = 10.0
_LINE = 1 << 20
_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""For glibc, others do not mind. What is freed is kept: each matrix of a large batch came fresh from the kernel, page
by page, 62 us per session and tick in a batch of 64, 38 without. Huge pages, where the kernel gives them to those who
ask: a tick walks through the states of all its legs, and 4 to 8 % of the CPU went to finding their pages (measured)."""
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Request = m.OpenLeg | m.CloseLeg | m.SetLeg | m.OpenPatch | m.ClosePatch
Reply = m.Done | m.Opened | m.Refused


class House(Protocol):
    """Whom `keep` tells, on the event loop."""

    def worker_ready(self, worker: "Worker") -> None: ...
    def worker_said(self, worker: "Worker", report: m.Report) -> None:
        """Everything that is no answer to a ping or a request."""

    def worker_gone(self, worker: "Worker") -> None:
        """It is dead, or was never ready; its requests are answered, its legs are not told yet."""


class Worker:
    """One process: its pipe and its pulse."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.process = process
        self.port = 0
        "Where it listens for the PBX; 0 until it is ready."
        self.sip_port = 0
        self.tier: m.Tier = "fast"
        self.answered = 0.0
        self.pong = m.Pong(0, 0.0, 0.0, 0)
        self._writer = writer
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[Reply]] = {}

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self.answered

    def send(self, message: m.Command) -> None:
        if not self._writer.is_closing():
            self._writer.write(m.encode(message))

    def number_request(self) -> int:
        self._requests += 1
        return self._requests

    async def ask(self, command: Request) -> Reply:
        """The reply; Refused("worker-lost") if there will be none."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[command.request] = reply
        try:
            self.send(command)
            async with asyncio.timeout(_REPLY):
                return await reply
        except TimeoutError:
            return m.Refused(command.request, "worker-late")
        finally:
            del self._waiting[command.request]

    def replied(self, reply: Reply) -> None:
        waiting = self._waiting.get(reply.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def end(self) -> None:
        """Kill it, close the pipe, and answer whoever waits. Idempotent."""
        self.kill()
        self._writer.close()
        for request, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_result(m.Refused(request, "worker-lost"))

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


async def keep(number: int, settings: m.MediaSettings, house: House, ready: asyncio.Future[None]) -> None:
    """Runs worker `number` for ever, a new process after each that ended.

    `ready` gets the first start's outcome: a result, or WorkerFailed, after which this returns.
    """
    failures = 0
    while True:
        came_up = await _live(number, settings, house, ready)
        if not ready.done():
            fault = "it ended before it was ready; its own message is on standard error"
            ready.set_exception(WorkerFailed(f"media worker {number}: {fault}"))
        if ready.exception() is not None:
            return
        failures = 0 if came_up else failures + 1
        await asyncio.sleep(min(5.0, 0.5 * failures))


async def _live(number: int, settings: m.MediaSettings, house: House, ready: asyncio.Future[None]) -> bool:
    """From start to end of one process; whether it ever was ready."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await _spawn(theirs)
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE)
    worker = Worker(number, process, writer)
    worker.send(m.Configure(settings))
    try:
        async with asyncio.TaskGroup() as tasks:
            pulse = tasks.create_task(_feel_pulse(worker))
            # A worker that is killed while it has unread commands resets the pair, and may leave half a line.
            with contextlib.suppress(ConnectionError):
                while (line := await reader.readline()).endswith(b"\n"):
                    _heard(worker, m.decode(line), house, ready)
            pulse.cancel()
    finally:
        # Also on cancellation: whatever happens here, nothing of the worker outlives it.
        worker.end()
        house.worker_gone(worker)
        code = await asyncio.shield(process.wait())
    if worker.port:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        log.error("media worker %d has ended %s, and a new one is started", number, how)
    return worker.port != 0


async def _feel_pulse(worker: Worker) -> None:
    worker.answered = time.monotonic() + _START
    number, silence = 0, Silence(KILL)
    while True:
        asked = time.monotonic()
        if worker.port:
            number += 1
            worker.send(m.Ping(number))
        await asyncio.sleep(PING)
        took = time.monotonic() - asked
        if asked < worker.answered:
            silence.ended()
        elif took <= 2 * PING:
            silence.add(took, cpu_if_waiting(worker.process.pid))
        # Else we were held up ourselves, and the answer may be there, not read yet: that says nothing of the worker.
        if silence.over:
            await asyncio.sleep(_LAST_LOOK)
            if asked < worker.answered:
                silence.ended()
                continue
            log.error("media worker %d has not answered for %.2f s and is killed", worker.number, silence.lasted)
            worker.kill()
            return


def _heard(worker: Worker, message: m.Command | m.Report, house: House, ready: asyncio.Future[None]) -> None:
    match message:
        case m.Ready(port, sip_port, tier, why):
            worker.tier = tier
            if why:
                log.error("media worker %d falls back to aiortc's own, slower path: %s", worker.number, why)
            worker.port, worker.sip_port = port, sip_port
            worker.answered = time.monotonic()
            house.worker_ready(worker)
            if not ready.done():
                ready.set_result(None)
        case m.Failed(why):
            log.error("media worker %d cannot start: %s", worker.number, why)
            if not ready.done():
                ready.set_exception(WorkerFailed(f"media worker {worker.number}: {why}"))
        case m.Pong():
            worker.pong = message
            worker.answered = time.monotonic()
        case m.Done() | m.Opened() | m.Refused():
            worker.replied(message)
        case _ if isinstance(message, m.Report):
            house.worker_said(worker, message)
        case _:
            raise TypeError(f"{message!r} came from a worker")


async def _spawn(theirs: socket.socket) -> asyncio.subprocess.Process:
    here = str(Path(__file__).parent.parent)
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
    environment |= _MEMORY | dict.fromkeys(_THREADS, "1")
    # A session of its own, as the kernel gives each session (autogroup) its share of the machine: within ours the
    # worker, which goes first, left so little to the service on another core that it came seconds late (measured).
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "media.worker", str(theirs.fileno()),
        pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, env=environment, start_new_session=True,
    )  # fmt: skip
