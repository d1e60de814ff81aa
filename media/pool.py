"""The media side as the service sees it: places legs on workers, hands on their events. Its errors are in `errors`."""

import asyncio
import secrets
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from . import messages as m
from .errors import LegNotReady, LegRefused, MediaError, Overloaded, WorkerFailed
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
    Utterance,
    WorkerLost,
)
from .supervisor import Reply, Worker, keep

__all__ = [
    "Endpoint", "Facts", "IceServer", "Intruder", "LegDown", "LegNotReady", "LegRefused", "LegUp", "MediaError",
    "MediaEvent", "MediaSettings", "OpenedLeg", "Overloaded", "PatchDown", "PatchUp", "Pool", "Quality",
    "Totals", "Utterance", "WorkerFailed", "WorkerLost", "WorkerStats",
]  # fmt: skip

_STALE = 0.6
"Age of the last answer at which the legs of a worker are no longer called alive."
_LATE = 0.1
_BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the PBX is told to call. `uuid` is the patch's id, `rate` is in Hz, `sip_port` is 0 without SIP."""

    host: str
    port: int
    uuid: str
    rate: int
    sip_port: int = 0


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
    tier: m.Tier
    admits: bool = True
    "Whether it takes a new leg."


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened since the pool began, lines that are gone included. `lines` are the counts of `Facts`, added up."""

    lines: Mapping[str, int]
    refused: int
    "Legs that no worker took."
    workers_lost: int


_COUNTS = (
    "packets_in", "packets_out", "late",
    "played", "recovered", "concealed", "stretched", "shrunk", "underruns", "noise",
    "patch_sent", "patch_received", "patch_unsent",
)  # fmt: skip
"Those fields of `Facts` that only grow while their line, connection or patch stands."


@dataclass
class _Leg:
    owner: str
    worker: Worker
    connected: bool = False
    microphone: bool = False
    patches: set[str] = field(default_factory=set)
    facts: Facts | None = None
    "Of its last second."


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
        self._workers: dict[int, Worker] = {}
        self._legs: dict[str, _Leg] = {}
        self._patches: dict[str, str] = {}
        "The leg of each."
        self._counted: Counter[str] = Counter()
        self._refused = self._workers_lost = 0
        self._subscribers: set[asyncio.Queue[MediaEvent]] = set()
        self._tasks = asyncio.TaskGroup()
        self._slots: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        ready = [asyncio.get_running_loop().create_future() for _ in range(self._settings.workers)]
        self._slots = [
            self._tasks.create_task(keep(number, self._settings, self, future), name=f"media worker {number}")
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
        self._legs[leg] = _Leg(owner, worker)
        reply = await worker.ask(m.OpenLeg(worker.number_request(), leg, offer))
        if isinstance(reply, m.Opened):
            return OpenedLeg(leg, reply.answer)
        self._legs.pop(leg, None)
        why = reply.why if isinstance(reply, m.Refused) else "no answer"
        raise Overloaded(f"media worker {worker.number}: {why}") if why.startswith("worker-") else LegRefused(why)

    async def renew_leg(self, leg: str, offer: str) -> OpenedLeg:
        """Answer a new offer of the same browser, after its network has changed: leg and patch stay, and the new
        connection takes the old one's place (another `LegUp`) when it stands. Raises LegNotReady, LegRefused."""
        worker = self._leg(leg).worker
        reply = await worker.ask(m.OpenLeg(worker.number_request(), leg, offer))
        if isinstance(reply, m.Opened):
            return OpenedLeg(leg, reply.answer)
        why = reply.why if isinstance(reply, m.Refused) else "no answer"
        raise LegNotReady(leg, why) if why in ("no-such-leg", "worker-lost", "worker-late") else LegRefused(why)

    async def close_leg(self, leg: str) -> None:
        """Idempotent; closes its patch too."""
        if state := self._legs.get(leg):
            await state.worker.ask(m.CloseLeg(state.worker.number_request(), leg))

    async def set_leg(
        self, leg: str, *, muted: bool | None = None, suppression: bool | None = None, hold: bool | None = None
    ) -> None:
        """None leaves a switch as it is; raises LegNotReady.

        On `hold` the far end hears music and the agent nothing; it ends with the patch. `muted` drops the
        microphone in the worker, `suppression` is the voice chain.
        """
        worker = self._leg(leg).worker
        command = m.SetLeg(worker.number_request(), leg, muted, suppression, hold)
        self._check(leg, await worker.ask(command))

    async def open_patch(self, leg: str, *, rate: int = 8000) -> Endpoint:
        """A fresh endpoint for the PBX, valid for 5 s and one call; raises LegNotReady. `rate`: 8000 or 16000."""
        if reason := self.not_alive_reason(leg):
            raise LegNotReady(leg, reason)
        state = self._leg(leg)
        worker, patch = state.worker, str(uuid.uuid4())
        # Before the answer, as its events may come first.
        self._patches[patch] = leg
        state.patches.add(patch)
        try:
            self._check(leg, await worker.ask(m.OpenPatch(worker.number_request(), leg, patch, rate)))
        except LegNotReady:
            self._forget_patch(patch)
            raise
        return Endpoint(self._settings.audiosocket_host, worker.port, patch, rate, worker.sip_port)

    async def close_patch(self, patch: str) -> None:
        """The call goes back to the AI. Idempotent."""
        if state := self._legs.get(self._patches.get(patch, "")):
            await state.worker.ask(m.ClosePatch(state.worker.number_request(), patch))

    def alive(self, leg: str) -> bool:
        """Whether a caller could hear this agent now."""
        return self.not_alive_reason(leg) is None

    def not_alive_reason(self, leg: str) -> str | None:
        """`no-such-leg`, `connecting`, `no-microphone`, `worker-late`, or None if it is alive."""
        state = self._legs.get(leg)
        if state is None:
            return "no-such-leg"
        if not state.connected:
            return "connecting"
        if state.worker.silence > _STALE or state.worker.pong.late > _LATE:
            return "worker-late"
        return None if state.microphone else "no-microphone"

    def signal_lost(self, leg: str) -> None:
        """The browser's WebSocket is gone: 300 ms without its microphone close the patch."""
        if state := self._legs.get(leg):
            state.worker.send(m.Signal(leg, present=False))

    def signal_back(self, leg: str) -> None:
        if state := self._legs.get(leg):
            state.worker.send(m.Signal(leg, present=True))

    def events(self) -> AsyncIterator[MediaEvent]:
        """Every event from this call on. A reader far behind misses `Quality` and `Utterance`, never the rest."""
        queue: asyncio.Queue[MediaEvent] = asyncio.Queue()
        self._subscribers.add(queue)
        return self._read(queue)

    def stats(self) -> list[WorkerStats]:
        """The workers that run now."""
        return [
            WorkerStats(
                worker=worker.number,
                pid=worker.process.pid,
                legs=self._load(worker),
                patches=sum(len(leg.patches) for leg in self._legs.values() if leg.worker is worker),
                lateness_p99_ms=round(worker.pong.p99 * 1000, 2),
                skipped_ticks=worker.pong.skipped,
                tier=worker.tier,
                admits=self._admits(worker),
            )
            for worker in self._workers.values()
        ]

    def lines(self) -> list[Facts]:
        """The last second of every leg that stands."""
        return [leg.facts for leg in self._legs.values() if leg.facts is not None and leg.facts.connected]

    def totals(self) -> Totals:
        """Since the start."""
        return Totals(dict(self._counted), self._refused, self._workers_lost)

    async def _read(self, queue: "asyncio.Queue[MediaEvent]") -> AsyncIterator[MediaEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)

    def _publish(self, event: MediaEvent) -> None:
        for queue in self._subscribers:
            if not (isinstance(event, Quality | Utterance) and queue.qsize() > _BACKLOG):
                queue.put_nowait(event)

    def _load(self, worker: Worker) -> int:
        return sum(leg.worker is worker for leg in self._legs.values())

    def _admits(self, worker: Worker) -> bool:
        load = self._load(worker)
        # An idle worker is late because of its neighbours on the machine: nobody is served better by refusing.
        punctual = not load or worker.pong.p99 <= self._settings.max_lateness_ms / 1000
        return load < self._settings.max_legs_per_worker and punctual

    def _roomiest(self) -> Worker:
        free = [worker for worker in self._workers.values() if self._admits(worker)]
        if not free:
            self._refused += 1
            states = "; ".join(
                f"worker {w.number} has {self._load(w)} of {self._settings.max_legs_per_worker} legs, "
                f"ticks {w.pong.p99 * 1000:.1f} ms late"
                for w in self._workers.values()
            )
            raise Overloaded(f"no media worker takes a new leg: {states or 'none is running'}")
        return min(free, key=self._load)

    def _leg(self, leg: str) -> _Leg:
        if state := self._legs.get(leg):
            return state
        raise LegNotReady(leg, "no-such-leg")

    @staticmethod
    def _check(leg: str, reply: Reply) -> None:
        if isinstance(reply, m.Refused):
            raise LegNotReady(leg, reply.why)

    def _forget_patch(self, patch: str) -> None:
        if state := self._legs.get(self._patches.pop(patch, "")):
            state.patches.discard(patch)

    def _count(self, before: Facts | None, now: Facts) -> None:
        for name in _COUNTS:
            was, is_now = (getattr(before, name) if before else 0), getattr(now, name)
            # Below what it was: another connection or patch, which began at zero.
            self._counted[name] += is_now - was if is_now >= was else is_now

    # supervisor.House

    def worker_ready(self, worker: Worker) -> None:
        self._workers[worker.number] = worker

    def worker_said(self, worker: Worker, report: m.Report) -> None:
        match report:
            case m.LegState(leg, connected, microphone):
                if state := self._legs.get(leg):
                    state.connected, state.microphone = connected, microphone
            case LegDown(leg):
                self._legs.pop(leg, None)
                self._publish(report)
            case PatchDown(_, patch):
                self._forget_patch(patch)
                self._publish(report)
            case Quality(leg, facts):
                if state := self._legs.get(leg):
                    self._count(state.facts, facts)
                    state.facts = facts
                self._publish(report)
            case LegUp() | PatchUp() | Intruder() | Utterance():
                self._publish(report)
            case _:
                raise TypeError(f"{report!r} came from media worker {worker.number}")

    def worker_gone(self, worker: Worker) -> None:
        if self._workers.get(worker.number) is worker:
            del self._workers[worker.number]
        lost = tuple(leg for leg, state in self._legs.items() if state.worker is worker)
        for leg in lost:
            for patch in tuple(self._legs[leg].patches):
                self._forget_patch(patch)
                self._publish(PatchDown(leg, patch, "worker-lost"))
            del self._legs[leg]
            self._publish(LegDown(leg, "worker-lost"))
        if worker.port:
            self._workers_lost += 1
            self._publish(WorkerLost(worker.number, lost))
