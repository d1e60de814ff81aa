"""Where the AI of a call is, and what silences it, makes it audible again, and ends it there. Commands only, no I/O.

An AI that is bridged with the caller is silenced where it comes in: ``read`` of its channel. An AI on the caller's own
channel, or alone with him in a conference, is silenced where it goes out to him: ``write`` of his channel, by a media
bug (``audio``) that must stand behind the AI's and before the agents' (`attach`). With more members in a conference
they are silenced to each other only (`relate`), which acts before the conference's buffers: 0.1 s later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..domain.calls import Topology
from .wire import CONTEXT, UNSET

BUG = "media-bug/"
"""What an AI that is a media bug is called in front of its function: ``media-bug/audio_stream``."""
OURS = "audio", "eavesdrop"
"""Functions of our own media bugs."""
STOPS: Mapping[str, str] = {
    "audio_stream": "uuid_audio_stream {0} stop",
    "audio_fork": "uuid_audio_fork {0} stop",
    "displace": "uuid_displace {0} stop {1}",
}
"""How the media bugs of known modules are ended; ``{0}`` is the caller's uuid, ``{1}`` the bug's target."""


@dataclass(frozen=True, slots=True)
class Ground:
    """`ai` is the AI's channel, empty where it has none; `via` is what it is on the caller's own channel. `relation` is
    ``<conference> relate <AI> <caller>`` where both are members, `alone` whether nobody else is."""

    caller: str
    ai: str
    topology: Topology
    via: str = ""
    relation: str = ""
    alone: bool = False

    @property
    def own(self) -> bool:
        """Whether the AI is on the caller's own channel."""
        return self.topology is Topology.INLINE

    @property
    def here(self) -> bool:
        """Whether the AI is silenced on the caller's channel."""
        return self.own or (self.topology is Topology.CONFERENCE and self.alone)

    @property
    def bug(self) -> str:
        """The function of the AI's media bug; empty where it is none."""
        return self.via.removeprefix(BUG) if self.own and self.via.startswith(BUG) else ""


def mute(ground: Ground, leg: str) -> str:
    """Silences the AI, if at that moment `leg` holds the floor and is armed to give the call back: a leg that died on
    the way has nothing that would make the AI audible again."""
    if ground.here:
        return _silence(ground, leg, ground.caller, "write")
    if ground.relation:
        name, _, relation = ground.relation.partition(" ")
        return f"expand conference {_if_stands(ground, leg, name)} {relation} nospeak"
    return _silence(ground, leg, ground.ai, "read")


def deafen(ground: Ground, leg: str) -> str:
    """Lets an AI with a channel of its own hear nothing, under the same condition."""
    return _silence(ground, leg, ground.ai, "write")


def _silence(ground: Ground, leg: str, channel: str, direction: str) -> str:
    return f"expand uuid_audio {_if_stands(ground, leg, channel)} start {direction} mute 1"


def _if_stands(ground: Ground, leg: str, whom: str) -> str:
    stands = f"x${{hash(select/{CONTEXT}/{ground.caller})}}${{uuid_getvar({leg} takeover_armed)}} == x{leg}{leg}"
    return f"${{cond({stands} ? {whom} : nobody)}}"


def audible(ground: Ground) -> list[str]:
    """The AI is heard again, and hears, however it was silenced: who else is in a conference may have changed since. On
    the caller's own channel the bug stays where it is, for whoever listens."""
    said = [] if ground.own else [f"uuid_audio {ground.ai} stop"]
    if ground.topology is not Topology.DIALLED:
        said.append(f"uuid_audio {ground.caller} start write mute 0")
    return [*said, f"conference {ground.relation} clear"] if ground.relation else said


@dataclass(frozen=True, slots=True)
class Lent:
    """What a speaker found, and changed about the call for as long as he speaks. `after`: the caller's own
    ``transfer_after_bridge`` before that. `watched`: the AI's end in a conference is watched by a hook of ours on its
    channel. `place`: the caller's in the dialplan; FreeSWITCH counts how often he was led to another."""

    after: str = ""
    watched: bool = False
    place: str = ""


