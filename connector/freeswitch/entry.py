"""How an agent's leg comes into a mode, in the order in which nothing can go wrong for the caller: the floor, what puts
all right at the leg's end, the mute, the agent's voice; and back the other way."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..adapter.guards import encoded
from ..domain.calls import Mode, Topology, call_id
from ..domain.errors import AlreadyTaken, ChannelGone, PbxError, VerbRefused
from . import attach, floor, ground, wire
from .client import Connection
from .facts import Agent
from .ground import Ground, Lent
from .legs import Legs

DIAL_S = 5
"""How long FreeSWITCH tries to reach the media worker; up to a second less."""
LATE_S = 0.1
"""Seconds without an answer of the pulse, in which nobody is heard by the caller, until he has the AI again."""
_GONE = (
    "no such channel",
    "conference nobody not found",
    "cannot locate session",
    "cannot find session",
    "no such session",
)


MIXED_S = 0.2
"""Longer than a conference's buffers still have the voice of a member who was just silenced (0.1 s, measured)."""


@dataclass(frozen=True)
class Policy:
    """`deadman_s`: for how long a leg lives unrenewed. `deaf`, `ends`: whether this call's AI hears nothing during a
    takeover, and whether it is hung up at one."""

    deadman_s: float
    deaf: bool = False
    ends: bool = False


@dataclass(frozen=True)
class Entry:
    """One leg on its way from the mode `before` (None when it has just come) into `agent.mode`."""

    connection: Connection
    legs: Legs
    agent: Agent
    where: Ground
    policy: Policy
    before: Mode | None

    @property
    def verb(self) -> str:
        return "engage" if self.before is None else "switch"

    @property
    def begins(self) -> bool:
        """Whether the caller is to hear the agent now, and did not before."""
        return self.agent.mode.speaks and not self.spoke

    @property
    def spoke(self) -> bool:
        return self.before is not None and self.before.speaks


@dataclass(frozen=True)
class Prepared:
    """`lent`: what a speaker will change about the call; `late`: his leg was dialled before he had the floor, so it is
    told to speak."""

    lent: Lent | None
    late: bool = False


async def prepare(entry: Entry) -> Prepared:
    """What comes before a leg, all in the first step of this task, so that the leg can be dialled in the same breath:
    both channels are there, the placeholder is, and a speaker has the floor. Raises `AlreadyTaken`, `ChannelGone`,
    `PbxTimeout`, `PbxUnavailable`."""
    connection, where, speaks = entry.connection, entry.where, entry.agent.mode.speaks
    channels = (where.caller, where.ai or where.caller)
    asked = [*map("uuid_exists {}".format, channels), *([attach.placed(where)] if where.here else ())]
    answers = await connection.api(*asked, *(_floor(entry) if speaks else ()))
    for channel, there in zip(channels, answers, strict=False):
        if there != "true":
            raise ChannelGone(connection.pbx, channel)
    if not speaks:
        return Prepared(None)
    taken, holder, *was = answers[len(asked) :]
    return Prepared(await _lent(entry, taken, holder, was), late=not floor.is_ours(entry.agent, taken, holder))


async def take_floor(entry: Entry) -> Lent:
    """Makes the leg the one that may speak. Returns what it will change about the call. Raises `AlreadyTaken`,
    `PbxTimeout`, `PbxUnavailable`."""
    taken, holder, *was = await entry.connection.api(*_floor(entry))
    return await _lent(entry, taken, holder, was)


def _floor(entry: Entry) -> list[str]:
    """In this order: what is read before the floor is taken may be another speaker's."""
    return [*floor.claim(entry.agent), *_was(entry.where)]


async def _lent(entry: Entry, taken: str, holder: str, was: Sequence[str]) -> Lent:
    speaker = await floor.rival(entry.connection, entry.agent, taken, holder)
    if speaker is not None:
        await floor.refuse(entry.connection, entry.agent, entry.before, speaker)
        raise _taken(entry, speaker)
    return _lending(entry.where, was)


