"""What the contract suite needs of an adapter's surroundings, and each adapter that is put under it.

A new adapter is put under the contract by one class with these methods and one entry in `test_pbx_contract.ADAPTERS`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol, TypeVar

from connector.asterisk.pbx import AsteriskPbx, AsteriskSettings
from connector.domain.calls import Call, PatchId
from connector.domain.events import CallChanged, CallGone, PbxEvent, SnapshotTaken
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.ports import Endpoint, Engaged, Pbx
from tests.support import adapter
from tests.support.fake_ami import FakeAsterisk, FakeCall
from tests.support.fake_esl import FakeFreeSwitch
from tests.support.freeswitch import FsCall, FsLab, Instance, Topology
from tests.support.lab import Lab, LabCall, heard_by
from tests.support.network import TcpForwarder
from web.demo.asterisk import Installation

from .fake_pbx import FakeEndpoint, FakeExchange, FakePbx

E = TypeVar("E")
WITHIN_S = 8.0
"""A bound for events that come when they come; nothing waits that long unless something is wrong."""


class PbxUnderTest(Protocol):
    """A PBX with people on it, and one service's connection to it."""

    @property
    def pbx(self) -> Pbx: ...

    async def dial(self) -> str:
        """A caller and an AI begin to talk; returns the id of the caller's channel."""

    async def caller_hangs_up(self, call: Call) -> None: ...

    async def ai_hangs_up(self, call: Call) -> None: ...

    def endpoint(self) -> Endpoint:
        """A fresh patch that waits to be called."""

    async def close(self, endpoint: Endpoint) -> None:
        """The media worker closes the patch."""

    async def starve(self, engaged: Engaged) -> None:
        """Returns when the dead-man, unfed, should have struck."""

    async def ai_audible(self, call: Call) -> bool:
        """Whether the caller hears the AI."""

    async def agents(self, call: Call) -> int:
        """How many agents' legs the PBX has."""

    async def cut(self) -> None:
        """The connection between service and PBX breaks."""

    async def mend(self) -> None:
        """It can be made again; an adapter does so by itself."""

    def another_service(self) -> AbstractAsyncContextManager[Pbx]:
        """A second service on the same PBX, connected."""


class Follower:
    """Reads an adapter's events, as the registry does."""

    def __init__(self, pbx: Pbx) -> None:
        self.events: list[PbxEvent] = []
        self._pbx = pbx
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        async for event in self._pbx.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def event(self, kind: type[E], fits: Callable[[E], bool] = lambda _: True, since: int = 0) -> E:
        """The first event of this kind that fits, at or after position `since`; waits for it (bounded)."""
        async with asyncio.timeout(WITHIN_S), self._news:
            while True:
                for event in self.events[since:]:
                    if isinstance(event, kind) and fits(event):
                        return event
                await self._news.wait()

    def live(self) -> dict[str, Call]:
        """The live calls, as the events tell them."""
        live: dict[str, Call] = {}
        for event in self.events:
            match event:
                case SnapshotTaken(_, facts):
                    live = {fact.call.id: fact.call for fact in facts if isinstance(fact, CallChanged)}
                case CallChanged(call):
                    live[call.id] = call
                case CallGone(call_id):
                    live.pop(call_id, None)
                case _:
                    pass
        return live


@asynccontextmanager
async def followed(pbx: Pbx) -> AsyncIterator[Follower]:
    """The adapter's events are read inside the block; entered when the first snapshot is there."""
    follower = Follower(pbx)
    task = asyncio.create_task(follower.follow())
    try:
        await follower.event(SnapshotTaken)
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class InMemory:
    """The exchange in memory."""

    def __init__(self) -> None:
        self.exchange = FakeExchange()
        self.fake = FakePbx(self.exchange)

    @property
    def pbx(self) -> Pbx:
        return self.fake

    async def dial(self) -> str:
        return self.exchange.make_call().call.channels.caller_id

    async def caller_hangs_up(self, call: Call) -> None:
        self.exchange.caller_hangs_up(self.exchange.calls[call.id])

    async def ai_hangs_up(self, call: Call) -> None:
        self.exchange.ai_hangs_up(self.exchange.calls[call.id])

    def endpoint(self) -> Endpoint:
        return FakeEndpoint(str(uuid.uuid4()))

    async def close(self, endpoint: Endpoint) -> None:
        assert isinstance(endpoint, FakeEndpoint)
        endpoint.close()

    async def starve(self, engaged: Engaged) -> None:
        self.exchange.deadman_s = 0.1
        await self.fake.renew(engaged)
        await asyncio.sleep(0.2)

    async def ai_audible(self, call: Call) -> bool:
        return self.exchange.calls[call.id].ai_audible

    async def agents(self, call: Call) -> int:
        return sum(len(c.agents) for c in self.exchange.calls.values())

    async def cut(self) -> None:
        self.fake.cut()

    async def mend(self) -> None:
        self.fake.connect()

    @asynccontextmanager
    async def another_service(self) -> AsyncIterator[Pbx]:
        other = FakePbx(self.exchange, "node-2")
        async with followed(other):
            yield other


