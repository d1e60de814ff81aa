"""The workers, as the service sees them: places legs, hands on events, replaces a worker that does not answer.

MediaError
 |- LegRefused    the offer cannot be answered; `reason` says why
 |- Overloaded    no worker has room or is on time
 |- LegNotReady   `reason`: no-such-leg connecting no-microphone worker-late already-patched
 '- WorkerFailed  a worker does not start
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from . import messages as m
from .messages import (
    Facts,
    IceServer,
    Intruder,
    LegDown,
    LegUp,
    MediaEvent,
    MediaSettings,
    PatchDown,
    PatchUp,
    Quality,
    WorkerLost,
)

__all__ = [
    "Endpoint", "Facts", "IceServer", "Intruder", "LegDown", "LegNotReady", "LegRefused", "LegUp", "MediaError",
    "MediaEvent", "MediaSettings", "OpenedLeg", "Overloaded", "PatchDown", "PatchUp", "Pool", "Quality",
    "WorkerFailed", "WorkerLost", "WorkerStats",
]  # fmt: skip

log = logging.getLogger(__name__)

PING = 0.25
"Seconds between two pings."
KILL = 1.0
"Seconds without an answer after which a worker is killed."
_STALE = 0.6
"Age of the last answer at which the legs of a worker are no longer called alive."
_LATE = 0.1
_START = 30.0
_REPLY = 10.0
_LINE = 1 << 20
_BACKLOG = 256
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class MediaError(Exception):
    """See the module docstring."""


class LegRefused(MediaError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"the browser's offer is refused: {reason}")
        self.reason = reason


class Overloaded(MediaError):
    pass


class LegNotReady(MediaError):
    def __init__(self, leg: str, reason: str) -> None:
        super().__init__(f"leg {leg} is not ready: {reason}")
        self.reason = reason


class WorkerFailed(MediaError):
    pass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the PBX is told to call. `uuid` is the patch's id, `rate` is in Hz."""

    host: str
    port: int
    uuid: str
    rate: int


