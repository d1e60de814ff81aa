"""What is known of one FreeSWITCH, and the calls that follow from it; frozen, so that `translate` can be a fold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..adapter.tables import AI_LEFT, Rule, nameless, recognised
from ..domain.calls import Ai, Call, CallId, Channels, Mode, ModeChoice, Party, PatchId, Topology, call_id
from .ground import Ground, end
from .wire import TEST_ROLE, Message

PAIRED = "The AI has left this call. The PBX keeps caller and agent together, and a change of mode would part them."
_CONFERENCE = re.compile(r"[A-Za-z0-9_.:@+-]{1,128}")
BYPASSED = (
    "The call's media does not pass through FreeSWITCH (bypass_media or proxy_media), so nobody can be heard in it. "
    "Set both to false for calls with an AI."
)
QUIET = (
    "FreeSWITCH sends the caller nothing while the AI's application says nothing, and then nobody would hear an agent. "
    "Let the dialplan run the hook, or set send_silence_when_idle=-1, before that application."
)
DEAF = (
    "The settings let this AI hear nothing during a takeover, and an AI on the caller's own channel cannot be deafened "
    "without deafening the agent. Barge in, or let the dialplan bridge the AI."
)
ENDLESS = (
    "The settings hang this AI up at a takeover, and FreeSWITCH has no command that ends its media bug. Let it wait "
    "instead, or let the dialplan bridge the AI."
)


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, by its uuid."""

    id: str
    name: str
    number: str
    caller_name: str
    since: datetime
    role: str = ""
    """``ai`` where the dialplan marks it so, ``agent`` and ``pulse`` on legs of ours, ``test`` on those of the test
    calls of `takeover doctor`."""
    bypassed: bool = False
    flows: bool = False
    """Whether FreeSWITCH sends silence to it while nothing else is sent."""
    wide: bool = False
    """Whether more than a telephone's band comes from it."""


@dataclass(frozen=True, slots=True)
class Hook:
    """What the dialplan's `register` said of the caller's channel."""

    tenant: str
    queue: str
    ref: str
    recording: str


@dataclass(frozen=True, slots=True)
class Tracked:
    """A call, by its caller's uuid. `ai` is empty when the AI has gone, or has no channel of its own: then `via` is
    what it is on the caller's (``media-bug/audio_stream``, ``socket/10.0.0.9:8084 async full``), if that is known."""

    ai: str
    ai_name: str
    answered_at: datetime | None
    topology: Topology = Topology.DIALLED
    via: str = ""
    left: bool = False
    paired: bool = False
    shown: Call | None = None
    """As it was last told."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A channel's place in a conference: the conference's id and name, and the member's number."""

    room: str
    name: str = ""
    member: str = ""


def is_seat(seat: Seat) -> bool:
    """Whether it can stand in a command."""
    return bool(_CONFERENCE.fullmatch(seat.name)) and seat.member.isascii() and seat.member.isdigit()


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's leg, ours or another service's, by its uuid, which is the patch's."""

    call: str
    patch: PatchId
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
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    calls: Mapping[str, Tracked] = field(default_factory=dict)
    agents: Mapping[str, Agent] = field(default_factory=dict)
    rooms: Mapping[str, Seat] = field(default_factory=dict)
    """Channels in a conference, in the order in which they came."""
    bugs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Functions of the media bugs on channels, without our own, in their order."""
    deaf: frozenset[str] = frozenset()
    """AIs that hear nothing during a takeover."""
    hung_up: frozenset[str] = frozenset()
    """AIs that are hung up at a takeover."""
    test: bool = False
    """Whether only the test calls of `takeover doctor` count, which else never do."""

    def id(self, caller: str) -> CallId:
        return call_id(self.pbx, caller)

    def call_of_ai(self, channel: str) -> str:
        """The caller whose AI this channel is, or nothing."""
        return next((caller for caller, call in self.calls.items() if call.ai == channel), "")

    def spoken(self, caller: str) -> bool:
        """Whether an agent speaks in the call."""
        return any(agent.call == caller and agent.mode.speaks for agent in self.agents.values())

    def ground(self, caller: str) -> Ground | None:
        """Where the call's AI is; None when there is no such call, or no AI in it any more."""
        call = self.calls.get(caller)
        if call is None or call.left or not (call.ai or call.topology is Topology.INLINE):
            return None
        alone = call.topology is Topology.CONFERENCE and self.alone(caller, call.ai)
        return Ground(caller, call.ai, call.topology, call.via, self._relation(call.ai, caller), alone)

    def _relation(self, ai: str, caller: str) -> str:
        """The beginning of the command that says how the AI speaks to the caller, where both are in one conference."""
        one, other = self.rooms.get(ai), self.rooms.get(caller)
        if one is None or other is None or one.room != other.room or not all(map(is_seat, (one, other))):
            return ""
        return f"{one.name} relate {one.member} {other.member}"

    def alone(self, caller: str, ai: str) -> bool:
        """Whether nobody else is in the conference of these two."""
        seat = self.rooms.get(caller)
        others = {one for one, where in self.rooms.items() if seat and where.room == seat.room}
        return seat is not None and others <= {caller, ai}

    def joined_by(self, channel: str) -> list[tuple[Agent, Ground]]:
        """The takeovers in the conference of this channel, which is neither the AI's nor the caller's there."""
        seat = self.rooms.get(channel)
        spoken = [agent for agent in self.agents.values() if agent.mode is Mode.TAKEOVER and agent.call != channel]
        found = [(agent, self.ground(agent.call), self.rooms.get(agent.call)) for agent in spoken]
        return [
            (agent, where)
            for agent, where, his in found
            if where is not None and where.ai != channel and seat and his and his.room == seat.room
        ]


