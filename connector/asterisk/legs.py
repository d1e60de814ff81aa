"""What AMI has said of agent legs so far, known inside the protocol, for the verbs that wait for it."""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace

from ..adapter.guards import decoded
from ..adapter.watchers import Watchers
from ..domain.errors import AlreadyTaken, ChannelGone, VerbRefused
from ..ports import Engaged
from .facts import Agent, uuid_in
from .wire import Message

CONFIRM_S = 6.0
"""More than the 5 s that Asterisk tries to reach the media worker."""
GONE_S = 2.0
DIALLED_S = 9.0
"""For how long a leg may still come: what Asterisk may take to accept it, and to reach the worker. Said nothing until
then, it was refused after we had given up waiting for that."""
_HEARD = ("UserEvent", "OriginateResponse", "Newchannel", "Rename", "Hangup")

Heard = asyncio.Queue[Message | None]
"""What is said about one patch, in order; None when the connection is lost."""


class Order:
    """One sending of a leg into a mode; two into the same mode are not the same."""


class Legs:
    """Agent legs by their patch. `hear` sees every event at once, long before the state takes it in its turn."""

    def __init__(self, pbx: str) -> None:
        self._pbx = pbx
        self._names: dict[str, str] = {}
        self._dialling: dict[str, float] = {}  # until when, in the loop's time
        self._orders: dict[str, Order] = {}
        self._watchers: Watchers[Message] = Watchers(pbx)

    def hear(self, message: Message) -> None:
        """Takes one event; only notes and wakes."""
        if message.event not in _HEARD:
            return
        patch = uuid_in(message["agent"] or message["channel"])
        match message.event:
            case "OriginateResponse":
                self._dialling.pop(patch, None)
            case "Newchannel" if patch:
                self._names[patch] = message["channel"]
            case "Rename" if patch in self._names:
                self._names[patch] = message["newname"]
            case "Hangup":
                self._names.pop(patch, None)
                self._orders.pop(patch, None)
        self._watchers.tell(patch, message)

    def present(self, agents: Iterable[Agent]) -> None:
        """Takes the legs that were there before this connection."""
        self._names |= {agent.patch: agent.channel for agent in agents}

    def lost(self) -> None:
        """The connection is gone: nothing is known any more, and whoever waits is told."""
        self._names.clear()
        self._dialling.clear()
        self._watchers.lost()

    def dial(self, patch: str) -> None:
        """The leg is being originated: until AMI answers, its channel may still come."""
        self._dialling[patch] = asyncio.get_running_loop().time() + DIALLED_S

    def order(self, patch: str) -> Order:
        """The leg is being sent into a mode, which ends what an earlier order was followed by."""
        made = self._orders[patch] = Order()
        return made

    def stands(self, patch: str, order: Order) -> bool:
        """Whether the leg has been sent nowhere else since, nor out."""
        return self._orders.get(patch) is order

    def leave(self, patch: str) -> None:
        """The leg is being sent out."""
        self._orders.pop(patch, None)

    def forget(self, patch: str) -> None:
        """The leg will not come, or has gone."""
        self._dialling.pop(patch, None)
        self._orders.pop(patch, None)

    def dialling(self, patch: str) -> bool:
        return self._dialling.get(patch, 0.0) > asyncio.get_running_loop().time()

    def find(self, engaged: Engaged) -> str:
        """The leg's channel name as of now; empty when there is none yet."""
        return self._names.get(engaged.patch) or engaged.channel

    def name(self, engaged: Engaged) -> str:
        """The same. Raises `ChannelGone`."""
        channel = self.find(engaged)
        if not channel:
            raise ChannelGone(self._pbx, engaged.patch)
        return channel

    def watch(self, patch: str) -> AbstractContextManager[Heard]:
        """What is said about a patch while a verb is under way; None when the connection is lost."""
        return self._watchers.watch(patch)

    async def confirmed(self, heard: Heard, wanted: Engaged, verb: str) -> Engaged:
        """Waits until the dialplan itself says that the leg is in the mode, or why not.

        Raises `AlreadyTaken`, `ChannelGone`, `VerbRefused`, `PbxTimeout`, `PbxUnavailable`.
        """
        until = asyncio.get_running_loop().time() + CONFIRM_S
        while True:
            message = await self._watchers.next(heard, until, verb, CONFIRM_S)
            what = message["userevent"] or message.event
            if what == "TakeoverMode" and message["mode"] == wanted.mode:
                return replace(wanted, channel=message["agent"])
            if what == "TakeoverRefused":
                if message["reason"] == "busy":
                    raise AlreadyTaken(wanted.call, decoded(message["byname"]))
                raise ChannelGone(self._pbx, wanted.call.partition("~")[2])
            if what == "OriginateResponse" and message["response"] == "Failure":
                self.forget(wanted.patch)
                why = f"the agent leg could not be connected (reason {message['reason']})"
                raise VerbRefused(self._pbx, verb, why)
            if what in ("TakeoverEnded", "Hangup"):
                raise ChannelGone(self._pbx, wanted.channel or wanted.patch)

    async def left(self, heard: Heard) -> str:
        """Nothing when the leg has gone; its name when it has only now come and must be hung up."""
        until = asyncio.get_running_loop().time() + GONE_S
        while True:
            message = await self._watchers.next(heard, until, "release", GONE_S)
            what = message["userevent"] or message.event
            if what == "Hangup" or (what == "OriginateResponse" and message["response"] == "Failure"):
                return ""
            if what in ("Newchannel", "TakeoverMode"):
                return message["channel"]