async def bring(entry: Entry, preparing: asyncio.Future[Prepared], dialling: asyncio.Future[str], pulse: str) -> None:
    """Brings a new leg into its mode, with its `pulse` beside it. It is dialled while what it needs is still being
    prepared, and ended where that fails.

    FreeSWITCH looks every 20 ms whether the leg has answered, and only then lets it eavesdrop; a speaker aloud at once
    (`wire.originate`). That time is used: while the worker is being called the leg is armed with what puts all right at
    its end and its pulse is dialled, and as soon as it answers the AI is silenced; in this order, so that FreeSWITCH
    itself misses whoever dies behind the mute, however much of it was read by then. As it reads a command byte by byte,
    what may wait comes after the mute. Raises as `change` does.
    """
    connection, agent = entry.connection, entry.agent
    asked: list[asyncio.Task[None]] = []
    pulsing: asyncio.Task[str] | None = None
    try:
        with entry.legs.dialling(agent.patch) as coming, entry.legs.dialling(wire.pulse_of(agent.patch)) as beside:
            ready = await preparing
            lent = ready.lent
            await _reached(entry, coming.created, dialling)
            if lent is not None:
                asked.append(asyncio.create_task(_arm(entry, lent)))
            pulsing = asyncio.create_task(connection.job(pulse, DIAL_S + 1))
            await _reached(entry, coming.answered, dialling)
            if lent is not None:
                asked.append(asyncio.create_task(_hold(entry)))
            asked.append(asyncio.create_task(_note(entry, lent)))
            await asyncio.gather(*asked)  # tasks begin, and so ask, in the order in which they were made
            _check_dialled(entry, await asyncio.shield(dialling))
            if entry.legs.is_unwanted(agent.patch):
                raise ChannelGone(connection.pbx, agent.patch)
            await _beats(entry, beside.answered, pulsing)
        if lent is not None and entry.where.here and not await attach.is_right(connection, entry.where):
            await _in_order(entry, *(_silencing(entry) if agent.mode is Mode.TAKEOVER else ()))
        if agent.mode is Mode.WHISPER or ready.late:
            await _say_mode(entry)
        _check_dialled(entry, await pulsing)
    finally:
        begun: list[asyncio.Task[Any]] = [*asked, *([pulsing] if pulsing is not None else [])]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
    await _finish(entry)


async def _beats(entry: Entry, answered: asyncio.Future[None], pulsing: asyncio.Future[str]) -> None:
    """Until the leg's pulse has answered. Whose worker is late is not heard either: the caller has his AI meanwhile.
    Raises as `bring` does."""
    either: list[asyncio.Future[Any]] = [pulsing, answered]
    await asyncio.wait(either, timeout=LATE_S, return_when=asyncio.FIRST_COMPLETED)
    late = not answered.done() and not pulsing.done() and entry.agent.mode is Mode.TAKEOVER
    if late:
        await entry.connection.api(*ground.audible(entry.where))
    await _reached(entry, answered, pulsing)
    if late:
        await _hold(entry)


async def _reached(entry: Entry, step: asyncio.Future[None], dialling: asyncio.Future[str]) -> None:
    """Until the leg is so far, which its dialling's end may say first. Raises `VerbRefused`."""
    either: list[asyncio.Future[Any]] = [dialling, step]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if dialling.done():
        _check_dialled(entry, await dialling)


def _check_dialled(entry: Entry, result: str) -> None:
    if not result.startswith("+OK"):
        why = f"the agent leg could not be connected ({result.removeprefix('-ERR').strip() or 'no reason'})"
        raise VerbRefused(entry.connection.pbx, entry.verb, why)


async def change(entry: Entry) -> None:
    """Brings a leg that eavesdrops on the caller into another mode. Raises `AlreadyTaken`, `ChannelGone`,
    `VerbRefused`, `PbxTimeout`, `PbxUnavailable`; then, and when it is cancelled, the caller must `undo`."""
    if entry.begins:
        lent = await take_floor(entry)
        if entry.where.here and not await attach.is_right(entry.connection, entry.where):
            await _in_order(entry)
        await asyncio.gather(_arm(entry, lent), _hold(entry), _note(entry, lent))
    elif entry.agent.mode is Mode.TAKEOVER and entry.before is not Mode.TAKEOVER:
        await _silence(entry)
    await _say_mode(entry)
    await _finish(entry)


