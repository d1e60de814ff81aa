"""One FreeSWITCH as a `Pbx`: verbs out over ESL, its events in order.

The agent's leg runs `eavesdrop` on the caller, and `uuid_audio` silences the AI; the caller's own bridge is never
touched. Who speaks is guarded by a key in the PBX (`hash insert_ifempty`), and what the speaker's leg must put right
when it ends, however that happens, is its own `api_hangup_hook` before anything is muted.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from ..adapter.chores import Chores
from ..adapter.connected import stay_connected
from ..adapter.guards import encoded
from ..adapter.tables import Rule
from ..domain.calls import Call, Mode, PatchId
from ..domain.errors import AlreadyTaken, BadValue, ChannelGone, PbxUnavailable, VerbRefused
from ..domain.events import CallGone, PbxEvent, PbxUp, SnapshotTaken
from ..ports import Endpoint, Engaged
from . import floor, wire
from .admission import admit, recheck
from .client import Address, Connection
from .facts import PAIRED, Agent, State
from .legs import Legs
from .resync import Row, missed, resync, rows, worth_a_dump
from .translate import TRANSFERRED, fold
from .wire import Message

log = structlog.get_logger(__name__)

ORIGINATE_S = 5
"""How long FreeSWITCH tries to reach the media worker."""
MEDIA_TIMEOUT_MS = 800
"""Silence of the worker after which FreeSWITCH itself ends the leg: with 1000 the AI is back after 1045 (measured)."""
DIGIT_MS = 120
LOOK_AGAIN_S = 2.0
"""More than `show` lags behind."""
_GONE = ("no such channel", "cannot locate session", "cannot find session", "no such session")


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


class FreeSwitchPbx:
    """Implements `ports.Pbx`. `instance` names this service on the PBX: one that restarts must keep it."""

    def __init__(self, name: str, settings: FreeSwitchSettings, instance: str) -> None:
        self._name = name
        self._settings = settings
        self._instance = wire.allowed("instance", instance)
        self._address = Address(settings.host, settings.port, settings.secret)
        wire.allowed("profile", settings.sip_profile)
        for destination in settings.destinations.values():
            wire.allowed("destination", destination)
        self._state = State(name, tuple(Rule(ai, re.compile(match)) for ai, match in settings.ais))
        self._connection: Connection | None = None
        self._why = "not connected yet"
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
        channels, calls, dumps = await self._look(connection)
        return resync(self._state, channels, calls, dumps, datetime.now(UTC))

    async def _look(self, connection: Connection) -> tuple[list[Row], list[Row], dict[str, str]]:
        channels, calls = map(rows, await connection.api("show channels as json", "show calls as json"))
        wanted = {*worth_a_dump(self._state, channels, calls), *self._legs.ids()}
        ids = sorted(channel for channel in wanted if wire.is_id(channel))
        dumps = await connection.api(*(f"uuid_dump {channel} txt" for channel in ids))
        return channels, calls, dict(zip(ids, dumps, strict=True))

    async def _look_again(self, connection: Connection) -> None:
        """What began just before we came may not have been in the table yet, and no event tells it to us any more."""
        await asyncio.sleep(LOOK_AGAIN_S)
        _, calls, dumps = await self._look(connection)
        for message in missed(self._state, calls, dumps):
            connection.note(message)

    def _take(self, connection: Connection, message: Message) -> list[PbxEvent]:
        agents = self._state.agents
        self._state, events = fold(self._state, message, datetime.now(UTC))
        for event in events:
            if isinstance(event, CallGone):  # led away by somebody else: no agent of ours goes along
                ours = [a.patch for a in agents.values() if self._state.id(a.call) == event.call and self._is_ours(a)]
                if ours and event.why == "transferred":
                    self._chores.start(floor.kill(connection, ours))
        return events

    def _is_ours(self, agent: Agent) -> bool:
        return agent.instance == self._instance

    async def _disconnected(self) -> None:
        self._connection = None
        self._legs.lost()
        await self._chores.end()

    # ---- verbs ----

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
        """See `ports.Pbx`. Raises also `BadValue`, when a fact about the call or the endpoint must not reach ESL."""
        connection = self._live()
        patch = PatchId(wire.allowed("uuid", endpoint.uuid))
        caller = wire.allowed("unique id", call.channels.caller_id)
        if not call.channels.ai_id:
            raise ChannelGone(self._name, f"the AI's in {call.id}")
        ai = wire.allowed("unique id", call.channels.ai_id)
        if not endpoint.sip_port:
            raise VerbRefused(self._name, "engage", "the media worker has no SIP port")
        for channel, there in zip(
            (caller, ai), await connection.api(f"uuid_exists {caller}", f"uuid_exists {ai}"), strict=True
        ):
            if there != "true":
                raise ChannelGone(self._name, channel)
        command = wire.originate(
            wire.Patch(
                host=endpoint.host,
                port=endpoint.sip_port,
                uuid=patch,
                caller=caller,
                instance=self._instance,
                profile=self._settings.sip_profile,
                media_timeout_ms=self._settings.media_timeout_ms,
                timeout_s=ORIGINATE_S,
                name=name,
            )
        )
        with self._legs.dialling(patch):
            result = await connection.job(command, ORIGINATE_S + 1)
            if not result.startswith("+OK"):
                why = f"the agent leg could not be connected ({result.removeprefix('-ERR').strip() or 'no reason'})"
                raise VerbRefused(self._name, "engage", why)
            if self._legs.is_unwanted(patch):
                await connection.api(f"uuid_kill {patch}")
                raise ChannelGone(self._name, patch)
        try:
            await self._enter(connection, call, Agent(caller, patch, self._instance, mode, name), ai, before=None)
        except BaseException:  # also a cancellation: a leg that nobody knows of must not stay in the call
            self._chores.start(floor.kill(connection, [patch]))
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
        if agent is None or tracked is None:
            raise ChannelGone(self._name, patch)
        if not tracked.ai:
            raise ChannelGone(self._name, f"the AI's in {engaged.call}")
        await self._enter(connection, tracked.shown, replace(agent, mode=mode), tracked.ai, before=agent.mode)
        return replace(engaged, channel=patch, mode=mode)

    async def renew(self, engaged: Engaged) -> None:
        """See `ports.Pbx`."""
        connection = self._live()
        patch = wire.allowed("uuid", engaged.patch)
        if self._legs.find(patch) is None:
            raise ChannelGone(self._name, patch)
        *_, noted = await connection.api(*wire.deadman(patch, self._settings.deadman_s, time.time_ns() // 1_000_000))
        self._check(noted, "renew", patch)

    async def release(self, engaged: Engaged) -> None:
        """See `ports.Pbx`. Where the leg is still being dialled, it is hung up as soon as it is there."""
        connection = self._live()
        patch = wire.allowed("uuid", engaged.patch)
        self._legs.refuse(patch)
        with self._legs.watch(patch) as heard:
            [answer] = await connection.api(f"uuid_kill {patch}")
            if answer.startswith("+OK"):
                await self._legs.gone(heard)
            elif not _is_gone(answer):
                raise VerbRefused(self._name, "release", answer or "no reason given")

    async def hangup(self, call: Call) -> None:
        """See `ports.Pbx`."""
        [answer] = await self._live().api(f"uuid_kill {wire.allowed('unique id', call.channels.caller_id)}")
        if not answer.startswith("+OK") and not _is_gone(answer):
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
        agents = [agent.patch for agent in self._state.agents.values() if agent.call == caller]
        _, _, moved, *_ = await connection.api(
            f"uuid_setvar {caller} takeover_paired_uuid",  # or the agent's end would lead him to the fallback
            f"uuid_setvar {caller} transfer_after_bridge",
            f"uuid_transfer {caller} {extension} XML {context}",
            *(f"uuid_kill {patch}" for patch in agents),
        )
        self._check(moved, "transfer", caller)
        await connection.send(wire.event("takeover::transferred", call=caller))
        connection.note(Message({"event-name": TRANSFERRED, "takeover-call": caller}))

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """See `ports.Pbx`. FreeSWITCH queues the digits and sends them one by one."""
        wire.allowed("digits", digits)
        if not call.channels.ai_id:
            raise VerbRefused(self._name, "send_dtmf", "the AI has left this call")
        ai = wire.allowed("unique id", call.channels.ai_id)
        [answer] = await self._live().api(f"uuid_send_dtmf {ai} {digits}@{DIGIT_MS}")
        self._check(answer, "send_dtmf", ai)

    # ---- how a leg comes into a mode ----

    async def _enter(
        self, connection: Connection, call: Call | None, agent: Agent, ai: str, before: Mode | None
    ) -> None:
        """Brings a leg that eavesdrops on the caller into its mode, in the order in which nothing can go wrong for
        him: the floor, what puts all right at the leg's end, the mute, the agent's voice; and back the other way."""
        patch, caller, mode = agent.patch, agent.call, agent.mode
        tracked = self._state.calls.get(caller)
        name = call.ai.name if call is not None else tracked.ai_name if tracked is not None else ""
        spoke = before is not None and before.speaks
        if mode.speaks and not spoke:
            speaker = await floor.take(connection, agent)
            if speaker is not None:
                await floor.refuse(connection, agent, before, speaker)
                raise AlreadyTaken(self._state.id(caller), speaker or "another service")
        try:
            await self._carry_out(connection, agent, ai, name, before)
        except BaseException:  # also a cancellation: half of it must not stay done
            if mode.speaks:
                self._chores.start(floor.undo(connection, caller, ai, patch))
            raise

    async def _carry_out(self, connection: Connection, agent: Agent, ai: str, name: str, before: Mode | None) -> None:
        patch, caller, mode = agent.patch, agent.call, agent.mode
        spoke = before is not None and before.speaks
        now = time.time_ns() // 1_000_000
        commands: list[str] = list(wire.deadman(patch, self._settings.deadman_s, now)) if before is None else []
        muted = ""
        if mode.speaks and not spoke:
            [after] = await connection.api(f"uuid_getvar {caller} transfer_after_bridge")
            after = after if wire.is_place(after) else ""
            commands += [
                wire.give_back(caller, ai, patch, after),
                f"uuid_setvar {patch} takeover_after {after}".rstrip(),
                f"uuid_setvar {patch} takeover_armed {patch}",
                f"uuid_setvar {caller} transfer_after_bridge takeover_pair:XML:{wire.CONTEXT}",
            ]
        if mode is Mode.TAKEOVER and before is not Mode.TAKEOVER:
            muted = wire.mute(caller, ai, patch, "read")
            commands.append(muted)
            if name in self._settings.deaf:
                commands.append(wire.mute(caller, ai, patch, "write"))
        answers = dict(zip(commands, await connection.api(*commands), strict=True)) if commands else {}
        if muted and not answers[muted].startswith("+OK"):
            raise ChannelGone(self._name, ai) if _is_gone(answers[muted]) else self._no("engage", answers[muted])
        if before is not None or mode is not Mode.MONITOR:
            reply = await connection.send(wire.eavesdrop(patch, mode))
            if not reply["reply-text"].startswith("+OK"):
                raise self._no("switch", reply["reply-text"])
        commands = []
        if before is Mode.TAKEOVER and mode is not Mode.TAKEOVER:
            commands.append(f"uuid_audio {ai} stop")
        if spoke and not mode.speaks:
            [after] = await connection.api(f"uuid_getvar {patch} takeover_after")
            commands += [
                f"uuid_setvar {caller} transfer_after_bridge {after if wire.is_place(after) else ''}".rstrip(),
                f"uuid_setvar {patch} takeover_armed",
                f"uuid_setvar {patch} api_hangup_hook",
                f"hash delete_ifmatch/{wire.CONTEXT}/{caller}/{patch}",
            ]
        if mode is Mode.TAKEOVER and name in self._settings.hung_up:
            commands.append(f"uuid_kill {ai}")  # the PBX keeps caller and agent together, as at any end of the AI
        *_, there = await connection.api(*commands, f"uuid_setvar {patch} takeover_mode {mode.value}")
        self._check(there, "engage" if before is None else "switch", patch)
        self._legs.enter(agent)
        await connection.send(
            wire.event(
                "takeover::mode",
                call=caller,
                patch=patch,
                instance=agent.instance,
                mode=mode.value,
                name=encoded(agent.name),
            )
        )

    def _check(self, answer: str, verb: str, channel: str) -> None:
        if answer.startswith("+OK"):
            return
        if _is_gone(answer):
            raise ChannelGone(self._name, channel)
        raise self._no(verb, answer)

    def _no(self, verb: str, answer: str) -> VerbRefused:
        return VerbRefused(self._name, verb, answer.removeprefix("-ERR").strip() or "no reason given")

    def _live(self) -> Connection:
        if self._connection is None:
            raise PbxUnavailable(self._name, self._why)
        return self._connection


def _is_gone(answer: str) -> bool:
    return any(words in answer.lower() for words in _GONE)
