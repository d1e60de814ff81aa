"""A telephone exchange in memory that behaves as the real one was measured to: one exchange, any number of services.

What it keeps of the real one: many listeners and one speaker per call, guarded by the exchange itself; the AI is
silent exactly while an agent is in the call in takeover; an agent whose patch closes, or whom nobody renews, is out
and the AI audible; the AI's end pairs caller and speaker; the caller's end ends everything; while a service is cut
off it hears nothing, and a snapshot tells it the truth afterwards.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from connector.domain.calls import Ai, Call, Channels, Mode, ModeChoice, Party, PatchId, Topology, call_id
from connector.domain.errors import (
    AlreadyTaken,
    BadValue,
    ChannelGone,
    PbxTimeout,
    PbxUnavailable,
    TakeoverError,
    VerbRefused,
)
from connector.domain.events import (
    AgentGone,
    AgentPresent,
    AgentRefused,
    AiGone,
    CallChanged,
    CallGone,
    Dtmf,
    FellBack,
    PbxDown,
    PbxEvent,
    PbxUp,
    SnapshotTaken,
)
from connector.ports import Endpoint, Engaged

DEADMAN_S = 5.0
CONFIRM_S = 6.0
T = TypeVar("T")
Fault = Literal["refused", "lost", "carried-out-but-lost", "stuck", "late"]
"""What becomes of a verb: refused; no answer and no effect; effect without answer; no answer, ever; no answer, and the
effect only after nobody waits for it any more."""
LATE_S = 1.0


@dataclass(eq=False)
class FakeEndpoint:
    """A patch that accepts one call of the exchange until it is closed."""

    uuid: str
    host: str = "127.0.0.1"
    port: int = 9092
    rate: int = 8000
    sip_port: int = 0
    closed: bool = False
    on_hangup: Callable[["FakeEndpoint"], None] = lambda _: None
    """Told when the exchange hangs up."""
    _watchers: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Our end closes: the exchange notices at once."""
        if not self.closed:
            self.closed = True
            for watcher in self._watchers:
                watcher()

    def expire(self) -> None:
        """Nobody has called in time."""
        if not self._watchers:
            self.closed = True

    def watch(self, on_close: Callable[[], None]) -> None:
        self._watchers.append(on_close)


@dataclass(eq=False)
class FakeAgent:
    """An agent's leg in the exchange."""

    patch: PatchId
    mode: Mode
    instance: str
    endpoint: Endpoint
    call: "FakeCall"
    deadman: asyncio.TimerHandle
    name: str = ""

    @property
    def channel(self) -> str:
        return f"AudioSocket/127.0.0.1:9092-{self.patch}"


@dataclass(eq=False)
class FakeCall:
    """A caller, with the AI and the agents."""

    call: Call
    ai: bool = True
    agents: dict[PatchId, FakeAgent] = field(default_factory=dict)
    digits: str = ""
    fallback: bool = False

    @property
    def speaker(self) -> FakeAgent | None:
        return next((agent for agent in self.agents.values() if agent.mode.speaks), None)

    @property
    def ai_audible(self) -> bool:
        return self.ai and not any(agent.mode is Mode.TAKEOVER for agent in self.agents.values())


