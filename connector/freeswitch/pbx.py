"""One FreeSWITCH as a `Pbx`: verbs out over ESL, its events in order.

The agent's leg runs `eavesdrop` on the caller, and `uuid_audio` silences the AI; the caller's own bridge is never
touched. Who speaks is guarded by a key in the PBX (`hash insert_ifempty`), and what the speaker's leg must put right
when it ends, however that happens, is its own `api_hangup_hook` before anything is muted.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from ..adapter.chores import Chores
from ..adapter.connected import stay_connected
from ..adapter.tables import Rule
from ..domain.calls import Call, CallId, Mode, PatchId, Topology
from ..domain.errors import AlreadyTaken, BadValue, ChannelGone, PbxUnavailable, VerbRefused
from ..domain.events import AgentGone, AiGone, CallGone, PbxEvent, PbxUp, SnapshotTaken
from ..ports import Endpoint, Engaged
from . import attach, floor, parting, wire
from .admission import admit, recheck
from .client import Address, Connection, load
from .entry import DIAL_S, Entry, Policy, bring, change, check, is_gone, joined, now, prepare, renewed
from .facts import PAIRED, Agent, State
from .ground import OURS, Ground
from .legs import Legs
from .resync import Look, conferences, missed, resync, rows, worth_a_dump
from .translate import TRANSFERRED, fold
from .wire import Message

log = structlog.get_logger(__name__)

MEDIA_TIMEOUT_MS = 800
"""Silence of the worker after which FreeSWITCH itself ends the leg: with 1000 the AI is back after 1045 (measured)."""
NARROW, WIDE = 8000, 16_000
DIGIT_MS = 120
JUST_NOW_S, ALONE_S = 3.0, 0.3
"""How long after an agent the AI's end counts as one with his, and how long the caller may be alone by then."""
LOOK_AGAIN_S = 2.0
"""More than `show` lags behind."""


@dataclass(frozen=True, slots=True)
class FreeSwitchSettings:
    """How one FreeSWITCH is reached and what its AIs are called.

    `ais`: name and a regular expression, searched in the channel's name. `destinations`: key to ``context,extension``.
    `sip_profile`: the profile that calls the media worker. `deadman_s`: for how long an agent leg lives unrenewed.
    """

    secret: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8021
    sip_profile: str = "internal"
    ais: Sequence[tuple[str, str]] = ()
    destinations: Mapping[str, str] = field(default_factory=dict)
    deadman_s: float = 5.0
    media_timeout_ms: int = MEDIA_TIMEOUT_MS
    deaf: frozenset[str] = frozenset()
    """AIs that hear nothing while a person has taken over."""
    hung_up: frozenset[str] = frozenset()
    """AIs that are hung up at a takeover; when it is given back, the PBX's fallback dials one again."""
    test: bool = False
    """Whether nothing counts but the test calls of `takeover doctor`."""