async def _in_order(entry: Entry, *mute: str) -> None:
    await attach.renew(entry.connection, entry.legs, entry.where, entry.agent.patch, *mute)
    if not await attach.is_right(entry.connection, entry.where, last=True):
        why = "the media bugs on the caller's channel are not in order"
        raise VerbRefused(entry.connection.pbx, entry.verb, why)


async def _say_mode(entry: Entry) -> None:
    reply = await entry.connection.send(wire.eavesdrop(entry.agent.patch, entry.agent.mode))
    if not reply["reply-text"].startswith("+OK"):
        raise refused(entry.connection.pbx, entry.verb, reply["reply-text"])


async def _finish(entry: Entry) -> None:
    await _settle(entry)
    agent = entry.agent
    entry.legs.enter(agent)
    said = {"call": agent.call, "patch": agent.patch, "instance": agent.instance, "mode": agent.mode.value}
    await entry.connection.send(wire.event("takeover::mode", **said, name=encoded(agent.name)))


async def _arm(entry: Entry, lent: Lent) -> None:
    """Arms a speaker's leg to give the call back at its end."""
    patch = entry.agent.patch
    give_back = ground.give_back(entry.where, patch, lent)
    await entry.connection.api(give_back, f"uuid_setvar {patch} takeover_armed {patch}")


async def _hold(entry: Entry) -> None:
    """Silences the AI, where that is asked for, and sees that the floor is still the leg's. To be sent behind what arms
    the leg: `ground.mute` acts for one that is armed and has the floor, and for nobody else."""
    agent = entry.agent
    silence = _silencing(entry) if agent.mode is Mode.TAKEOVER else []
    *muted, holder = await entry.connection.api(*silence, f"hash select/{wire.CONTEXT}/{agent.call}")
    if holder != agent.patch:
        if wire.is_id(holder):
            raise _taken(entry, "")
        raise _ended(entry)  # and its own hook has freed the floor
    if muted:
        await _check_silence(entry, muted[0])


async def _note(entry: Entry, lent: Lent | None) -> None:
    """Arms a new leg to end unrenewed, notes on a speaker's what it was `lent`, and sees to it that the caller stays if
    the AI leaves."""
    connection, agent, where = entry.connection, entry.agent, entry.where
    patch = agent.patch
    commands = list(wire.deadman(patch, entry.policy.deadman_s, now())) if entry.before is None else []
    if lent is not None:
        commands += [f"uuid_setvar {patch} takeover_{name} {value}".rstrip() for name, value in _noted(lent).items()]
        if where.topology is Topology.DIALLED:
            commands.append(f"uuid_setvar {agent.call} transfer_after_bridge {wire.PAIR}:XML:{wire.CONTEXT}")
        if lent.watched:
            commands.append(ground.watch_the_ai(where, lent))
    if commands:
        await connection.api(*commands)


def _taken(entry: Entry, speaker: str) -> AlreadyTaken:
    return AlreadyTaken(call_id(entry.connection.pbx, entry.agent.call), speaker or "another service")


def _was(where: Ground) -> list[str]:
    """Asks how that is which a speaker will change about the call."""
    match where.topology:
        case Topology.DIALLED:
            return [f"uuid_getvar {where.caller} transfer_after_bridge"]
        case Topology.CONFERENCE:
            return [f"uuid_getvar {where.ai} api_hangup_hook", f"uuid_getvar {where.caller} {ground.PLACE}"]
        case _:
            return [f"uuid_getvar {where.caller} {ground.PLACE}"] if where.bug else []


def _lending(where: Ground, was: Sequence[str]) -> Lent:
    """What will be changed, by what `_was` was answered: what a speaker left who is just going is not the call's own,
    and an administrator's own hook is not ours to replace."""
    match where.topology:
        case Topology.DIALLED:
            [after] = was
            return Lent(after=after if wire.is_place(after) and not after.startswith(f"{wire.PAIR}:") else "")
        case Topology.CONFERENCE:
            hook, place = was
            return Lent(watched=hook in (wire.UNSET, "") or ground.is_watch(hook), place=_number(place))
        case _:
            return Lent(place=_number(*was)) if was else Lent()


