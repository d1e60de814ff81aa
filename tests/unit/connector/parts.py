"""A service over the exchange in memory: legs, journal and keepers that can be told to fail."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from connector.domain.calls import Ai, Call, CallId, Engagement
from connector.domain.errors import LegNotReady, StoreUnavailable
from connector.domain.people import Actor
from connector.domain.transcript import Turn
from connector.ports import Unended
from connector.services.changes import AiNotice, Change, EngagementChanged
from connector.services.hands import Timing
from connector.services.notices import Notices
from connector.services.recovery import Recovery
from connector.services.registry import Registry, follow
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from tests.contract.fake_pbx import FakeCall, FakeEndpoint, FakeExchange, FakePbx

C = TypeVar("C", bound=Change)
EXPECT_S = 5.0
"""For how long a patch waits for the exchange's call."""

ANNA = Actor("anna", "Anna", "agent")
BEN = Actor("ben", "Ben", "agent")
SUE = Actor("sue", "Sue", "supervisor")
BOT = Actor("token-1", "bot's platform", "ai", ai="bot")


@dataclass
class Legs:
    """Implements `ports.AgentLegs`. `unfit` says why a leg is not alive; every other leg is."""

    unfit: dict[str, str] = field(default_factory=dict)
    patches: dict[str, FakeEndpoint] = field(default_factory=dict)
    held: dict[str, bool] = field(default_factory=dict)
    _bound: dict[str, str] = field(default_factory=dict)
    stuck: bool = False
    """The worker does not answer: patches neither open nor close."""
    on_patch_down: Callable[[str, str], None] = lambda _patch, _why: None

    async def open_patch(self, leg: str, *, rate: int) -> FakeEndpoint:
        await asyncio.sleep(0)
        if self.stuck:
            raise LegNotReady(leg, "worker-late")
        patch = str(uuid.uuid4())
        made = self.patches[patch] = FakeEndpoint(patch, on_hangup=self._hung_up)
        self._bound[patch] = leg
        asyncio.get_running_loop().call_later(EXPECT_S, made.expire)
        return made

    async def close_patch(self, patch: str) -> None:
        await asyncio.sleep(0)
        if self.stuck:
            raise LegNotReady(patch, "worker-late")
        self._unbind(patch)
        self.patches[patch].close()

    async def set_leg(self, leg: str, *, hold: bool) -> None:
        self.held[leg] = hold

    def alive(self, leg: str) -> bool:
        return leg not in self.unfit

    def not_alive_reason(self, leg: str) -> str | None:
        return self.unfit.get(leg)

    @property
    def open(self) -> list[str]:
        return [uuid for uuid, endpoint in self.patches.items() if not endpoint.closed]

    def _unbind(self, patch: str) -> None:
        """The hold ends with the patch, as it does in the worker."""
        if (leg := self._bound.pop(patch, None)) is not None:
            self.held.pop(leg, None)

    def _hung_up(self, endpoint: FakeEndpoint) -> None:
        endpoint.closed = True
        self._unbind(endpoint.uuid)
        asyncio.get_running_loop().call_soon(self.on_patch_down, endpoint.uuid, "pbx-hangup")


@dataclass(frozen=True)
class Act:
    """One line of the journal."""

    number: int
    actor: str
    act: str
    call: CallId | None
    facts: dict[str, str]


@dataclass
class Journal:
    """Implements `ports.Journal`, in memory."""

    failing: bool = False
    delay: float = 0.0
    intents: list[Act] = field(default_factory=list)
    reserve: list[Act] = field(default_factory=list)
    outcomes: dict[int, str] = field(default_factory=dict)

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        await asyncio.sleep(self.delay)
        if self.failing:
            raise StoreUnavailable("the disk is full")
        number = len(self.intents) + 1
        self.intents.append(Act(number, actor, act, call, facts))
        return number

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        await asyncio.sleep(self.delay)
        if self.failing:
            raise StoreUnavailable("the disk is full")
        self.outcomes[number] = result

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        number = -len(self.reserve) - 1
        self.reserve.append(Act(number, actor, act, call, facts))
        return number

    @property
    def acts(self) -> list[str]:
        return [act.act for act in self.intents]