@asynccontextmanager
async def in_memory() -> AsyncIterator[PbxUnderTest]:
    yield InMemory()


class Recorded:
    """The Asterisk adapter on an Asterisk made of recorded messages."""

    def __init__(self, fake: FakeAsterisk) -> None:
        self.fake = fake
        self.adapter = self._service("node-1")

    def _service(self, instance: str) -> AsteriskPbx:
        settings = AsteriskSettings(
            "takeover",
            "right",
            port=self.fake.port,
            ais=(("bot", "^PJSIP/ai"),),
            destinations={"support": "help,100,1"},
        )
        return AsteriskPbx("main", settings, instance)

    @property
    def pbx(self) -> Pbx:
        return self.adapter

    def _call(self, call: Call) -> FakeCall:
        return self.fake.calls[call.channels.caller_id]

    async def dial(self) -> str:
        return self.fake.call().caller.uniqueid

    async def caller_hangs_up(self, call: Call) -> None:
        self.fake.caller_hangs_up(self._call(call))

    async def ai_hangs_up(self, call: Call) -> None:
        self.fake.ai_hangs_up(self._call(call))

    def endpoint(self) -> Endpoint:
        return adapter.Patch("127.0.0.1", 9092, str(uuid.uuid4()))

    async def close(self, endpoint: Endpoint) -> None:
        self._out(PatchId(endpoint.uuid), "hangup")

    async def starve(self, engaged: Engaged) -> None:
        self._out(engaged.patch, "deadman")

    def _out(self, patch: PatchId, why: str) -> None:
        for call in list(self.fake.calls.values()):
            self.fake.agent_dies(call, patch, why)

    async def ai_audible(self, call: Call) -> bool:
        return self.fake.audible[call.channels.caller_id]

    async def agents(self, call: Call) -> int:
        return sum(len(c.agents) for c in self.fake.calls.values())

    async def cut(self) -> None:
        await self.fake.vanish()

    async def mend(self) -> None:
        await self.fake.listen()

    @asynccontextmanager
    async def another_service(self) -> AsyncIterator[Pbx]:
        other = self._service("node-2")
        async with followed(other):
            yield other


@asynccontextmanager
async def recorded() -> AsyncIterator[PbxUnderTest]:
    async with FakeAsterisk() as fake:
        yield Recorded(fake)


class RealAsterisk:
    """The Asterisk adapter on a real Asterisk, with a SIP caller and a SIP AI who play their tones."""

    DEADMAN_S = 5.0

    def __init__(self, lab: Lab, link: TcpForwarder) -> None:
        self.lab = lab
        self.link = link
        self.calls: dict[str, LabCall] = {}
        self.adapter = self._service("node-1", link.port)

    def _service(self, instance: str, port: int) -> AsteriskPbx:
        settings = adapter.settings(self.lab.pbx.ami, host="127.0.0.1", port=port, deadman_s=self.DEADMAN_S)
        return AsteriskPbx("main", settings, instance)

    @property
    def pbx(self) -> Pbx:
        return self.adapter

    async def dial(self) -> str:
        made = await self.lab.call("T1", options="ggb(ai-mark^s^1)")
        self.calls[made.uniqueid] = made
        return made.uniqueid

    async def caller_hangs_up(self, call: Call) -> None:
        await self.calls[call.channels.caller_id].hangup()

    async def ai_hangs_up(self, call: Call) -> None:
        await self.calls[call.channels.caller_id].ai.hangup()

    def endpoint(self) -> Endpoint:
        return adapter.patch(self.lab)

    async def close(self, endpoint: Endpoint) -> None:
        (await self.lab.agents.leg(endpoint.uuid)).abort()

    async def starve(self, engaged: Engaged) -> None:
        await asyncio.sleep(self.DEADMAN_S + 0.2)

    async def ai_audible(self, call: Call) -> bool:
        await asyncio.sleep(0.2)
        since = time.monotonic()
        await asyncio.sleep(0.4)
        return "ai" in heard_by(self.calls[call.channels.caller_id].caller.recording, since, since + 0.4)

    async def agents(self, call: Call) -> int:
        place = f"AudioSocket/{self.lab.agents.host}:{self.lab.agents.port}-"
        return sum(place in str(channel) for channel in await self.lab.pbx.channels())

    async def cut(self) -> None:
        self.link.refuse = True
        self.link.abort()

    async def mend(self) -> None:
        self.link.refuse = False

    @asynccontextmanager
    async def another_service(self) -> AsyncIterator[Pbx]:
        other = self._service("node-2", self.lab.pbx.ami.port)
        async with followed(other):
            yield other


@asynccontextmanager
async def real_asterisk(installation: Installation) -> AsyncIterator[PbxUnderTest]:
    async with Lab(installation) as lab:
        ami = lab.pbx.ami
        async with TcpForwarder((ami.host, ami.port)) as link:
            yield RealAsterisk(lab, link)