def ai_name(state: State, channel: Channel) -> str | None:
    """What the AI on this channel is called; None when it is none."""
    if channel.role in ("agent", "pulse") or (channel.role == TEST_ROLE) != state.test:
        return None
    named = recognised(state.rules, channel.name)
    return nameless(state.rules) if named is None and channel.role == "ai" else named


def hook_of(message: Message) -> Hook | None:
    """What `register` left on the caller's own channel, in an event or a dump of it."""
    if message.variable("takeover_id") != message["unique-id"]:  # exported variables reach other legs too
        return None
    said = (message.variable(f"takeover_{name}") for name in ("tenant", "queue", "ai_ref", "recording"))
    return Hook(*said)


def is_bypassed(message: Message) -> bool:
    """Whether the channel's media goes past FreeSWITCH, or only through it: a variable may say so, or only the state of
    a bridge without media, which `inbound-bypass-media` of a profile and `bypass_media_after_bridge` lead to as well.
    """
    asked = any(message.variable(name) == "true" for name in ("bypass_media", "proxy_media"))
    return asked or message["channel-state"] == "CS_HIBERNATE" or message["channel-read-codec-name"] == "PROXY"


def epoch(text: str, otherwise: datetime) -> datetime:
    """A moment in FreeSWITCH's microseconds or seconds since 1970."""
    if not text.isascii() or not text.isdigit() or not 9 <= len(text) <= 16 or int(text) == 0:
        return otherwise
    return datetime.fromtimestamp(int(text) / (1_000_000 if len(text) > 12 else 1), UTC)


def why_not(state: State, caller: str, tracked: Tracked, mode: Mode) -> str:
    """Why nobody can engage in this call in this mode; empty when everybody can."""
    if state.unfit:
        return state.unfit
    if tracked.paired:
        return PAIRED
    if tracked.left:
        return AI_LEFT
    legs = (state.channels.get(caller), state.channels.get(tracked.ai))
    if any(leg is not None and leg.bypassed for leg in legs):
        return BYPASSED
    ground = state.ground(caller)
    if ground is None or not ground.own:
        return ""
    if mode.speaks and not ground.bug and not state.channels[caller].flows:
        return QUIET
    if mode is not Mode.TAKEOVER:
        return ""
    if tracked.ai_name in state.deaf:
        return DEAF
    return ENDLESS if tracked.ai_name in state.hung_up and end(ground, "any") is None else ""


def call_of(state: State, caller: str) -> Call:
    """The call as the domain sees it."""
    tracked, channel = state.calls[caller], state.channels[caller]
    ai, hook = state.channels.get(tracked.ai), state.hooks.get(caller)
    modes = [(mode, why_not(state, caller, tracked, mode)) for mode in Mode]
    return Call(
        id=state.id(caller),
        pbx=state.pbx,
        channels=Channels(channel.name, caller, ai.name if ai else tracked.via, ai.id if ai else ""),
        caller=Party(channel.number, channel.caller_name),
        ai=Ai(tracked.ai_name, hook.ref if hook else ""),
        started_at=channel.since,
        answered_at=tracked.answered_at,
        topology=tracked.topology,
        modes=tuple(ModeChoice(mode, not why, None if why else "live", why) for mode, why in modes),
        tenant=(hook.tenant if hook else "") or "default",
        queue=hook.queue if hook else "",
        recording=hook.recording if hook else "",
    )
