"""The Asterisk adapter in a test: its events collected as they come, and agents that are bare AudioSocket legs."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

from connector.asterisk.pbx import AsteriskPbx, AsteriskSettings
from connector.domain.calls import Call, Mode, PatchId
from connector.domain.events import CallChanged, CallGone, PbxEvent, SnapshotTaken
from connector.ports import Engaged
from web.demo.asterisk import Ami
from web.demo.audiosocket import AudioSocketLeg

from .lab import Lab, LabCall

E = TypeVar("E")
RULES = (("sip-bot", r"^PJSIP/ai"), ("socket-bot", r"^AudioSocket/"), ("web-bot", r"^WebSocket/ai"))


@dataclass(frozen=True)
class Patch:
    """A patch as `AgentLegs.open_patch` would give it."""

    host: str
    port: int
    uuid: str
    rate: int = 8000
    sip_port: int = 0


def settings(ami: Ami, **other: object) -> AsteriskSettings:
    """The settings for an Asterisk of the lab."""
    given: dict[str, object] = {
        "username": ami.user,
        "secret": ami.secret,
        "host": ami.host,
        "port": ami.port,
        "ais": RULES,
        "destinations": {"support": "lab-destination,s,1"},
        "deadman_s": 30.0,
    }
    return AsteriskSettings(**{**given, **other})  # type: ignore[arg-type]  # any of its fields


class Watched:
    """An adapter whose events are being read."""

    def __init__(self, pbx: AsteriskPbx) -> None:
        self.pbx = pbx
        self.events: list[PbxEvent] = []
        self._news = asyncio.Condition()

    @classmethod
    def to(cls, lab: Lab, ami: Ami, instance: str = "test", **other: object) -> Self:
        """An adapter for the lab's Asterisk with this account."""
        return cls(AsteriskPbx("lab", settings(ami, **other), instance))

    async def follow(self) -> None:
        async for event in self.pbx.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def event(self, wanted: Callable[[PbxEvent], bool], *, since: int = 0, within: float = 5) -> PbxEvent:
        """The first event at or after position `since` that is wanted; TimeoutError if none comes in time."""
        async with asyncio.timeout(within), self._news:
            while True:
                for event in self.events[since:]:
                    if wanted(event):
                        return event
                since = len(self.events)
                await self._news.wait()

    async def kind(self, kind: type[E], *, since: int = 0, within: float = 5) -> E:
        """The first event of a class."""
        event = await self.event(lambda event: isinstance(event, kind), since=since, within=within)
        assert isinstance(event, kind)
        return event

    def calls(self) -> dict[str, Call]:
        """The live calls, as the events tell them."""
        live: dict[str, Call] = {}
        for event in self.events:
            if isinstance(event, SnapshotTaken):
                live = {fact.call.id: fact.call for fact in event.events if isinstance(fact, CallChanged)}
            elif isinstance(event, CallChanged):
                live[event.call.id] = event.call
            elif isinstance(event, CallGone):
                live.pop(event.call, None)
        return live

    async def call(self, lab_call: LabCall) -> Call:
        """The adapter's record of a call of the lab."""
        await self.event(
            lambda event: (
                (isinstance(event, CallChanged) and event.call.channels.caller_id == lab_call.uniqueid)
                or (
                    isinstance(event, SnapshotTaken)
                    and any(
                        isinstance(fact, CallChanged) and fact.call.channels.caller_id == lab_call.uniqueid
                        for fact in event.events
                    )
                )
            )
        )
        return self.calls()[f"{self.pbx.name}~{lab_call.uniqueid}"]


@asynccontextmanager
async def watched(lab: Lab, instance: str = "test", ami: Ami | None = None, **other: object) -> AsyncIterator[Watched]:
    """An adapter on the lab's Asterisk, connected and with its first snapshot taken."""
    adapter = Watched.to(lab, ami or lab.pbx.ami, instance, **other)
    follower = asyncio.create_task(adapter.follow())
    try:
        await adapter.kind(SnapshotTaken)
        yield adapter
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


@dataclass
class Agent:
    """An agent in a call: what the adapter says, and its audio."""

    engaged: Engaged
    leg: AudioSocketLeg

    @staticmethod
    def unanswered(call: Call, endpoint: Patch, mode: Mode) -> Engaged:
        """What is known of an engagement while the PBX has not answered."""
        return Engaged(call.id, PatchId(endpoint.uuid), "", mode)


def patch(lab: Lab) -> Patch:
    """A fresh patch to the lab's agents."""
    return Patch(lab.agents.host, lab.agents.port, str(uuid.uuid4()))


async def engage(adapter: Watched, lab: Lab, call: Call, mode: Mode, name: str = "") -> Agent:
    """Brings an agent into a call."""
    endpoint = patch(lab)
    engaged = await adapter.pbx.engage(call, endpoint, mode, name)
    return Agent(engaged, await lab.agents.leg(endpoint.uuid))
