"""One Asterisk as a `Pbx`: verbs out over AMI, confirmed by what the PBX itself says, and its events in order."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from ..domain.calls import Call, Mode, PatchId
from ..domain.errors import (
    AlreadyTaken,
    BadValue,
    ChannelGone,
    PbxError,
    PbxTimeout,
    PbxUnavailable,
    VerbRefused,
)
from ..domain.events import CallChanged, PbxDown, PbxEvent, PbxUp, SnapshotTaken
from ..ports import Endpoint, Engaged
from . import wire
from .client import Address, Connection, LoginRefused
from .facts import PAIRED, Agent, Rule, State, uuid_in
from .joins import JoinStats, heal
from .resync import VARIABLES, resync
from .translate import FITNESS, PROBED, TRANSFERRED, fold
from .wire import Message

log = structlog.get_logger(__name__)

INSTALL = "install it with `takeover dialplan --for asterisk --install DIR` and reload"
CONNECT_MS = 5000
"""How long Asterisk tries to reach the media worker."""
CONFIRM_S = 6.0
GONE_S = 2.0
BACKOFF_S = (0.2, 5.0)
"""First and longest pause between two attempts to connect."""
REFUSED_BACKOFF_S = (5.0, 60.0)
"""The same after a refused login: an attempt a second would look like an attack."""
SETTLE_S = 0.3
"""From the bridging of a call to its final technology, generously."""
INLINE_S = 1.0
"""From the register hook to the AI's Dial, generously; an AI on the caller's own channel never dials."""
RECHECK_S = 5.0
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
        self._state = State(name, tuple(Rule(ai, re.compile(match)) for ai, match in settings.ais))
        self._connection: Connection | None = None
        self._why = "not connected yet"
        self._version: wire.Version | None = None
        self._watchers: dict[str, list[asyncio.Queue[Message | None]]] = {}
        self._dialling: set[str] = set()
        """Patches whose Originate is under way: their channel may still come."""
        self._legs: dict[str, str] = {}
        """Channel names by the uuid in them, as soon as AMI says them: the state learns it only in its turn."""
        self._modes: dict[str, Mode] = {}
        """The mode each patch of ours was last sent to."""
        self._chores: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return self._name

    # ---- what happens ----

    async def events(self) -> AsyncIterator[PbxEvent]:
        """See `ports.Pbx`. A refused login is told at once and tried again at long intervals only."""
        told, pause = "", BACKOFF_S[0]
        while True:
            longest = BACKOFF_S[1]
            try:
                async with Connection(self._name, self._address, self._heard) as connection:
                    up = await self._admit(connection)
                    self._connection = connection
                    yield up
                    self._state, snapshot = await self._read(connection)
                    self._legs |= {agent.patch: agent.channel for agent in self._state.agents.values()}
                    for fact in snapshot.events:
                        if isinstance(fact, CallChanged):
                            self._look_at(connection, fact.call)
                    yield snapshot
                    told, pause = "", BACKOFF_S[0]
                    async for message in connection.events():
                        for event in self._take(connection, message):
                            yield event
                    self._why = connection.why
            except LoginRefused as fault:
                self._why, longest = fault.why, REFUSED_BACKOFF_S[1]
                pause = max(pause, REFUSED_BACKOFF_S[0])
            except PbxUnavailable as fault:
                self._why = fault.why
            except PbxError as fault:
                self._why = str(fault)
            finally:
                await self._disconnected()
            log.warning("pbx.down", pbx=self._name, why=self._why, retry_s=pause)
            if self._why != told:
                told = self._why
                yield PbxDown(self._name, self._why)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def snapshot(self) -> SnapshotTaken:
        """See `ports.Pbx`."""
        return (await self._read(self._live()))[1]

    async def _admit(self, connection: Connection) -> PbxUp:
        """Version gate, and a look whether our dialplan is there."""
        settings = await connection.ask(wire.CORE_SETTINGS)
        if not settings.ok:
            why = f"CoreSettings was refused ({settings['message']}): give the AMI user write=originate,call,reporting"
            raise PbxUnavailable(self._name, why)
        text = settings["asteriskversion"]
        self._version = wire.version_of(text)
        if not wire.since(self._version, wire.SUPPORTED):
            why = f"Asterisk {text} is too old: 18.16, 19.8, 20.1 or a later one is needed (AudioSocket and EXPORT)"
            raise PbxUnavailable(self._name, why)
        unfit = await self._unfit(connection)
        self._state = replace(self._state, unfit=unfit)
        if unfit:
            log.error("pbx.unfit", pbx=self._name, why=unfit)
            self._chore(self._recheck(connection))
        return PbxUp(self._name, text.partition("+")[0].partition("~")[0])

    async def _unfit(self, connection: Connection) -> str:
        """Why nobody can engage on this PBX; empty when its dialplan is complete."""
        answers = await asyncio.gather(*(self._has(connection, context) for context in wire.CONTEXTS))
        missing = [context for context, there in zip(wire.CONTEXTS, answers, strict=True) if not there]
        return f"The PBX's dialplan lacks {', '.join(missing)}: {INSTALL}." if missing else ""

    async def _has(self, connection: Connection, context: str) -> bool:
        try:
            return bool(await connection.ask_all(wire.show_dialplan(context)))
        except VerbRefused as fault:
            if "did not find" in fault.why.lower():
                return False
            raise

    async def _recheck(self, connection: Connection) -> None:
        """Until the dialplan is there: AMI tells a reload only to accounts with more rights than we ask for."""
        unfit, pause = self._state.unfit, BACKOFF_S[0]  # a PBX that starts takes logins before it has its dialplan
        while unfit:
            await asyncio.sleep(pause)
            unfit, pause = await self._unfit(connection), min(2 * pause, RECHECK_S)
        connection.note(Message({"event": FITNESS, "why": ""}))

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
        before = self._state.calls
        self._state, events = fold(self._state, message, datetime.now(UTC))
        for event in events:
            if isinstance(event, CallChanged) and event.call.channels.caller_id not in before:
                self._look_at(connection, event.call)
        if message["userevent"] == "TakeoverCall" and message["uniqueid"] in self._state.hooks:
            self._chore(self._look_inline(connection, message["uniqueid"]))
        if message.event == "BridgeLeave" and message["uniqueid"] in self._state.calls:
            for agent in self._state.agents.values():
                if agent.call == message["uniqueid"] and agent.mode.speaks and agent.instance == self._instance:
                    self._chore(self._part(connection, agent))
        return events

    async def _part(self, connection: Connection, agent: Agent) -> None:
        """A speaker whose caller was led away by somebody else's Redirect: without us agent and AI would be left
        talking to each other. A hangup, a pairing and our own transfer have ended it, or moved it, by then."""
        await asyncio.sleep(SETTLE_S)
        caller, tracked = self._state.channels.get(agent.call), self._state.calls.get(agent.call)
        leg = self._state.channels.get(self._leg_id(agent))
        if caller is None or tracked is None or tracked.paired or leg is None or not leg.bridge:
            return
        if caller.bridge != leg.bridge:
            log.info("pbx.caller-led-away", pbx=self._name, call=agent.call)
            await connection.ask(wire.hangup(leg.name))

    def _leg_id(self, agent: Agent) -> str:
        return next((id_ for id_, one in self._state.agents.items() if one.patch == agent.patch), "")

    def _look_at(self, connection: Connection, call: Call) -> None:
        if call.channels.caller.startswith("PJSIP/") and call.channels.ai.startswith("PJSIP/"):
            self._chore(self._probe(connection, call.channels.caller_id))

    async def _probe(self, connection: Connection, caller: str) -> None:
        """Whether two SIP legs talk past our hook: media between the phones, or packets passed on unseen."""
        await asyncio.sleep(SETTLE_S)
        channel = self._state.channels.get(caller)
        if channel is None or not channel.bridge or any(a.call == caller for a in self._state.agents.values()):
            return
        rows = await connection.ask_all(wire.bridge_info(channel.bridge))
        direct = await connection.ask(wire.getvar(channel.name, "CHANNEL(rtp,direct)"))
        technology = next((row["bridgetechnology"] for row in rows if row["bridgetechnology"]), "")
        facts = {"event": PROBED, "uniqueid": caller, "technology": technology, "direct": direct["value"]}
        connection.note(Message(facts))

    async def _look_inline(self, connection: Connection, caller: str) -> None:
        """After the register hook: an AI that was not dialled runs on the caller's own channel."""
        await asyncio.sleep(INLINE_S)
        channel = self._state.channels.get(caller)
        if channel is None or caller in self._state.calls:
            return
        for row in await connection.ask_all(wire.status(VARIABLES, channel.name)):
            if row["uniqueid"] == caller:
                connection.note(row)

    # ---- verbs ----

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode) -> Engaged:
        """See `ports.Pbx`. Raises also `BadValue`, when a fact about the call or the endpoint must not reach AMI."""
        connection = self._live()
        patch = PatchId(endpoint.uuid)
        caller, ai = (
            self._now(call.channels.caller_id, call.channels.caller),
            self._now(call.channels.ai_id, call.channels.ai),
        )
        if endpoint.rate == 16_000 and not wire.since(self._version, wire.WIDEBAND):
            raise VerbRefused(self._name, "engage", "this Asterisk's AudioSocket speaks 8 kHz only")
        action = wire.originate(
            wire.Patch(
                host=endpoint.host,
                port=endpoint.port,
                uuid=endpoint.uuid,
                wideband=endpoint.rate == 16_000,
                channel_id=_channel_id(endpoint.uuid),
                caller=caller,
                caller_id=call.channels.caller_id,
                ai=ai,
                instance=self._instance,
                deadman_s=self._settings.deadman_s,
            ),
            mode,
            CONNECT_MS,
        )
        with self._watch(patch) as heard:
            self._dialling.add(patch)
            self._modes[patch] = mode
            answer = await connection.ask(action)
            if not answer.ok:
                self._forget(patch)
                raise VerbRefused(self._name, "engage", answer["message"] or "no reason given")
            engaged = await self._confirmed(heard, Engaged(call.id, patch, "", mode), "engage")
        self._guard_join(connection, engaged, (caller, ai))
        return engaged

    async def switch(self, engaged: Engaged, mode: Mode) -> Engaged:
        """See `ports.Pbx`."""
        connection = self._live()
        channel = self._channel(engaged)
        tracked = self._state.calls.get(engaged.call.partition("~")[2])
        if tracked is not None and tracked.paired:
            raise VerbRefused(self._name, "switch", PAIRED)
        with self._watch(engaged.patch) as heard:
            self._modes[engaged.patch] = mode
            await self._do(wire.redirect(channel, wire.AGENT_CONTEXT, mode.value), "switch", channel)
            changed = await self._confirmed(heard, replace(engaged, channel=channel, mode=mode), "switch")
        if tracked is not None:
            legs = (self._now(engaged.call.partition("~")[2], ""), self._now(tracked.ai, ""))
            self._guard_join(connection, changed, legs)
        return changed

    async def renew(self, engaged: Engaged) -> None:
        """See `ports.Pbx`."""
        channel = self._channel(engaged)
        await self._do(wire.absolute_timeout(channel, self._settings.deadman_s), "renew", channel)

    async def release(self, engaged: Engaged) -> None:
        """See `ports.Pbx`. Where the leg is still being dialled, it is hung up as soon as it is there."""
        connection = self._live()
        patch = engaged.patch
        self._modes.pop(patch, None)
        with self._watch(patch) as heard:
            channel = self._find(engaged)
            while channel or patch in self._dialling:
                if channel:
                    answer = await connection.ask(wire.hangup(channel))
                    if not answer.ok and not _is_gone(answer):
                        raise VerbRefused(self._name, "release", answer["message"] or "no reason given")
                    if not answer.ok and patch not in self._dialling:
                        break
                channel = await self._left(heard)
        self._forget(patch)

    async def hangup(self, call: Call) -> None:
        """See `ports.Pbx`."""
        channel = self._now(call.channels.caller_id, call.channels.caller)
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
        channel = self._now(call.channels.caller_id, call.channels.caller)
        await self._do(wire.set_destination(channel, place), "transfer", channel)
        await self._do(wire.redirect(channel, wire.TRANSFER_CONTEXT, "s"), "transfer", channel)
        self._live().note(Message({"event": TRANSFERRED, "uniqueid": call.channels.caller_id}))

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """See `ports.Pbx`. Returns when the last digit has been sent."""
        wire.allowed("digits", digits)
        channel = self._now(call.channels.ai_id, call.channels.ai)
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

    # ---- what confirms a verb ----

    def _heard(self, message: Message) -> None:
        """Sees each event first, inside the protocol: wakes the verbs that wait for it, and nothing else."""
        if message.event not in ("UserEvent", "OriginateResponse", "Newchannel", "Rename", "Hangup"):
            return
        patch = uuid_in(message["agent"] or message["channel"])
        match message.event:
            case "OriginateResponse":
                self._dialling.discard(patch)
            case "Newchannel" if patch:
                self._legs[patch] = message["channel"]
            case "Rename" if patch in self._legs:
                self._legs[patch] = message["newname"]
            case "Hangup":
                self._legs.pop(patch, None)
        for queue in self._watchers.get(patch, ()):
            queue.put_nowait(message)

    @contextmanager
    def _watch(self, patch: str) -> Iterator[asyncio.Queue[Message | None]]:
        """What AMI says about a patch while a verb is under way; None when the connection is lost."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        queues = self._watchers.setdefault(patch, [])
        queues.append(queue)
        try:
            yield queue
        finally:
            queues.remove(queue)
            if not queues:
                self._watchers.pop(patch, None)

    async def _next(self, heard: asyncio.Queue[Message | None], until: float, verb: str) -> Message:
        try:
            async with asyncio.timeout_at(until):
                message = await heard.get()
        except TimeoutError as fault:
            raise PbxTimeout(self._name, verb, CONFIRM_S) from fault
        if message is None:
            raise PbxUnavailable(self._name, self._why)
        return message

    async def _confirmed(self, heard: asyncio.Queue[Message | None], wanted: Engaged, verb: str) -> Engaged:
        """Waits until the dialplan itself says that the leg is in the mode, or why not."""
        until = asyncio.get_running_loop().time() + CONFIRM_S
        while True:
            message = await self._next(heard, until, verb)
            what = message["userevent"] or message.event
            if what == "TakeoverMode" and message["mode"] == wanted.mode:
                return replace(wanted, channel=message["agent"])
            if what == "TakeoverRefused":
                if message["reason"] == "busy":
                    raise AlreadyTaken(wanted.call, message["by"] or "another agent")
                raise ChannelGone(self._name, wanted.call.partition("~")[2])
            if what == "OriginateResponse" and message["response"] == "Failure":
                self._forget(wanted.patch)
                raise VerbRefused(
                    self._name, verb, f"the agent leg could not be connected (reason {message['reason']})"
                )
            if what in ("TakeoverEnded", "Hangup"):
                self._forget(wanted.patch)
                raise ChannelGone(self._name, wanted.channel or wanted.patch)

    async def _left(self, heard: asyncio.Queue[Message | None]) -> str:
        """Nothing when the leg has gone; its name when it has only now come and must be hung up."""
        until = asyncio.get_running_loop().time() + GONE_S
        while True:
            message = await self._next(heard, until, "release")
            what = message["userevent"] or message.event
            if what == "Hangup" or (what == "OriginateResponse" and message["response"] == "Failure"):
                return ""
            if what in ("Newchannel", "TakeoverMode"):
                return message["channel"]

    # ---- where things are ----

    def _live(self) -> Connection:
        if self._connection is None:
            raise PbxUnavailable(self._name, self._why)
        return self._connection

    def _now(self, channel: str, otherwise: str) -> str:
        """A channel's name as of now: a masquerade may have renamed it since the caller looked."""
        noted = self._state.channels.get(channel)
        return noted.name if noted else otherwise

    def _find(self, engaged: Engaged) -> str:
        return self._legs.get(engaged.patch) or engaged.channel

    def _channel(self, engaged: Engaged) -> str:
        channel = self._find(engaged)
        if not channel:
            raise ChannelGone(self._name, engaged.patch)
        return channel

    def _forget(self, patch: str) -> None:
        self._dialling.discard(patch)
        self._modes.pop(patch, None)

    # ---- chores ----

    def _guard_join(self, connection: Connection, engaged: Engaged, legs: Sequence[str]) -> None:
        if not engaged.mode.speaks:
            return

        async def again() -> bool:
            if self._modes.get(engaged.patch) is not engaged.mode:
                return False  # it has been released, or sent elsewhere, which is a new join with its own guard
            log.info("pbx.join-stalled", pbx=self._name, call=engaged.call, patch=engaged.patch)
            return (await connection.ask(wire.redirect(engaged.channel, wire.AGENT_CONTEXT, engaged.mode.value))).ok

        self._chore(heal(connection, legs, again, self.joins))

    def _chore(self, work: Coroutine[None, None, None]) -> None:
        """Runs beside the events, no longer than the connection; a fault of the PBX ends it and is logged."""
        task = asyncio.create_task(self._quietly(work))
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _quietly(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (PbxError, BadValue) as fault:
            log.info("pbx.chore-ended", pbx=self._name, why=str(fault))

    async def _disconnected(self) -> None:
        self._connection = None
        self._dialling.clear()
        self._legs.clear()
        for queues in self._watchers.values():
            for queue in queues:
                queue.put_nowait(None)
        chores = list(self._chores)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)


def _is_gone(answer: Message) -> bool:
    return any(words in answer["message"].lower() for words in _GONE)


def _channel_id(patch: str) -> str:
    """In the form of Asterisk's own ids: it compares the seconds to decide whose Linkedid a joined call keeps, and
    the caller's, being older, must win."""
    return f"takeover-{int(time.time())}.{int(wire.allowed('uuid', patch)[:8], 16)}"