class FreeSwitchInMemory:
    """The FreeSWITCH adapter on a FreeSWITCH in memory, behind a real event socket."""

    def __init__(self, fake: FakeFreeSwitch, bug: bool) -> None:
        self.fake = fake
        self.bug = bug
        self.adapter = self._service("node-1")

    def _service(self, instance: str) -> FreeSwitchPbx:
        settings = FreeSwitchSettings(
            "right",
            port=self.fake.port,
            ais=(("bot", "^sofia/internal/ai-"), ("bot", "^media-bug/audio_stream$")),
            destinations={"support": "help,100"},
        )
        return FreeSwitchPbx("main", settings, instance)

    @property
    def pbx(self) -> Pbx:
        return self.adapter

    async def dial(self) -> str:
        return self.fake.stream() if self.bug else self.fake.call()

    async def caller_hangs_up(self, call: Call) -> None:
        self.fake.hangup(call.channels.caller_id)

    async def ai_hangs_up(self, call: Call) -> None:
        if self.bug:
            self.fake.bug(self.fake.channels[call.channels.caller_id], "audio_stream", begins=False)
        else:
            self.fake.hangup(call.channels.ai_id)

    def endpoint(self) -> Endpoint:
        return adapter.Patch("127.0.0.1", 0, str(uuid.uuid4()), sip_port=5060)

    async def close(self, endpoint: Endpoint) -> None:
        self.fake.hangup(endpoint.uuid)

    async def starve(self, engaged: Engaged) -> None:
        self.fake.pace = 0.1  # for this alone: elsewhere a busy machine would be late for so hasty a dead-man
        await self.adapter.renew(engaged)
        await asyncio.sleep(1)

    async def ai_audible(self, call: Call) -> bool:
        return self.fake.ai_audible(call.channels.caller_id)

    async def agents(self, call: Call) -> int:
        return len(self.fake.agents(call.channels.caller_id))

    async def cut(self) -> None:
        await self.fake.vanish()

    async def mend(self) -> None:
        await self.fake.listen()

    @asynccontextmanager
    async def another_service(self) -> AsyncIterator[Pbx]:
        other = self._service("node-2")
        async with followed(other):
            yield other


@asynccontextmanager
async def freeswitch_in_memory(bug: bool = False) -> AsyncIterator[PbxUnderTest]:
    """`bug`: the AI is a media bug on the caller's own channel."""
    async with FakeFreeSwitch() as fake:
        yield FreeSwitchInMemory(fake, bug)


class RealFreeSwitch:
    """The FreeSWITCH adapter on a real FreeSWITCH, with a SIP caller and a SIP AI who play their tones."""

    DEADMAN_S = 3.0

    def __init__(self, lab: FsLab, link: TcpForwarder, topology: Topology) -> None:
        self.lab = lab
        self.link = link
        self.topology = topology
        self.calls: dict[str, FsCall] = {}
        self.patches: list[str] = []
        self.adapter = lab.service(port=link.port, deadman_s=self.DEADMAN_S)

    @property
    def pbx(self) -> Pbx:
        return self.adapter

    async def dial(self) -> str:
        made = await self.lab.call(self.topology)
        self.calls[made.uniqueid] = made
        return made.uniqueid

    async def caller_hangs_up(self, call: Call) -> None:
        await self.calls[call.channels.caller_id].hangup()

    async def ai_hangs_up(self, call: Call) -> None:
        await self.calls[call.channels.caller_id].ai.hangup()

    def endpoint(self) -> Endpoint:
        made = self.lab.patch()
        self.patches.append(made.uuid)
        return made

    async def close(self, endpoint: Endpoint) -> None:
        await (await self.lab.agent(endpoint.uuid)).hangup()

    async def starve(self, engaged: Engaged) -> None:
        await asyncio.sleep(self.DEADMAN_S + 1.2)

    async def ai_audible(self, call: Call) -> bool:
        async with asyncio.timeout(WITHIN_S):
            while True:  # frames come late on a busy machine: what is unclear is listened to again
                await asyncio.sleep(0.2)
                since = time.monotonic()
                await asyncio.sleep(0.4)
                with suppress(RuntimeError):
                    return "ai" in heard_by(self.calls[call.channels.caller_id].caller.recording, since, since + 0.4)

    async def agents(self, call: Call) -> int:
        there = [await self.lab.api(f"uuid_exists {patch}") for patch in self.patches]
        return there.count("true")

    async def cut(self) -> None:
        self.link.refuse = True
        self.link.abort()

    async def mend(self) -> None:
        self.link.refuse = False

    @asynccontextmanager
    async def another_service(self) -> AsyncIterator[Pbx]:
        other = self.lab.service("node-2", deadman_s=30.0)
        async with followed(other):
            yield other


@asynccontextmanager
async def real_freeswitch(instance: Instance, topology: Topology = "T1") -> AsyncIterator[PbxUnderTest]:
    async with (
        FsLab(instance) as lab,
        TcpForwarder((instance.address.host, instance.address.port)) as link,
    ):
        yield RealFreeSwitch(lab, link, topology)
        await lab.api("hupall")
        await lab.no_channels()