class FakeExchange:
    """The exchange itself; `FakePbx` is one service's connection to it."""

    def __init__(
        self, name: str = "main", destinations: Iterable[str] = ("support",), deadman_s: float = DEADMAN_S
    ) -> None:
        self.name = name
        self.deadman_s = deadman_s
        self.destinations = frozenset(destinations)
        self.calls: dict[str, FakeCall] = {}
        self.services: list[FakePbx] = []
        self._numbers = itertools.count(1)

    # People

    def make_call(self, ai: str = "bot", queue: str = "sales", topology: Topology = Topology.DIALLED) -> FakeCall:
        number = next(self._numbers)
        unique = f"1700000000.{number}"
        channels = Channels(f"PJSIP/caller-{number}", unique, f"PJSIP/ai-{number}", f"1700000001.{number}")
        modes = tuple(ModeChoice(mode, possible=True) for mode in Mode)
        now = datetime.now(UTC)
        party = Party("100", "Cara")
        id_ = call_id(self.name, unique)
        call = Call(id_, self.name, channels, party, Ai(ai), now, topology, modes, now, queue=queue)
        made = self.calls[call.id] = FakeCall(call)
        self.tell(CallChanged(call))
        return made

    def move(self, call: FakeCall, **facts: Any) -> None:
        """The dialplan says otherwise of the call than before: another queue, another tenant."""
        call.call = replace(call.call, **facts)
        self.tell(CallChanged(call.call))

    def caller_hangs_up(self, call: FakeCall, why: str = "hangup") -> None:
        if self.calls.pop(call.call.id, None) is None:
            return
        for agent in list(call.agents.values()):
            self.out(agent, "hangup" if agent.mode.speaks else "done")
        self.tell(CallGone(call.call.id, why))

    def ai_hangs_up(self, call: FakeCall) -> None:
        call.ai = False
        paired = call.speaker is not None
        self.tell(AiGone(call.call.id, paired))
        if not paired:  # its Dial ends, and with it the call
            self.caller_hangs_up(call)

    def press(self, call: FakeCall, digit: str) -> None:
        self.tell(Dtmf(call.call.id, "caller", digit))

    # Legs

    def enter(self, agent: FakeAgent, mode: Mode) -> None:
        """Puts the agent into the mode, or refuses it; raises `AlreadyTaken`."""
        call, speaker = agent.call, agent.call.speaker
        if mode.speaks and speaker is not None and speaker is not agent:
            was = agent.mode if agent.patch in call.agents else None
            refusal = AgentRefused(call.call.id, agent.patch, mode, "busy", speaker.channel, was)
            self.tell(refusal)
            if was is None:
                self._end(agent)
            raise AlreadyTaken(call.call.id, speaker.name)
        agent.mode = mode
        call.agents[agent.patch] = agent
        self.tell(AgentPresent(call.call.id, agent.patch, agent.channel, agent.instance, mode, agent.name))

    def out(self, agent: FakeAgent, why: str) -> None:
        """The leg ends, whatever the reason; un-mutes by itself."""
        if agent.call.agents.pop(agent.patch, None) is None:
            return
        self._end(agent)
        self.tell(AgentGone(agent.call.call.id, agent.patch, why))
        if agent.mode.speaks and not agent.call.ai:
            agent.call.fallback = True
            self.tell(FellBack(agent.call.call.id))

    @staticmethod
    def _end(agent: FakeAgent) -> None:
        agent.deadman.cancel()
        if isinstance(agent.endpoint, FakeEndpoint):
            agent.endpoint.on_hangup(agent.endpoint)

    def agent(self, patch: PatchId) -> FakeAgent | None:
        return next((c.agents[patch] for c in self.calls.values() if patch in c.agents), None)

    def tell(self, event: PbxEvent) -> None:
        for service in self.services:
            service.hear(event)

    def truth(self) -> SnapshotTaken:
        facts: list[CallChanged | AgentPresent] = []
        for call in self.calls.values():
            facts.append(CallChanged(call.call))
            facts += [
                AgentPresent(call.call.id, a.patch, a.channel, a.instance, a.mode, a.name) for a in call.agents.values()
            ]
        return SnapshotTaken(self.name, tuple(facts))


