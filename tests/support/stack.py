"""The whole real path: agents -> HTTP and WebRTC -> service -> PBX <- worker; callers, AIs.

The PBX is an Asterisk (AMI, AudioSocket) or a FreeSWITCH (ESL, SIP). Between the service and AMI or ESL lies a
forwarder, so that the connection can be cut. The agents have processes of their own.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from web.demo.asterisk import Installation
from web.demo.tones import AGENT_HZ, AI_HZ

from .agent import Json, Unexpected
from .exchange import FALLBACK_HZ, Exchange, ExchangeCall
from .fleet import Fleet, RemoteAgent, fleet
from .hearing import first_heard
from .lab import Lab
from .network import TcpForwarder
from .processes import children
from .server import Server

PBX = "lab"
LOOK_S = 0.2
GLOBALS = {"TK_FALLBACK": "lab-fallback,s,1"}
DIALPLAN = f"""
[lab-fallback]
exten => s,1,Answer()
 same => n,Playtones({FALLBACK_HZ})
 same => n,Wait(600)
"""


@dataclass(eq=False)
class Taken:
    """A call in takeover."""

    call: ExchangeCall
    agent: RemoteAgent
    id: str  # of the call, in the API
    engagement: str
    since: float  # when it was asked for


@dataclass(frozen=True)
class Comparison:
    """What a service shows against what the PBX says."""

    missing: frozenset[str]  # calls that only the PBX has
    surplus: frozenset[str]  # calls that only the service has
    engagements: int
    agent_channels: int

    @property
    def equal(self) -> bool:
        return not self.missing and not self.surplus and self.engagements == self.agent_channels


@dataclass
class Stack:
    """An async context manager; inside, everything is up and `staff` agents are on duty."""

    ground: Installation | Exchange
    """An Asterisk that gets our lab, or a PBX of either kind with its people."""
    staff: int = 1
    cuttable: bool = False  # the agents' network
    agents: list[RemoteAgent] = field(default_factory=list, init=False)

    async def __aenter__(self) -> Self:
        self._parts = AsyncExitStack()
        self._second: tuple[Server, list[RemoteAgent]] | None = None
        try:
            self.lab: Exchange = await self._parts.enter_async_context(self._exchange())
            self.control = await self._parts.enter_async_context(TcpForwarder(self.lab.control))
            self.server = await self._service("first")
            await self.hire()
        except BaseException:
            await self._parts.aclose()
            raise
        # A full collection holds up the phones and AIs in this process for 150 ms; what is here now stays anyway.
        gc.collect()
        gc.freeze()
        return self

    async def __aexit__(self, *_: object) -> None:
        gc.unfreeze()
        await self._parts.aclose()

    def _exchange(self) -> Exchange:
        if isinstance(self.ground, Installation):
            return Lab(self.ground, globals=GLOBALS, dialplan=DIALPLAN)
        return self.ground

    # ---- services and agents ----

    async def _service(self, instance: str) -> Server:
        """A service of its own (store, workers, port) on the one PBX; returns when it is ready."""
        server = Server(instance=instance, pbx={PBX: self.lab.service_settings(self.control.port)})
        return await self._parts.enter_async_context(server)

    async def hire(self) -> None:
        """A fresh process of agents, all on duty."""
        self.fleet, self.agents = await self._crew(self.server, self.staff)

    async def second(self) -> tuple[Server, list[RemoteAgent]]:
        """Another service on the same PBX, with agents of its own; the same one each time."""
        if self._second is None:
            server = await self.other_service()
            self._second = server, (await self._crew(server, self.staff))[1]
        return self._second

    async def other_service(self) -> Server:
        """Another service on the same PBX."""
        return await self._service("second")

    async def _crew(self, server: Server, count: int) -> tuple[Fleet, list[RemoteAgent]]:
        crew = await self._parts.enter_async_context(fleet())
        names = [await server.add_user(f"agent-{number}") for number in range(count)]
        joining = (crew.join(server.url, name, server.password, cuttable=self.cuttable) for name in names)
        return crew, list(await asyncio.gather(*joining))

    async def back_on_duty(self) -> None:
        """New legs and events for all agents, once the service takes them."""
        await self.server.ready()
        await asyncio.gather(*(agent.on_duty() for agent in self.agents))

    def workers(self) -> list[int]:
        """Process ids of the media workers."""
        return children(self.server.pid)

    # ---- calls ----

    @staticmethod
    def id_of(call: ExchangeCall) -> str:
        """The call's id in the API."""
        return f"{PBX}~{call.uniqueid}"

    async def take(
        self,
        count: int,
        topologies: Sequence[str] = (),
        options: Callable[[int], Mapping[str, Any]] = lambda _number: {},
    ) -> list[Taken]:
        """So many calls at once, each in takeover by an agent of its own; the topologies (all of the PBX) take turns.

        `options` are those of the PBX's `call`. Returns when every caller hears its agent and not the AI.
        """
        topologies = topologies or self.lab.topologies
        calls = await asyncio.gather(
            *(self.lab.call(topologies[number % len(topologies)], **options(number)) for number in range(count))
        )
        taken = list(
            await asyncio.gather(
                *(self.engage(call, agent) for call, agent in zip(calls, self.agents[:count], strict=True))
            )
        )
        await asyncio.sleep(0.5)
        now = time.monotonic()
        for one in taken:
            recording = one.call.caller.recording
            silent = first_heard(recording, AGENT_HZ, one.since, now) is None
            if silent or recording.trace(AI_HZ, now - 0.2, now).heard.any():
                wrong = "does not hear the agent" if silent else "still hears the AI"
                ended = (await one.agent.ended()).get(one.engagement)
                raise Unexpected(
                    f"{one.call.topology}: the caller {wrong}; asked {one.since}, now {now}, ended {ended}"
                )
        return taken

    async def engage(self, call: ExchangeCall, agent: RemoteAgent) -> Taken:
        """One takeover, by the API. Raises Unexpected if it is refused."""
        identity = self.id_of(call)
        await agent.seen(identity)
        reply = await agent.engage(identity)
        return Taken(call, agent, identity, str(reply.expect(201)["id"]), reply.sent)

    # ---- truth ----

    async def compare(self, server: Server) -> Comparison:
        """What `server` shows against the PBX's own list of channels."""
        calls: Json = (await server.get("calls")).expect(200)
        shown = {str(call["id"]) for call in calls["calls"]}
        there = {f"{PBX}~{uniqueid}" for uniqueid in await self.lab.callers()}
        return Comparison(
            missing=frozenset(there - shown),
            surplus=frozenset(shown - there),
            engagements=sum(len(call["engagements"]) for call in calls["calls"]),
            agent_channels=len(await self.lab.agent_channels()),
        )

    async def equal(self, server: Server, within: float = 5) -> bool:
        """Whether the service shows exactly what the PBX has, at the latest after `within` seconds."""
        deadline = time.monotonic() + within
        while not (found := await self.compare(server)).equal:
            if time.monotonic() > deadline:
                print(f"registry differs: {found}", flush=True)
                return False
            await asyncio.sleep(0.1)
        return True


async def heard(
    call: ExchangeCall, hertz: float, since: float, within: float, *, in_speech: bool = False
) -> float | None:
    """When the caller hears this tone after `since`, waiting for it; None if not within so many seconds."""
    recording = call.caller.recording
    await asyncio.sleep(LOOK_S)
    while (now := time.monotonic()) < since + within + LOOK_S:
        # A glance at what came last; to look at everything again and again would hold up the peers that we measure.
        if recording.trace(hertz, max(since, now - 2 * LOOK_S), now).heard.any():
            at = first_heard(recording, hertz, since, since + within, in_speech=in_speech)
            if at is not None:
                return at
        await asyncio.sleep(LOOK_S)
    return first_heard(recording, hertz, since, since + within, in_speech=in_speech)
