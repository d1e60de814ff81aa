"""What ESL has said of agent legs so far, known before the state takes it in its turn, for verbs that wait for it."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ..adapter.watchers import Watchers
from ..domain.errors import ChannelGone, PbxUnavailable
from .facts import Agent
from .wire import Message

GONE_S = 3.0
ATTACHED_S = 2.0

Heard = asyncio.Queue[Message | None]
"""What is said about one leg, in order; None when the connection is lost."""


@dataclass(frozen=True, slots=True)
class Coming:
    """A leg that is being originated: when FreeSWITCH has its channel, and when it has answered."""

    created: asyncio.Future[None]
    answered: asyncio.Future[None]


class Legs:
    """Agent legs by their patch, which is their channel's uuid too."""

    def __init__(self, pbx: str) -> None:
        self._pbx = pbx
        self._here: dict[str, Agent] = {}
        self._read = False
        self._dialling: dict[str, Coming] = {}
        self._unwanted: set[str] = set()
        self._watchers: Watchers[Message] = Watchers(pbx)
        self._ended: set[str] | None = None

    def hear(self, message: Message) -> None:
        """Takes one event; only notes and wakes."""
        if message.event == "MEDIA_BUG_START" and message["media-bug-function"] == "eavesdrop":
            self._watchers.tell(message["unique-id"], message)
        patch = message["unique-id"]
        coming = self._dialling.get(patch)
        if coming is not None:
            if message.event in ("CHANNEL_CREATE", "CHANNEL_ANSWER") and not coming.created.done():
                coming.created.set_result(None)
            if message.event == "CHANNEL_ANSWER" and not coming.answered.done():
                coming.answered.set_result(None)
        if message.event != "CHANNEL_HANGUP_COMPLETE":
            return
        if self._ended is not None:
            self._ended.add(patch)
        self._here.pop(patch, None)
        self._watchers.tell(patch, message)

    def present(self, agents: Iterable[Agent]) -> None:
        """Takes the legs that were there before this connection."""
        self._here |= {agent.patch: agent for agent in agents}
        self._read = True

    def lost(self) -> None:
        """The connection is gone: nothing is known any more, and whoever waits is told."""
        self._here.clear()
        self._read = False
        self._dialling.clear()
        self._watchers.lost()

    @contextmanager
    def endings(self) -> Iterator[set[str]]:
        """The channels, of whatever kind, that end inside the block."""
        self._ended = ended = set[str]()
        try:
            yield ended
        finally:
            self._ended = None

    @contextmanager
    def dialling(self, patch: str) -> Iterator[Coming]:
        """While the leg is being originated: its channel may still come."""
        loop = asyncio.get_running_loop()
        coming = self._dialling[patch] = Coming(loop.create_future(), loop.create_future())
        try:
            yield coming
        finally:
            coming.created.cancel()
            coming.answered.cancel()
            self._dialling.pop(patch, None)
            self._unwanted.discard(patch)

    def refuse(self, patch: str) -> None:
        """The leg is released while it is still being dialled: whoever dials it hangs it up."""
        if patch in self._dialling:
            self._unwanted.add(patch)

    def is_unwanted(self, patch: str) -> bool:
        return patch in self._unwanted

    def enter(self, agent: Agent) -> None:
        """The leg is in this mode now."""
        self._here[agent.patch] = agent

    def __iter__(self) -> Iterator[Agent]:
        """Those of them that came into a mode."""
        return iter(list(self._here.values()))

    def ids(self) -> list[str]:
        """The legs that are in a mode, also those of which the state has not heard yet."""
        return list(self._here)

    def find(self, patch: str) -> Agent:
        """Raises `ChannelGone`, and `PbxUnavailable` until a new connection has read which legs there are: who is told
        that his leg is gone leaves the call."""
        agent = self._here.get(patch)
        if agent is not None:
            return agent
        if not self._read:
            raise PbxUnavailable(self._pbx, "what it has is being read")
        raise ChannelGone(self._pbx, patch)

    def watch(self, patch: str) -> AbstractContextManager[Heard]:
        """What is said about a patch while a verb is under way; None when the connection is lost."""
        return self._watchers.watch(patch)

    async def gone(self, heard: Heard) -> None:
        """Returns when the leg has ended, its hook included. Raises `PbxTimeout`, `PbxUnavailable`."""
        await self._watchers.next(heard, asyncio.get_running_loop().time() + GONE_S, "release", GONE_S)

    async def attached(self, heard: Heard) -> None:
        """Returns when a leg eavesdrops on the watched caller. Raises `PbxTimeout`, `PbxUnavailable`."""
        await self._watchers.next(heard, asyncio.get_running_loop().time() + ATTACHED_S, "engage", ATTACHED_S)