@dataclass
class Engagements:
    """Implements `ports.EngagementArchive`."""

    failing: bool = False
    kept: dict[str, tuple[Engagement, str | None, str, str]] = field(default_factory=dict)
    whose: dict[str, tuple[str, Ai]] = field(default_factory=dict)

    async def put(
        self,
        engagement: Engagement,
        ended: str | None = None,
        note: str = "",
        outcome: str = "",
        *,
        instance: str = "",
        ai: Ai | None = None,
    ) -> None:
        await asyncio.sleep(0)
        if self.failing:
            raise StoreUnavailable("the disk is full")
        self.kept[engagement.id] = (engagement, ended, note, outcome)
        if ai is not None:
            self.whose[engagement.id] = (instance, ai)

    async def unended(self, instance: str) -> Sequence[Unended]:
        mine = [(one, self.whose[one.id]) for one, ended, _, _ in self.kept.values() if ended is None]
        return [Unended(replace(one, leg=""), ai) for one, (of, ai) in mine if of == instance]

    def end(self, id_: str) -> str | None:
        """Why it ended, as it is kept."""
        return self.kept[id_][1]


@dataclass
class Turns:
    """Implements `ports.TurnKeeper`."""

    failing: bool = False
    kept: dict[tuple[CallId, str], Turn] = field(default_factory=dict)

    async def put(self, call: CallId, turn: Turn) -> None:
        await asyncio.sleep(0)
        if self.failing:
            raise StoreUnavailable("the disk is full")
        self.kept[call, turn.id] = turn

    async def turns(self, call: CallId) -> Sequence[Turn]:
        return [turn for (of, _), turn in self.kept.items() if of == call]


class Service:
    """Everything of one service, wired as the composition root does it."""

    def __init__(
        self,
        exchange: FakeExchange,
        instance: str = "node-1",
        timing: Timing = Timing(),  # noqa: B008 - frozen
        before: "Service | None" = None,
    ) -> None:
        """`before` is the run whose store this one finds."""
        self.exchange = exchange
        self.pbx = FakePbx(exchange, instance)
        self.legs = Legs()
        self.journal: Journal = before.journal if before else Journal()
        self.engagements: Engagements = before.engagements if before else Engagements()
        self.turns: Turns = before.turns if before else Turns()
        self.registry = Registry([exchange.name], instance, clock=asyncio.get_running_loop().time)
        self.transcripts = Transcripts(self.registry, self.turns)
        notices = Notices(self.registry, self.transcripts)
        self.recovery = Recovery(self.registry, self.engagements, self.turns, self.journal, notices)
        self.takeovers = Takeovers(
            self.registry,
            {exchange.name: self.pbx},
            self.legs,
            self.journal,
            self.engagements,
            self.transcripts,
            timing,
            notices=notices,
        )
        self.legs.on_patch_down = self.takeovers.patch_down
        self.changes: list[Change] = []
        self.registry.watch(self.changes.append)

    def make_call(self) -> FakeCall:
        return self.exchange.make_call()

    def call(self, call: FakeCall) -> Call:
        return self.registry.call(call.call.id)

    def of(self, kind: type[C]) -> list[C]:
        return [change for change in self.changes if isinstance(change, kind)]

    @property
    def ends(self) -> list[str]:
        """The reasons of all ends, in order."""
        return [change.ended for change in self.of(EngagementChanged) if change.ended is not None]

    def notices(self, kind: str) -> list[AiNotice]:
        return [notice for notice in self.of(AiNotice) if notice.kind == kind]


@asynccontextmanager
async def service(
    exchange: FakeExchange | None = None,
    instance: str = "node-1",
    timing: Timing = Timing(),  # noqa: B008 - frozen
    *,
    before: Service | None = None,
    away: bool = False,
) -> AsyncIterator[Service]:
    """A running service, connected to its exchange unless that is `away`. Its end is a crash: nothing is given back."""
    made = Service(exchange or FakeExchange(), instance, timing, before)
    made.pbx.away = away
    await made.recovery.restore()
    tasks = [
        asyncio.create_task(made.recovery.run()),
        asyncio.create_task(made.takeovers.run()),
        asyncio.create_task(follow(made.pbx, made.registry)),
    ]
    await settle()
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def settle(seconds: float = 0.01) -> None:
    """Lets everything that is under way come to its end."""
    await asyncio.sleep(seconds)