def _number(place: str) -> str:
    """A caller who has just gone has none."""
    return place if place.isascii() and place.isdigit() else ""


def _noted(lent: Lent) -> dict[str, str]:
    """As it is noted on the speaker's leg."""
    return {"after": lent.after, "watched": "yes" if lent.watched else ""}


def _silencing(entry: Entry) -> list[str]:
    mute = [ground.mute(entry.where, entry.agent.patch)]
    return [*mute, ground.deafen(entry.where, entry.agent.patch)] if entry.policy.deaf and not entry.where.own else mute


async def _check_silence(entry: Entry, muted: str) -> None:
    if not muted.startswith("-"):  # `conference ... relate` says nothing when all is well
        return
    [there] = await entry.connection.api(f"uuid_exists {entry.agent.patch}")
    if there != "true":  # a leg that hangs up has no variables any more, and still has the floor until its hook has run
        raise _ended(entry)
    check(entry.connection.pbx, muted, entry.verb, entry.where.ai or entry.where.caller)


async def _silence(entry: Entry) -> None:
    muted, *_ = await entry.connection.api(*_silencing(entry))
    await _check_silence(entry, muted)


async def _settle(entry: Entry) -> None:
    """What comes after the agent is heard, or not heard any more."""
    connection, agent, where = entry.connection, entry.agent, entry.where
    patch, caller = agent.patch, agent.call
    commands: list[str] = []
    if entry.before is Mode.TAKEOVER and agent.mode is not Mode.TAKEOVER:
        commands += ground.audible(where)
    if entry.spoke and not agent.mode.speaks:
        after, watched = await connection.api(
            f"uuid_getvar {patch} takeover_after", f"uuid_getvar {patch} takeover_watched"
        )
        lent = Lent(after if wire.is_place(after) else "", watched == "yes")
        commands += map("expand {}".format, ground.returned(where, lent))
        commands += [
            f"uuid_setvar {patch} takeover_armed",
            f"uuid_setvar {patch} api_hangup_hook",
            *wire.quiet(patch),
            f"hash delete_ifmatch/{wire.CONTEXT}/{caller}/{patch}",
        ]
    if agent.mode is Mode.TAKEOVER and entry.policy.ends:
        target = await attach.target(connection, where)
        commands += ground.end(where, target) or ()  # the PBX keeps caller and agent together, as at any end of the AI
    *_, there = await connection.api(*commands, f"uuid_setvar {patch} takeover_mode {agent.mode.value}")
    if is_gone(there):
        raise _ended(entry)
    check(connection.pbx, there, entry.verb, patch)


def _ended(entry: Entry) -> VerbRefused:
    """It is not the call that is gone."""
    return VerbRefused(entry.connection.pbx, entry.verb, "the agent leg has ended")


async def renewed(entry: Entry) -> None:
    """Puts silencer and speaker in order again after the AI's media bug has begun anew behind them."""
    if await attach.is_right(entry.connection, entry.where):
        return
    mute = [ground.mute(entry.where, entry.agent.patch)] if entry.agent.mode is Mode.TAKEOVER else []
    await attach.renew(entry.connection, entry.legs, entry.where, entry.agent.patch, *mute)
    await entry.connection.send(wire.eavesdrop(entry.agent.patch, entry.agent.mode))


async def joined(entry: Entry) -> None:
    """Silences an AI to the caller alone, and no more all that goes out to him: somebody else has come into the
    conference, whom he is to hear."""
    await _silence(entry)
    await asyncio.sleep(MIXED_S)
    await entry.connection.api(f"uuid_audio {entry.where.caller} start write mute 0")


def now() -> int:
    return time.time_ns() // 1_000_000


def check(pbx: str, answer: str, verb: str, channel: str) -> None:
    """Raises `ChannelGone`, or `VerbRefused`, when the answer says so."""
    if answer.startswith("+OK"):
        return
    if is_gone(answer):
        raise ChannelGone(pbx, channel)
    raise refused(pbx, verb, answer)


def refused(pbx: str, verb: str, answer: str) -> PbxError:
    return VerbRefused(pbx, verb, answer.removeprefix("-ERR").strip() or "no reason given")


def is_gone(answer: str) -> bool:
    return any(words in answer.lower() for words in _GONE)