class FreeSwitchPbx:
    """Implements `ports.Pbx`. `instance` names this service on the PBX: one that restarts must keep it."""

    def __init__(self, name: str, settings: FreeSwitchSettings, instance: str) -> None:
        load()
        self._name = name
        self._settings = settings
        self._instance = wire.allowed("instance", instance)
        self._address = Address(settings.host, settings.port, settings.secret)
        wire.allowed("profile", settings.sip_profile)
        for destination in settings.destinations.values():
            wire.allowed("destination", destination)
        rules = tuple(Rule(ai, re.compile(match)) for ai, match in settings.ais)
        self._state = State(name, rules, deaf=settings.deaf, hung_up=settings.hung_up, test=settings.test)
        self._connection: Connection | None = None
        self._why = "not connected yet"
        self._legs = Legs(name)
        self._chores = Chores(name)
        self._given_back: dict[CallId, float] = {}
        """When an agent last left a call, by the loop's clock."""

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
                self._state, snapshot = await self._read(connection)
                self._legs.present(self._state.agents.values())
                yield snapshot
                self._chores.start(self._look_again(connection))
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
        admission = await admit(connection, self._settings.sip_profile)
        self._state = replace(self._state, unfit=admission.unfit)
        if admission.unfit:
            log.error("pbx.unfit", pbx=self._name, why=admission.unfit)
            self._chores.start(recheck(connection, self._settings.sip_profile))
        return PbxUp(self._name, admission.text)

    async def _read(self, connection: Connection) -> tuple[State, SnapshotTaken]:
        """The truth as of now; what happens meanwhile waits in the queue and is applied after it."""
        return resync(self._state, await self._look(connection), datetime.now(UTC))

    async def _look(self, connection: Connection) -> Look:
        listed = await connection.api("show channels as json", "show calls as json", "conference json_list")
        # `show calls` lists who talks to nobody as well, without another side.
        calls = [row for row in rows(listed[1]) if row.get("b_uuid")]
        channels, rooms = rows(listed[0]), conferences(listed[2])
        wanted = {*worth_a_dump(self._state, channels, calls), *self._legs.ids(), *rooms}
        ids = sorted(channel for channel in wanted if wire.is_id(channel))
        dumps = await connection.api(*(f"uuid_dump {channel} txt" for channel in ids))
        bugs = await connection.api(*(f"uuid_buglist {channel}" for channel in ids))
        found = {
            channel: [function for function in attach.functions(listing) if function not in OURS]
            for channel, listing in zip(ids, bugs, strict=True)
        }
        return Look(channels, calls, dict(zip(ids, dumps, strict=True)), found, rooms)

    async def _look_again(self, connection: Connection) -> None:
        """What began just before we came may not have been in the table yet, and no event tells it to us any more."""
        await asyncio.sleep(LOOK_AGAIN_S)
        with self._legs.endings() as ended:
            look = await self._look(connection)
        for message in missed(self._state, look):
            about = {message["unique-id"], message["bridge-a-unique-id"], message["bridge-b-unique-id"]}
            if not ended & about:  # what ended while we looked would begin again behind its own end
                connection.note(message)

    def _take(self, connection: Connection, message: Message) -> list[PbxEvent]:
        before = self._state
        self._state, events = fold(before, message, datetime.now(UTC))
        for event in events:
            if isinstance(event, CallGone) and event.why == "transferred":
                self._let_go(connection, before, event.call.partition("~")[2], message)
            if isinstance(event, AgentGone):
                self._tidy(connection, event.call.partition("~")[2])
                self._given_back[event.call] = asyncio.get_running_loop().time()
            if isinstance(event, AiGone) and not event.paired:
                self._chores.start(self._left_alone(connection, event.call.partition("~")[2]))
            if isinstance(event, CallGone):
                self._given_back.pop(event.call, None)
        if message.event == "MEDIA_BUG_START" and message["media-bug-function"] not in OURS:
            self._keep_silent(connection, message["unique-id"])
        if message.event == "conference::maintenance" and message["action"] == "add-member":
            for agent, where in self._state.joined_by(message["unique-id"]):
                if self._is_ours(agent):
                    entry = Entry(connection, self._legs, agent, where, self._policy(agent.call), agent.mode)
                    self._chores.start(joined(entry))
        return events

    def _let_go(self, connection: Connection, before: State, caller: str, why: Message) -> None:
        """A caller led away takes no agent of ours along. Another service's agents are that one's."""
        agents = [agent for agent in before.agents.values() if agent.call == caller]
        ours = [agent.patch for agent in agents if self._is_ours(agent)]
        himself = caller in (why["bridge-a-unique-id"], why["bridge-b-unique-id"], why["unique-id"])
        if himself and wire.is_id(caller) and (ours or not agents):
            self._chores.start(parting.let_go(connection, caller, before.ground(caller), ours))
        elif ours:  # his AI was led away, and he may wait in our dialplan
            self._chores.start(floor.kill(connection, ours))

    def _tidy(self, connection: Connection, caller: str) -> None:
        """Takes the placeholder away with the last agent, also where the AI has left before him."""
        where, tracked = self._state.ground(caller), self._state.calls.get(caller)
        placed = where.here if where else tracked is not None and tracked.topology is not Topology.DIALLED
        if not placed or any(agent.call == caller for agent in self._state.agents.values()):
            return

        async def tidy() -> None:
            await connection.api(f"uuid_audio {caller} stop")

        self._chores.start(tidy())

    async def _left_alone(self, connection: Connection, caller: str) -> None:
        """Leads a caller to the fallback whose AI left a conference just after it got him back: alone there he would
        hear nothing. A bridge would have ended, and what is on his own channel goes on in the dialplan."""
        since = self._given_back.get(self._state.id(caller))
        if since is None or asyncio.get_running_loop().time() - since > JUST_NOW_S:
            return
        await asyncio.sleep(ALONE_S)
        tracked = self._state.calls.get(caller)
        spoken = any(agent.call == caller for agent in self._state.agents.values())
        if tracked is not None and tracked.left and not spoken and self._state.alone(caller, ""):
            await connection.api(f"uuid_transfer {caller} takeover_fallback XML {wire.CONTEXT}")

    def _keep_silent(self, connection: Connection, caller: str) -> None:
        """A media bug has begun behind ours: if it is the AI's, who speaks is put behind it again."""
        where = self._state.ground(caller)
        agent = next((a for a in self._state.agents.values() if a.call == caller and a.mode.speaks), None)
        if where is not None and where.here and agent is not None and self._is_ours(agent):
            entry = Entry(connection, self._legs, agent, where, self._policy(caller), agent.mode)
            self._chores.start(renewed(entry))

    def _is_ours(self, agent: Agent) -> bool:
        return agent.instance == self._instance

    async def _disconnected(self) -> None:
        self._connection = None
        self._legs.lost()
        await self._chores.end()

    # ---- verbs ----

    async def rate(self, call: Call) -> int:
        """See `ports.Pbx`. `eavesdrop` has all that the caller's line carries, also in a conference of 8 kHz."""
        caller = self._state.channels.get(call.channels.caller_id)
        return WIDE if caller is not None and caller.wide else NARROW

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
        """See `ports.Pbx`. Raises also `BadValue`, when a fact about the call or the endpoint must not reach ESL."""
        connection = self._live()
        patch = PatchId(wire.allowed("uuid", endpoint.uuid))
        caller = wire.allowed("unique id", call.channels.caller_id)
        where = self._ground(caller, call)
        if not endpoint.sip_port:
            raise VerbRefused(self._name, "engage", "the media worker has no SIP port")
        wire.allowed("unique id", where.ai or where.caller)
        leg = wire.Patch(
            host=endpoint.host,
            port=endpoint.sip_port,
            uuid=patch,
            caller=caller,
            instance=self._instance,
            profile=self._settings.sip_profile,
            media_timeout_ms=self._settings.media_timeout_ms,
            timeout_s=DIAL_S,
            name=name,
            wideband=endpoint.rate == WIDE,
            speaks=mode.speaks,
        )
        command, pulse = wire.originate(leg), wire.pulse(leg)
        agent = Agent(caller, patch, self._instance, mode, name)
        entry = Entry(connection, self._legs, agent, where, self._policy(caller), before=None)
        # In one breath, and in this order: `wire.originate` looks who has the floor.
        preparing = asyncio.create_task(prepare(entry))
        dialling = asyncio.create_task(connection.job(command, DIAL_S + 1))
        dialling.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it any more
        try:
            await bring(entry, preparing, dialling, pulse)
        except BaseException as fault:  # also a cancellation: a leg that nobody knows of must not stay in the call
            has_floor = mode.speaks and not isinstance(fault, AlreadyTaken)
            self._chores.start(self._abandon(entry, dialling, has_floor=has_floor))
            raise
        return Engaged(call.id, patch, patch, mode)

    async def switch(self, engaged: Engaged, mode: Mode) -> Engaged:
        """See `ports.Pbx`."""
        connection = self._live()
        patch = wire.allowed("uuid", engaged.patch)
        caller = wire.allowed("unique id", engaged.call.partition("~")[2])
        tracked = self._state.calls.get(caller)
        if tracked is not None and tracked.paired:
            raise VerbRefused(self._name, "switch", PAIRED)
        agent = self._legs.find(patch)
        if tracked is None:
            raise ChannelGone(self._name, patch)
        where = self._ground(caller)
        entry = Entry(connection, self._legs, replace(agent, mode=mode), where, self._policy(caller), before=agent.mode)
        try:
            await change(entry)
        except AlreadyTaken:
            raise
        except BaseException:  # also a cancellation: half of it must not stay done
            if mode.speaks:
                self._chores.start(floor.undo(connection, where, patch))
            raise
        return replace(engaged, channel=patch, mode=mode)

    async def renew(self, engaged: Engaged) -> None:
        """See `ports.Pbx`."""
        connection = self._live()
        patch = wire.allowed("uuid", engaged.patch)
        self._legs.find(patch)
        *_, noted = await connection.api(*wire.deadman(patch, self._settings.deadman_s, now()))
        check(self._name, noted, "renew", patch)

    async def release(self, engaged: Engaged) -> None:
        """See `ports.Pbx`. Where the leg is still being dialled, it is hung up as soon as it is there."""
        connection = self._live()
        patch = wire.allowed("uuid", engaged.patch)
        self._legs.refuse(patch)
        with self._legs.watch(patch) as heard:
            [answer] = await connection.api(f"uuid_kill {patch}")
            if answer.startswith("+OK"):
                await self._legs.gone(heard)
            elif not is_gone(answer):
                raise VerbRefused(self._name, "release", answer or "no reason given")

    async def hangup(self, call: Call) -> None:
        """See `ports.Pbx`."""
        [answer] = await self._live().api(f"uuid_kill {wire.allowed('unique id', call.channels.caller_id)}")
        if not answer.startswith("+OK") and not is_gone(answer):
            raise VerbRefused(self._name, "hangup", answer or "no reason given")

    async def transfer(self, call: Call, destination: str) -> None:
        """See `ports.Pbx`. Raises `BadValue` for a destination that is not configured."""
        place = self._settings.destinations.get(destination)
        if place is None:
            keys = ", ".join(sorted(self._settings.destinations)) or "none is configured"
            raise BadValue("destination", destination, f"use a key of pbx.{self._name}.destinations: {keys}")
        connection = self._live()
        caller = wire.allowed("unique id", call.channels.caller_id)
        context, extension = wire.allowed("destination", place).split(",")
        agents = sorted({agent.patch for agent in (*self._state.agents.values(), *self._legs) if agent.call == caller})
        moved = await parting.lead_away(connection, self._state, caller, (context, extension), agents)
        check(self._name, moved, "transfer", caller)
        await connection.send(wire.event("takeover::transferred", call=caller))
        connection.note(Message({"event-name": TRANSFERRED, "takeover-call": caller}))

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """See `ports.Pbx`. FreeSWITCH queues the digits and sends them one by one. To an AI on the caller's own channel
        they come as if he had pressed them."""
        wire.allowed("digits", digits)
        connection = self._live()
        where = self._state.ground(call.channels.caller_id)
        if where is None:
            raise VerbRefused(self._name, "send_dtmf", "the AI has left this call")
        channel, verb = (
            wire.allowed("unique id", where.ai or where.caller),
            "uuid_recv_dtmf" if where.own else "uuid_send_dtmf",
        )
        [answer] = await connection.api(f"{verb} {channel} {digits}@{DIGIT_MS}")
        check(self._name, answer, "send_dtmf", channel)

    # ---- how a leg comes into a mode ----

    async def _abandon(self, entry: Entry, dialling: asyncio.Task[str], *, has_floor: bool) -> None:
        """Ends a leg that did not come into its mode, also one still being dialled, and undoes what was done for it."""
        await asyncio.gather(dialling, return_exceptions=True)
        if has_floor:
            await floor.undo(entry.connection, entry.where, entry.agent.patch)
        else:
            await floor.kill(entry.connection, [entry.agent.patch])

    def _policy(self, caller: str) -> Policy:
        tracked = self._state.calls.get(caller)
        name = tracked.ai_name if tracked is not None else ""
        return Policy(self._settings.deadman_s, name in self._settings.deaf, name in self._settings.hung_up)

    def _ground(self, caller: str, told: Call | None = None) -> Ground:
        """Where the AI is by now, or, where it has a channel, as `told`. Raises `ChannelGone` when there is none."""
        where = self._state.ground(caller)
        ai = told.channels.ai_id if told is not None else ""
        if told is not None and told.topology is not Topology.INLINE and (where is None or where.ai != ai):
            where = Ground(caller, ai, told.topology) if ai else None
        if where is None:
            raise ChannelGone(self._name, f"the AI's in {self._state.id(caller)}")
        return where

    def _live(self) -> Connection:
        if self._connection is None:
            raise PbxUnavailable(self._name, self._why)
        return self._connection
