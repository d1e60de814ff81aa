"""One Asterisk as a `Pbx`: verbs out over AMI, confirmed by what the PBX itself says, and its events in order."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from ..adapter.chores import Chores
from ..adapter.connected import stay_connected
from ..adapter.tables import Rule
from ..domain.calls import Call, Mode, PatchId
from ..domain.errors import BadValue, ChannelGone, PbxError, PbxUnavailable, VerbRefused
from ..domain.events import AgentGone, CallChanged, PbxEvent, PbxUp, SnapshotTaken
from ..ports import Endpoint, Engaged
from . import looks, wire
from .admission import admit, recheck
from .client import Address, Connection
from .facts import PAIRED, State
from .joins import JoinStats, heal
from .legs import Legs, Order
from .resync import VARIABLES, resync
from .translate import TRANSFERRED, fold
from .wire import Message

log = structlog.get_logger(__name__)

CONNECT_MS = 5000
"""How long Asterisk tries to reach the media worker."""
JOINED_S = 0.5
"""The PBX confirms a mode just before the agent leg joins: an AI that left at once would end the bridge too early."""
NARROW, WIDE = 8000, 16_000
RATE_S = 0.25
"""How long a takeover may wait for what only makes it sound better; Asterisk answers in 1 ms."""
DIGIT_MS, DIGIT_PAUSE_S = 120, 0.2
_GONE = ("no such channel", "channel does not exist", "channel not found", "channel specified does not exist")


@dataclass(frozen=True, slots=True)
class AsteriskSettings:
    """How one Asterisk is reached and what its AIs are called.

    `ais`: name and a regular expression, searched in ``Tech/dial string`` (``PJSIP/ai``) and in the channel's name.
    `destinations`: key to ``context,extension,priority``. `deadman_s`: for how long an agent leg lives unrenewed.
    """

    username: str
    secret: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 5038
    tls: bool = False
    tls_ca: str = ""
    ais: Sequence[tuple[str, str]] = ()
    destinations: Mapping[str, str] = field(default_factory=dict)
    deadman_s: float = 5.0
    deaf: frozenset[str] = frozenset()
    """AIs that hear nothing during a takeover."""
    hung_up: frozenset[str] = frozenset()
    """AIs that are hung up at a takeover."""
    test: bool = False
    """Whether nothing counts but the test calls of `takeover doctor`."""


class AsteriskPbx:
    """Implements `ports.Pbx`. `instance` names this service on the PBX: one that restarts must keep it."""

    def __init__(self, name: str, settings: AsteriskSettings, instance: str) -> None:
        self.joins = JoinStats()
        self._name = name
        self._settings = settings
        self._instance = wire.allowed("instance", instance)
        self._address = Address(
            settings.host, settings.port, settings.username, settings.secret, settings.tls, settings.tls_ca
        )
        for destination in settings.destinations.values():
            wire.allowed("destination", destination)
        rules = tuple(Rule(ai, re.compile(match)) for ai, match in settings.ais)
        self._state = State(name, rules, test=settings.test)
        self._connection: Connection | None = None
        self._why = "not connected yet"
        self._version: wire.Version | None = None
        self._legs = Legs(name)
        self._chores = Chores(name)

    @property
    def name(self) -> str:
        return self._name

    # ---- what happens ----

    def events(self) -> AsyncIterator[PbxEvent]:
        """See `ports.Pbx`. A refused login is told at once and tried again at long intervals only."""
        return stay_connected(self._name, self._session, self._because)

    def _because(self, why: str) -> None:
        self._why = why

    async def _session(self) -> AsyncGenerator[PbxEvent, None]:
        """One connection, from login to loss. Raises `PbxError`."""
        try:
            async with Connection(self._name, self._address, self._legs.hear) as connection:
                up = await self._admit(connection)
                self._connection = connection
                yield up
                before = self._state
                self._state, snapshot = await self._read(connection)
                self._look_after(connection, self._state.calls, before)
                self._legs.present(self._state.agents.values())
                for caller in self._state.calls:
                    self._look_where(connection, caller)
                for fact in snapshot.events:
                    if isinstance(fact, CallChanged):
                        self._look_at(connection, fact.call)
                yield snapshot
                async for message in connection.events():
                    for event in self._take(connection, message):
                        yield event
                self._why = connection.why
                raise PbxUnavailable(self._name, self._why)
        finally:
            await self._disconnected()

    async def snapshot(self) -> SnapshotTaken:
        """See `ports.Pbx`."""
        return (await self._read(self._live()))[1]

    async def _admit(self, connection: Connection) -> PbxUp:
        admission = await admit(connection)
        self._version = admission.version
        self._state = replace(self._state, unfit=admission.unfit)
        if admission.unfit:
            log.error("pbx.unfit", pbx=self._name, why=admission.unfit)
            self._chores.start(recheck(connection))
        return PbxUp(self._name, admission.text)

    async def _read(self, connection: Connection) -> tuple[State, SnapshotTaken]:
        """The truth as of now; what happens meanwhile waits in the queue and is applied after it."""
        rows, bridges = await asyncio.gather(
            connection.ask_all(wire.status(VARIABLES)), connection.ask_all(wire.BRIDGE_LIST)
        )
        return resync(
            self._state,
            [row for row in rows if row.event == "Status"],
            [row for row in bridges if row.event == "BridgeListItem"],
            datetime.now(UTC),
        )

    def _take(self, connection: Connection, message: Message) -> list[PbxEvent]:
        before = self._state
        self._state, events = fold(self._state, message, datetime.now(UTC))
        for event in events:
            if isinstance(event, CallChanged) and event.call.channels.caller_id not in before.calls:
                self._look_at(connection, event.call)
            if isinstance(event, AgentGone):
                self._look_after(connection, [event.call.partition("~")[2]], before)
        if message["userevent"] == "TakeoverCall" and message["uniqueid"] in self._state.hooks:
            self._chores.start(looks.inline_ai(connection, self._now, message["uniqueid"]))
        if message.event == "BridgeLeave" and message["uniqueid"] in self._state.calls:
            self._look_where(connection, message["uniqueid"])
        return events

    def _look_at(self, connection: Connection, call: Call) -> None:
        if call.channels.caller.startswith("PJSIP/") and call.channels.ai.startswith("PJSIP/"):
            self._chores.start(looks.how_it_talks(connection, self._now, call.channels.caller_id))

    def _look_where(self, connection: Connection, caller: str) -> None:
        """Sees to it that no agent of ours stays with the AI alone."""
        for channel, agent in self._state.agents.items():
            if agent.call == caller and agent.mode.speaks and agent.instance == self._instance:
                self._chores.start(looks.led_away(connection, self._now, channel))

    def _look_after(self, connection: Connection, callers: Iterable[str], before: State) -> None:
        """Sees to it that no caller stays alone in the bridge in which AI and agent were with him before."""
        for caller in callers:
            was, call = before.channels.get(caller), self._state.calls.get(caller)
            if (
                was is not None
                and was.bridge
                and call is not None
                and call.left
                and self._state.speaker(caller) is None
            ):
                self._chores.start(looks.left_alone(connection, self._now, caller, was.bridge))

    def _now(self) -> State:
        return self._state

    async def _disconnected(self) -> None:
        self._connection = None
        self._legs.lost()
        await self._chores.end()

    # ---- verbs ----

    async def rate(self, call: Call) -> int:
        """See `ports.Pbx`."""
        if self._version is None or not wire.since(self._version, wire.WIDEBAND):
            return NARROW
        caller = self._named(call.channels.caller_id, call.channels.caller)
        try:
            answer = await self._live().ask(wire.getvar(caller, "CHANNEL(audionativeformat)"), RATE_S)
        except PbxError:
            return NARROW  # whatever is wrong, `engage` will say it in a moment
        return WIDE if wire.is_wide(answer["value"]) else NARROW

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
        """See `ports.Pbx`. Raises also `BadValue`, when a fact about the call or the endpoint must not reach AMI."""
        connection = self._live()
        patch = PatchId(endpoint.uuid)
        caller, ai = (
            self._named(call.channels.caller_id, call.channels.caller),
            self._named(call.channels.ai_id, call.channels.ai),
        )
        if not ai:
            raise ChannelGone(self._name, f"the AI's in {call.id}")
        if endpoint.rate == WIDE and not wire.since(self._version, wire.WIDEBAND):
            raise VerbRefused(self._name, "engage", "this Asterisk's AudioSocket speaks 8 kHz only")
        action = wire.originate(
            wire.Patch(
                host=endpoint.host,
                port=endpoint.port,
                uuid=endpoint.uuid,
                wideband=endpoint.rate == WIDE,
                channel_id=_channel_id(endpoint.uuid),
                caller=caller,
                caller_id=call.channels.caller_id,
                ai=ai,
                instance=self._instance,
                deadman_s=self._settings.deadman_s,
                name=name,
                deaf=call.ai.name in self._settings.deaf,
            ),
            mode,
            CONNECT_MS,
        )
        with self._legs.watch(patch) as heard:
            self._legs.dial(patch)
            order = self._legs.order(patch)
            answer = await connection.ask(action)
            if not answer.ok:
                self._legs.forget(patch)
                raise VerbRefused(self._name, "engage", answer["message"] or "no reason given")
            engaged = await self._legs.confirmed(heard, Engaged(call.id, patch, "", mode), "engage")
        self._guard_join(connection, engaged, order, (caller, ai))
        self._send_away(connection, engaged, order, call.ai.name, ai)
        return engaged

    async def switch(self, engaged: Engaged, mode: Mode) -> Engaged:
        """See `ports.Pbx`."""
        connection = self._live()
        channel = self._legs.name(engaged)
        tracked = self._state.calls.get(engaged.call.partition("~")[2])
        if tracked is not None and tracked.paired:
            raise VerbRefused(self._name, "switch", PAIRED)
        with self._legs.watch(engaged.patch) as heard:
            order = self._legs.order(engaged.patch)
            await self._do(wire.redirect(channel, wire.AGENT_CONTEXT, mode.value), "switch", channel)
            changed = await self._legs.confirmed(heard, replace(engaged, channel=channel, mode=mode), "switch")
        if tracked is not None:
            legs = (self._named(engaged.call.partition("~")[2], ""), self._named(tracked.ai, ""))
            self._guard_join(connection, changed, order, legs)
            self._send_away(connection, changed, order, tracked.ai_name, legs[1])
        return changed

    async def renew(self, engaged: Engaged) -> None:
        """See `ports.Pbx`."""
        channel = self._legs.name(engaged)
        await self._do(wire.absolute_timeout(channel, self._settings.deadman_s), "renew", channel)

    async def release(self, engaged: Engaged) -> None:
        """See `ports.Pbx`. Where the leg is still being dialled, it is hung up as soon as it is there."""
        connection = self._live()
        patch = engaged.patch
        self._legs.leave(patch)
        with self._legs.watch(patch) as heard:
            channel = self._legs.find(engaged)
            while channel or self._legs.dialling(patch):
                if channel:
                    answer = await connection.ask(wire.hangup(channel))
                    if not answer.ok and not _is_gone(answer):
                        raise VerbRefused(self._name, "release", answer["message"] or "no reason given")
                    if not answer.ok and not self._legs.dialling(patch):
                        break
                channel = await self._legs.left(heard)
        self._legs.forget(patch)

    async def hangup(self, call: Call) -> None:
        """See `ports.Pbx`."""
        channel = self._named(call.channels.caller_id, call.channels.caller)
        try:
            await self._do(wire.hangup(channel), "hangup", channel)
        except ChannelGone:
            return

    async def transfer(self, call: Call, destination: str) -> None:
        """See `ports.Pbx`. Raises `BadValue` for a destination that is not configured."""
        place = self._settings.destinations.get(destination)
        if place is None:
            keys = ", ".join(sorted(self._settings.destinations)) or "none is configured"
            raise BadValue("destination", destination, f"use a key of pbx.{self._name}.destinations: {keys}")
        channel = self._named(call.channels.caller_id, call.channels.caller)
        await self._do(wire.set_destination(channel, place), "transfer", channel)
        await self._do(wire.redirect(channel, wire.TRANSFER_CONTEXT, "s"), "transfer", channel)
        self._live().note(Message({"event": TRANSFERRED, "uniqueid": call.channels.caller_id}))

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """See `ports.Pbx`. Returns when the last digit has been sent."""
        wire.allowed("digits", digits)
        channel = self._named(call.channels.ai_id, call.channels.ai)
        if not channel:
            raise VerbRefused(self._name, "send_dtmf", "the AI has left this call")
        for digit in digits:
            await self._do(wire.play_dtmf(channel, digit, DIGIT_MS), "send_dtmf", channel)
            await asyncio.sleep(DIGIT_PAUSE_S)

    async def _do(self, action: wire.Action, verb: str, channel: str) -> None:
        answer = await self._live().ask(action)
        if answer.ok:
            return
        if _is_gone(answer):
            raise ChannelGone(self._name, channel)
        raise VerbRefused(self._name, verb, answer["message"] or "no reason given")

    def _live(self) -> Connection:
        if self._connection is None:
            raise PbxUnavailable(self._name, self._why)
        return self._connection

    def _named(self, channel: str, otherwise: str) -> str:
        """A channel's name as of now: a masquerade may have renamed it since the caller looked."""
        noted = self._state.channels.get(channel)
        return noted.name if noted else otherwise

    def _guard_join(self, connection: Connection, engaged: Engaged, order: Order, legs: Sequence[str]) -> None:
        if not engaged.mode.speaks:
            return

        async def again() -> bool:
            if not self._legs.stands(engaged.patch, order):
                return False  # it has been released, or sent elsewhere, which is a new join with its own guard
            log.info("pbx.join-stalled", pbx=self._name, call=engaged.call, patch=engaged.patch)
            return (await connection.ask(wire.redirect(engaged.channel, wire.AGENT_CONTEXT, engaged.mode.value))).ok

        self._chores.start(heal(connection, legs, again, self.joins))

    def _send_away(self, connection: Connection, engaged: Engaged, order: Order, name: str, ai: str) -> None:
        """Hangs up an AI that is not to wait for the end of a takeover; caller and agent go on as when it dies."""
        if engaged.mode is not Mode.TAKEOVER or name not in self._settings.hung_up or not ai:
            return

        async def send_away() -> None:
            await asyncio.sleep(JOINED_S)
            if self._legs.stands(engaged.patch, order):  # it may be over already
                await connection.ask(wire.hangup(ai))

        self._chores.start(send_away())


def _is_gone(answer: Message) -> bool:
    return any(words in answer["message"].lower() for words in _GONE)


def _channel_id(patch: str) -> str:
    """In the form of Asterisk's own ids: it compares the seconds to decide whose Linkedid a joined call keeps, and
    the caller's, being older, must win."""
    return f"takeover-{int(time.time())}.{int(wire.allowed('uuid', patch)[:8], 16)}"
