"""What is known of one Asterisk, and the calls that follow from it; frozen, so that `translate` can be a fold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ..adapter.guards import UUID
from ..adapter.tables import AI_LEFT, Rule, put
from ..domain.calls import Ai, Call, CallId, Channels, Mode, ModeChoice, Party, PatchId, Topology, call_id
from .wire import TEST_CALL

_BORN = re.compile(r"(?:^|-)(\d{9,11})\.\d+$")

PAIRED = "The AI has left this call. Caller and agent go on together, and a change of mode would part them."
_NOT_YET: Mapping[Topology, str] = {
    Topology.INLINE: (
        "The AI runs as an application on the caller's own channel, where it cannot be muted live. "
        "Let the dialplan dial it instead: Dial(AudioSocket/host:port/uuid/c(slin))."
    ),
    Topology.STASIS: "The AI is in a bridge of another application (ARI), which the PBX does not let others join.",
    Topology.CONFERENCE: "The AI is in a conference, whose members cannot be muted one for the other.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, by its Uniqueid; the name may change (masquerade), the id does not."""

    id: str
    name: str
    number: str
    caller_name: str
    since: datetime
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class AiLeg:
    """A channel that is an AI, from its dialling to its end. `dialled_by`: a Uniqueid, empty when nobody dialled it."""

    name: str
    ref: str
    dialled_by: str


@dataclass(frozen=True, slots=True)
class Hook:
    """What the dialplan's register hook said of the caller's channel. `waits`: the AI has not come yet."""

    tenant: str
    queue: str
    ref: str
    recording: str
    waits: bool


@dataclass(frozen=True, slots=True)
class Tracked:
    """A call, by its caller's Uniqueid. `ai` is empty when there is no AI channel; `left`, when the AI went."""

    ai: str
    ai_name: str
    ai_ref: str
    topology: Topology
    answered_at: datetime | None
    left: bool = False
    paired: bool = False
    notes: tuple[str, ...] = ()
    shown: Call | None = None
    """As it was last told."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent leg that the PBX confirmed, ours or another service's, by its channel's Uniqueid."""

    call: str
    patch: PatchId
    channel: str
    instance: str
    mode: Mode
    name: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one PBX. `unfit` says why nobody can engage on it; empty when all is well."""

    pbx: str
    rules: Sequence[Rule] = ()
    unfit: str = ""
    channels: Mapping[str, Channel] = field(default_factory=dict)
    ais: Mapping[str, AiLeg] = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    """Channels that the dialplan marked as an AI before they were dialled."""
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    calls: Mapping[str, Tracked] = field(default_factory=dict)
    agents: Mapping[str, Agent] = field(default_factory=dict)
    test: bool = False
    """Whether only the test calls of `takeover doctor` count, which else never do."""

    def counts(self, caller: str) -> bool:
        """Whether a call of this caller may be one of ours."""
        return caller.startswith(TEST_CALL) == self.test

    def id(self, caller: str) -> CallId:
        return call_id(self.pbx, caller)

    def call_of_ai(self, channel: str) -> str:
        """The caller whose AI this channel is, or nothing; some events name no channel, and some calls have no AI's."""
        return next((caller for caller, call in self.calls.items() if call.ai == channel), "") if channel else ""

    def speaker(self, caller: str) -> Agent | None:
        """Who speaks in this caller's call."""
        return next((agent for agent in self.agents.values() if agent.call == caller and agent.mode.speaks), None)

    def members(self, bridge: str) -> list[str]:
        """Uniqueids of the channels in this bridge."""
        return [channel.id for channel in self.channels.values() if channel.bridge == bridge] if bridge else []


def known(text: str) -> str:
    """AMI's words for "nothing" are nothing."""
    return "" if text in ("<unknown>", "(null)", "<none>") else text


def uuid_in(text: str) -> str:
    """The uuid in an AudioSocket channel's name or dial string, or nothing."""
    found = UUID.search(text)
    return found[0] if found else ""


def born(uniqueid: str, otherwise: datetime) -> datetime:
    """When a channel began: its Uniqueid says so (``[system-]seconds.serial``), even after a restart of ours."""
    found = _BORN.search(uniqueid)
    return datetime.fromtimestamp(int(found[1]), UTC) if found else otherwise


def why_not(state: State, tracked: Tracked) -> str:
    """Why nobody can engage in this call; empty when everybody can."""
    if state.unfit:
        return state.unfit
    if tracked.paired:
        return PAIRED
    if tracked.left:
        return AI_LEFT
    return _NOT_YET.get(tracked.topology, "")


def call_of(state: State, caller: str) -> Call:
    """The call as the domain sees it."""
    tracked, channel = state.calls[caller], state.channels[caller]
    ai, hook = state.channels.get(tracked.ai), state.hooks.get(caller)
    why = why_not(state, tracked)
    return Call(
        id=state.id(caller),
        pbx=state.pbx,
        channels=Channels(channel.name, caller, ai.name if ai else "", ai.id if ai else ""),
        caller=Party(channel.number, channel.caller_name),
        ai=Ai(tracked.ai_name, (hook.ref if hook else "") or tracked.ai_ref),
        started_at=channel.since,
        answered_at=tracked.answered_at,
        topology=tracked.topology,
        modes=tuple(ModeChoice(mode, not why, None if why else "live", why) for mode in Mode),
        tenant=(hook.tenant if hook else "") or "default",
        queue=hook.queue if hook else "",
        recording=hook.recording if hook else "",
        notes=tracked.notes,
    )


def with_call(state: State, caller: str, tracked: Tracked) -> State:
    return replace(state, calls=put(state.calls, caller, tracked))