class FakePbx:
    """One service's view of a `FakeExchange`; implements `ports.Pbx`.

    While it is `away` it waits for `connect`. `faults` are used up one by one by the next verbs of their name. `said`
    lists the verbs as they arrive.
    """

    def __init__(self, exchange: FakeExchange, instance: str = "node-1", *, delay: float = 0.0) -> None:
        self.exchange = exchange
        self.instance = instance
        self.delay = delay
        self.up = False
        self.away = False
        self.faults: dict[str, deque[Fault]] = {}
        self.said: list[str] = []
        self._queue: asyncio.Queue[PbxEvent] = asyncio.Queue()
        self._cut = asyncio.Event()
        exchange.services.append(self)

    @property
    def name(self) -> str:
        return self.exchange.name

    # The connection

    def hear(self, event: PbxEvent) -> None:
        if self.up:
            self._queue.put_nowait(event)

    def connect(self) -> None:
        """Tells the truth in a snapshot, and from then on everything."""
        self.up = True
        self._cut = asyncio.Event()
        self._queue.put_nowait(PbxUp(self.name, "22.10.1"))
        self._queue.put_nowait(self.exchange.truth())

    def cut(self) -> None:
        """The connection is lost, and with it every answer that was under way."""
        self.up = False
        self._cut.set()
        self._queue.put_nowait(PbxDown(self.name, "connection reset"))

    async def events(self) -> AsyncIterator[PbxEvent]:
        if not (self.up or self.away):
            self.connect()
        while True:
            yield await self._queue.get()

    async def snapshot(self) -> SnapshotTaken:
        return await self._verb("snapshot", self.exchange.truth)

    # Verbs

    async def rate(self, call: Call) -> int:
        return 8000

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
        def act() -> Engaged:
            found = self.exchange.calls.get(call.id)
            if found is None:
                raise ChannelGone(self.name, call.channels.caller)
            if not isinstance(endpoint, FakeEndpoint) or endpoint.closed:
                raise VerbRefused(self.name, "engage", "the agent leg could not be connected (reason 0)")
            agent = self._agent(found, endpoint, mode)
            agent.name = name
            endpoint.watch(lambda: self.exchange.out(agent, "hangup"))
            self.exchange.enter(agent, mode)
            return Engaged(call.id, agent.patch, agent.channel, mode)

        return await self._verb("engage", act)

    async def switch(self, engaged: Engaged, mode: Mode) -> Engaged:
        def act() -> Engaged:
            agent = self._present(engaged)
            if not agent.call.ai:
                raise VerbRefused(self.name, "switch", "the AI has left this call")
            self.exchange.enter(agent, mode)
            return Engaged(engaged.call, agent.patch, agent.channel, mode)

        return await self._verb("switch", act)

    async def renew(self, engaged: Engaged) -> None:
        def act() -> None:
            agent = self._present(engaged)
            agent.deadman.cancel()
            agent.deadman = self._deadman(agent)

        await self._verb("renew", act)

    async def release(self, engaged: Engaged) -> None:
        def act() -> None:
            agent = self.exchange.agent(engaged.patch)
            if agent is not None:
                self.exchange.out(agent, "hangup")

        await self._verb("release", act)

    async def hangup(self, call: Call) -> None:
        def act() -> None:
            found = self.exchange.calls.get(call.id)
            if found is not None:
                self.exchange.caller_hangs_up(found)

        await self._verb("hangup", act)

    async def transfer(self, call: Call, destination: str) -> None:
        if destination not in self.exchange.destinations:
            raise BadValue("destination", destination, f"use one of {sorted(self.exchange.destinations)}")

        def act() -> None:
            found = self.exchange.calls.get(call.id)
            if found is None:
                raise ChannelGone(self.name, call.channels.caller)
            self.exchange.caller_hangs_up(found, "transferred")

        await self._verb("transfer", act)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        def act() -> None:
            found = self.exchange.calls.get(call.id)
            if found is None:
                raise ChannelGone(self.name, call.channels.ai)
            found.digits += digits

        await self._verb("send_dtmf", act)

    async def _verb(self, verb: str, act: Callable[[], T]) -> T:
        self.said.append(verb)
        planned = self.faults.get(verb)
        fault = planned.popleft() if planned else None
        cut = self._cut
        if not self.up:
            raise PbxUnavailable(self.name, "connection reset")
        await asyncio.sleep(self.delay)
        match fault:
            case "stuck":
                await self._nothing(verb, cut)
            case "refused":
                raise VerbRefused(self.name, verb, "no reason given")
            case "lost":
                raise PbxTimeout(self.name, verb, self.delay)
            case "late":
                asyncio.get_running_loop().call_later(LATE_S, self._late, act)
                raise PbxTimeout(self.name, verb, self.delay)
        if cut.is_set():
            raise PbxUnavailable(self.name, "connection reset")
        result = act()
        if fault == "carried-out-but-lost":
            raise PbxTimeout(self.name, verb, self.delay)
        await asyncio.sleep(0)
        if cut.is_set():
            raise PbxUnavailable(self.name, "connection reset")
        return result

    @staticmethod
    def _late(act: Callable[[], object]) -> None:
        with suppress(TakeoverError):  # what it was asked for is not possible any more
            act()

    async def _nothing(self, verb: str, cut: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(CONFIRM_S):
                await cut.wait()
        except TimeoutError:
            raise PbxTimeout(self.name, verb, CONFIRM_S) from None

    def _agent(self, call: FakeCall, endpoint: Endpoint, mode: Mode) -> FakeAgent:
        never = asyncio.get_running_loop().call_later(0, lambda: None)
        agent = FakeAgent(PatchId(endpoint.uuid), mode, self.instance, endpoint, call, never)
        agent.deadman = self._deadman(agent)
        return agent

    def _deadman(self, agent: FakeAgent) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self.exchange.deadman_s, self.exchange.out, agent, "deadman")

    def _present(self, engaged: Engaged) -> FakeAgent:
        agent = self.exchange.agent(engaged.patch)
        if agent is None:
            raise ChannelGone(self.name, engaged.channel or engaged.patch)
        return agent