def give_back(ground: Ground, leg: str, lent: Lent) -> str:
    """What the PBX itself does when a speaker's leg ends, whatever the reason: the AI is audible, the caller's line is
    as it was, the floor is free, and a caller whose AI has left meanwhile goes to the fallback.

    The last part is a condition without an `if`: nobody is called `_undef_`, or `nobody`. The floor is freed before it
    is looked whether the AI has left, and the AI's end looks in the opposite order: however the two fall together, one
    of them sees the other.
    """
    free = f"${{hash(delete_ifmatch/{CONTEXT}/{ground.caller}/{leg})}}"
    acts = [free, *map(_call, [*audible(ground), *returned(ground, lent)])]
    acts.append(f"${{uuid_transfer({_forsaken(ground, lent)} takeover_fallback XML {CONTEXT})}}")
    return f"uuid_setvar {leg} api_hangup_hook echo {' '.join(acts)}"


def _forsaken(ground: Ground, lent: Lent) -> str:
    """The caller, if his AI has left him where he is; whom somebody has led elsewhere since, into a queue say, is not
    ours to move."""
    caller = ground.caller
    waits = f"${{uuid_getvar({caller} takeover_paired_uuid)}}"
    if ground.bug:
        there = f"${{regex(${{uuid_buglist({caller})}}|>{ground.bug}<)}}"
        return f"${{cond({there}{_place(caller)} == false{lent.place} ? {caller} : nobody)}}"
    if ground.topology is Topology.CONFERENCE:
        return f"${{cond({_bridged(caller)}{_place(caller)} == false{lent.place} ? {waits} : nobody)}}"
    return f"${{cond(x${{uuid_getvar({caller} context)}} == x{CONTEXT} ? {waits} : nobody)}}"


def returned(ground: Ground, lent: Lent) -> list[str]:
    """Takes back what was changed for as long as somebody speaks; each is to be expanded. A caller whose AI is hanging
    up keeps what keeps him: where he goes after the bridge he looks up to 20 ms later, and he would be hung up. But not
    one who was led out of that bridge, which ends the bond between the two: he would come back from where he is."""
    acts: list[str] = []
    if ground.topology is Topology.DIALLED:
        lives = f"${{regex(${{uuid_getvar({ground.ai} hangup_cause)}}|^{UNSET})}}"
        bond = f"${{uuid_getvar({ground.caller} signal_bond)}}"
        whose = f"${{cond({lives}{bond} == false{ground.ai} ? nobody : {ground.caller})}}"
        acts.append(f"uuid_setvar {whose} transfer_after_bridge {lent.after}".rstrip())
    if lent.watched:
        acts.append(f"uuid_setvar {ground.ai} api_hangup_hook")
    return acts


def watch_the_ai(ground: Ground, lent: Lent) -> str:
    """What the PBX does when an AI leaves a conference while an agent speaks: it notes that the caller waits, and leads
    him to the fallback if the floor is free by then, and he did not leave himself, to be bridged with somebody else or
    led elsewhere."""
    caller = ground.caller
    spoken = f"${{uuid_exists(${{hash(select/{CONTEXT}/{caller})}})}}"
    stayed = f"{spoken}{_bridged(caller)}{_place(caller)} == falsefalse{lent.place}"
    there = f"${{cond({stayed} ? {caller} : nobody)}}"
    acts = (
        f"${{uuid_setvar({caller} takeover_paired_uuid {caller})}}",
        f"${{uuid_transfer({there} takeover_fallback XML {CONTEXT})}}",
    )
    return f"uuid_setvar {ground.ai} api_hangup_hook echo {' '.join(acts)}"


def _bridged(caller: str) -> str:
    """``true`` while the caller is bridged with somebody, as nobody in a conference is."""
    return f"${{uuid_exists(${{uuid_getvar({caller} signal_bond)}})}}"


PLACE = "profile_index"
"""Each transfer gives a channel another one."""


def _place(caller: str) -> str:
    return f"${{uuid_getvar({caller} {PLACE})}}"


def is_watch(hook: str) -> bool:
    """Whether this is what `watch_the_ai` sets."""
    return "takeover_paired_uuid" in hook


def end(ground: Ground, target: str = "") -> Sequence[str] | None:
    """Ends the AI and leaves the caller with the agent; None where FreeSWITCH has no command for it. `target`: what the
    AI's media bug works on, where that is known and can stand in a command."""
    if not ground.own:
        return (f"uuid_kill {ground.ai}",)
    if not ground.bug:
        return (f"uuid_transfer {ground.caller} takeover_pair XML {CONTEXT}",)
    stop = STOPS.get(ground.bug)
    if stop is None or ("{1}" in stop and not target):
        return None
    return (stop.format(ground.caller, target),)


def _call(command: str) -> str:
    verb, _, arguments = command.partition(" ")
    return f"${{{verb}({arguments})}}"