@dataclass(frozen=True, slots=True)
class OpenedLeg:
    """`answer` is SDP."""

    leg: str
    answer: str


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker now; the lateness is of its ticks over the last 10 s."""

    worker: int
    pid: int
    legs: int
    patches: int
    lateness_p99_ms: float
    skipped_ticks: int


@dataclass
class _Leg:
    owner: str
    connected: bool = False
    microphone: bool = False
    patches: set[str] = field(default_factory=set)


class _Worker:
    """One process: its pipe, its legs, its pulse."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.process = process
        self.port = 0
        self.legs: dict[str, _Leg] = {}
        self.answered = 0.0
        self.pong = m.Pong(0, 0.0, 0.0, 0)
        self._writer = writer
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[m.Done | m.Opened | m.Refused]] = {}

    def send(self, message: m.Command) -> None:
        if not self._writer.is_closing():
            self._writer.write(m.encode(message))

    def number_request(self) -> int:
        self._requests += 1
        return self._requests

    async def ask(
        self, command: m.OpenLeg | m.CloseLeg | m.SetLeg | m.OpenPatch | m.ClosePatch
    ) -> m.Done | m.Opened | m.Refused:
        """The reply; Refused("worker-lost") if there will be none."""
        reply: asyncio.Future[m.Done | m.Opened | m.Refused] = asyncio.get_running_loop().create_future()
        self._waiting[command.request] = reply
        try:
            self.send(command)
            async with asyncio.timeout(_REPLY):
                return await reply
        except TimeoutError:
            return m.Refused(command.request, "worker-late")
        finally:
            del self._waiting[command.request]

    def replied(self, reply: m.Done | m.Opened | m.Refused) -> None:
        waiting = self._waiting.get(reply.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def lost(self) -> None:
        for request, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_result(m.Refused(request, "worker-lost"))

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()

    def close(self) -> None:
        self._writer.close()


class Pool:
    """`async with Pool(settings) as pool`: inside, the workers run; after it, none is left."""

    def __init__(self, settings: MediaSettings) -> None:
        if settings.workers < 1:
            raise ValueError(f"workers = {settings.workers}: at least 1 is needed")
        if settings.audiosocket_host in ("", "0.0.0.0", "::"):  # noqa: S104  refused, not bound
            raise ValueError(
                f"audiosocket_host = {settings.audiosocket_host!r}: name the address that the PBX can call"
            )
        self._settings = settings
        self._workers: dict[int, _Worker] = {}
        self._places: dict[str, _Worker] = {}
        self._patches: dict[str, tuple[str, _Worker]] = {}
        self._subscribers: set[asyncio.Queue[MediaEvent]] = set()
        self._tasks = asyncio.TaskGroup()
        self._slots: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        ready = [asyncio.get_running_loop().create_future() for _ in range(self._settings.workers)]
        self._slots = [
            self._tasks.create_task(self._keep(number, future), name=f"media worker {number}")
            for number, future in enumerate(ready)
        ]
        try:
            await asyncio.gather(*ready)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self._slots:
            slot.cancel()
        await self._tasks.__aexit__(kind, value, trace)

    async def open_leg(self, offer: str, *, owner: str) -> OpenedLeg:
        """Answer a browser's SDP offer on the worker with the fewest legs; raises LegRefused, Overloaded."""
        worker = self._roomiest()
        leg = secrets.token_urlsafe(9)
        worker.legs[leg] = _Leg(owner)
        self._places[leg] = worker
        reply = await worker.ask(m.OpenLeg(worker.number_request(), leg, offer))
        if isinstance(reply, m.Opened):
            return OpenedLeg(leg, reply.answer)
        self._forget(leg)
        why = reply.why if isinstance(reply, m.Refused) else "no answer"
        raise Overloaded(f"media worker {worker.number}: {why}") if why.startswith("worker-") else LegRefused(why)

    async def close_leg(self, leg: str) -> None:
        """Idempotent; closes its patch too."""
        if worker := self._places.get(leg):
            await worker.ask(m.CloseLeg(worker.number_request(), leg))

    async def set_leg(
        self, leg: str, *, muted: bool | None = None, suppression: bool | None = None, hold: bool | None = None
    ) -> None:
        """None leaves a switch as it is; raises LegNotReady.

        On `hold` the far end hears music and the agent nothing; it ends with the patch. `muted` drops the
        microphone in the worker, `suppression` is the voice chain.
        """
        worker = self._place(leg)
        command = m.SetLeg(worker.number_request(), leg, muted, suppression, hold)
        self._check(leg, await worker.ask(command))

    async def open_patch(self, leg: str, *, rate: int = 8000) -> Endpoint:
        """A fresh endpoint for the PBX, valid for 5 s and one call; raises LegNotReady. `rate`: 8000 or 16000."""
        if reason := self.not_alive_reason(leg):
            raise LegNotReady(leg, reason)
        worker = self._place(leg)
        patch = str(uuid.uuid4())
        # Before the answer, as its events may come first.
        self._patches[patch] = (leg, worker)
        worker.legs[leg].patches.add(patch)
        try:
            self._check(leg, await worker.ask(m.OpenPatch(worker.number_request(), leg, patch, rate)))
        except LegNotReady:
            self._forget_patch(patch)
            raise
        return Endpoint(self._settings.audiosocket_host, worker.port, patch, rate)

    async def close_patch(self, patch: str) -> None:
        """The call goes back to the AI. Idempotent."""
        if patch in self._patches:
            worker = self._patches[patch][1]
            await worker.ask(m.ClosePatch(worker.number_request(), patch))

    def alive(self, leg: str) -> bool:
        """Whether a caller could hear this agent now."""
        return self.not_alive_reason(leg) is None

    def not_alive_reason(self, leg: str) -> str | None:
        """`no-such-leg`, `connecting`, `no-microphone`, `worker-late`, or None if it is alive."""
        worker = self._places.get(leg)
        if worker is None:
            return "no-such-leg"
        state = worker.legs[leg]
        if not state.connected:
            return "connecting"
        age = time.monotonic() - worker.answered
        if age > _STALE or worker.pong.late > _LATE:
            return "worker-late"
        return None if state.microphone else "no-microphone"

    def signal_lost(self, leg: str) -> None:
        """The browser's WebSocket is gone: 300 ms without its microphone close the patch."""
        if worker := self._places.get(leg):
            worker.send(m.Signal(leg, present=False))

    def signal_back(self, leg: str) -> None:
        if worker := self._places.get(leg):
            worker.send(m.Signal(leg, present=True))

    def events(self) -> AsyncIterator[MediaEvent]:
        """Every event from this call on. A reader that falls far behind misses `Quality`, never the rest."""
        queue: asyncio.Queue[MediaEvent] = asyncio.Queue()
        self._subscribers.add(queue)
        return self._read(queue)

    def stats(self) -> list[WorkerStats]:
        """The workers that run now."""
        return [
            WorkerStats(
                worker=worker.number,
                pid=worker.process.pid,
                legs=len(worker.legs),
                patches=sum(len(leg.patches) for leg in worker.legs.values()),
                lateness_p99_ms=round(worker.pong.p99 * 1000, 2),
                skipped_ticks=worker.pong.skipped,
            )
            for worker in self._workers.values()
        ]

    async def _read(self, queue: "asyncio.Queue[MediaEvent]") -> AsyncIterator[MediaEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)

    def _publish(self, event: MediaEvent) -> None:
        for queue in self._subscribers:
            if not (isinstance(event, Quality) and queue.qsize() > _BACKLOG):
                queue.put_nowait(event)

    def _roomiest(self) -> _Worker:
        limit = self._settings.max_legs_per_worker
        late = self._settings.max_lateness_ms / 1000
        # An idle worker is late because of its neighbours on the machine: nobody is served better by refusing.
        fit = (w for w in self._workers.values() if w.pong.p99 <= late or not w.legs)
        free = [w for w in fit if len(w.legs) < limit]
        if not free:
            states = "; ".join(
                f"worker {w.number} has {len(w.legs)} of {limit} legs, ticks {w.pong.p99 * 1000:.1f} ms late"
                for w in self._workers.values()
            )
            raise Overloaded(f"no media worker takes a new leg: {states or 'none is running'}")
        return min(free, key=lambda worker: len(worker.legs))

    def _place(self, leg: str) -> _Worker:
        if worker := self._places.get(leg):
            return worker
        raise LegNotReady(leg, "no-such-leg")

    @staticmethod
    def _check(leg: str, reply: m.Done | m.Opened | m.Refused) -> None:
        if isinstance(reply, m.Refused):
            raise LegNotReady(leg, reply.why)

    def _forget(self, leg: str) -> None:
        if worker := self._places.pop(leg, None):
            del worker.legs[leg]

    def _forget_patch(self, patch: str) -> None:
        leg, worker = self._patches.pop(patch, ("", None))
        if worker is not None and leg in worker.legs:
            worker.legs[leg].patches.discard(patch)

    # The life of a worker

    async def _keep(self, number: int, ready: asyncio.Future[None]) -> None:
        failures = 0
        while True:
            came_up = await self._live(number, ready)
            if not ready.done():
                fault = "it ended before it was ready; its own message is on standard error"
                ready.set_exception(WorkerFailed(f"media worker {number}: {fault}"))
            if ready.exception() is not None:
                return
            failures = 0 if came_up else failures + 1
            await asyncio.sleep(min(5.0, 0.5 * failures))

    async def _live(self, number: int, ready: asyncio.Future[None]) -> bool:
        """From start to end of one process; whether it ever was ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await _spawn(theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE)
        worker = _Worker(number, process, writer)
        worker.send(m.Configure(self._settings))
        try:
            async with asyncio.TaskGroup() as tasks:
                pulse = tasks.create_task(self._feel_pulse(worker))
                # A worker that is killed while it has unread commands resets the pair, and may leave half a line.
                with contextlib.suppress(ConnectionError):
                    while (line := await reader.readline()).endswith(b"\n"):
                        self._heard(worker, m.decode(line), ready)
                pulse.cancel()
        finally:
            # Also on cancellation: whatever happens here, nothing of the worker outlives it.
            worker.kill()
            worker.close()
            self._buried(worker)
            await asyncio.shield(process.wait())
        return worker.port != 0

    async def _feel_pulse(self, worker: _Worker) -> None:
        worker.answered = time.monotonic() + _START
        number = 0
        while True:
            asked = time.monotonic()
            if worker.port:
                number += 1
                worker.send(m.Ping(number))
            await asyncio.sleep(PING)
            now = time.monotonic()
            if now - asked > 2 * PING:
                # We were held up ourselves; the answer may be there and not read yet.
                worker.answered = max(worker.answered, now)
            elif now - worker.answered > KILL:
                age = now - worker.answered
                log.error("media worker %d has not answered for %.2f s and is killed", worker.number, age)
                worker.kill()
                return

    def _heard(self, worker: _Worker, message: m.Command | m.Report, ready: asyncio.Future[None]) -> None:
        match message:
            case m.Ready(port):
                worker.port = port
                worker.answered = time.monotonic()
                self._workers[worker.number] = worker
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
            case m.LegState(leg, connected, microphone):
                if state := worker.legs.get(leg):
                    state.connected, state.microphone = connected, microphone
            case LegDown(leg):
                self._forget(leg)
                self._publish(message)
            case PatchDown(_, patch):
                self._forget_patch(patch)
                self._publish(message)
            case LegUp() | PatchUp() | Intruder() | Quality():
                self._publish(message)
            case _:
                raise TypeError(f"{message!r} came from a worker")

    def _buried(self, worker: _Worker) -> None:
        if self._workers.get(worker.number) is worker:
            del self._workers[worker.number]
        worker.lost()
        legs = tuple(worker.legs)
        for leg in legs:
            for patch in tuple(worker.legs[leg].patches):
                self._forget_patch(patch)
                self._publish(PatchDown(leg, patch, "worker-lost"))
            self._forget(leg)
            self._publish(LegDown(leg, "worker-lost"))
        if worker.port:
            self._publish(WorkerLost(worker.number, legs))


async def _spawn(theirs: socket.socket) -> asyncio.subprocess.Process:
    here = str(Path(__file__).parent.parent)
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
    environment["MALLOC_ARENA_MAX"] = "2"
    environment |= dict.fromkeys(_THREADS, "1")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "media.worker", str(theirs.fileno()),
        pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, env=environment,
    )  # fmt: skip
