"""What a PBX reports, in words that fit every PBX. An adapter's translation makes them, the registry takes them.

The same events describe a change and a snapshot: first start, reconnect and crash recovery are one path.
"""

from dataclasses import dataclass
from typing import Literal

from .calls import Call, CallId, Mode, PatchId, Role


@dataclass(frozen=True, slots=True)
class PbxUp:
    """The PBX is connected and its events flow; a snapshot follows at once (`SnapshotTaken`)."""

    pbx: str
    version: str


@dataclass(frozen=True, slots=True)
class PbxDown:
    """The connection is lost; what we know of its calls is stale until the next snapshot."""

    pbx: str
    why: str


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """All that is true on this PBX now. Whatever the registry has beyond it has ended unseen."""

    pbx: str
    events: tuple["CallChanged | AgentPresent", ...]


@dataclass(frozen=True, slots=True)
class CallChanged:
    """A call with an AI exists, with these facts now: inserted or updated."""

    call: Call


@dataclass(frozen=True, slots=True)
class CallGone:
    """The caller's channel ended, or left the AI for good (``why``: ``hangup``, ``transferred``, ``unseen``)."""

    call: CallId
    why: str


@dataclass(frozen=True, slots=True)
class AiGone:
    """The AI leg ended; the caller stays, so far. ``paired``: an agent speaks with him, and they go on together."""

    call: CallId
    paired: bool


@dataclass(frozen=True, slots=True)
class FellBack:
    """AI and agent are both gone: the PBX leads the caller through its fallback."""

    call: CallId


@dataclass(frozen=True, slots=True)
class AgentPresent:
    """A patch is in the call in this mode, told by the PBX itself; ``instance`` is the service that owns it, ``name``
    the agent's, where the PBX carries it."""

    call: CallId
    patch: PatchId
    channel: str
    instance: str
    mode: Mode
    name: str = ""


@dataclass(frozen=True, slots=True)
class AgentRefused:
    """The PBX kept a patch from speaking: ``busy`` (``by`` names the other's channel) or ``no-such-call``."""

    call: CallId
    patch: PatchId
    mode: Mode
    why: str
    by: str = ""
    was: Mode | None = None
    """The listening mode the leg goes on in; None when it leaves."""


@dataclass(frozen=True, slots=True)
class AgentGone:
    """A patch left the call: ``hangup``, ``deadman``, ``bridge-...``, ``done``; or the caller did, and it with him:
    ``caller-hangup``, ``transferred``."""

    call: CallId
    patch: PatchId
    why: str


@dataclass(frozen=True, slots=True)
class Talking:
    """A leg began or stopped to speak, where the PBX detects it."""

    call: CallId
    role: Role
    on: bool


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A digit that one leg's own party sent."""

    call: CallId
    role: Role
    digit: str


@dataclass(frozen=True, slots=True)
class HumanAsked:
    """The dialplan asks for a human in this call."""

    call: CallId
    reason: str
    priority: Literal["normal", "urgent", "emergency"]


PbxEvent = (
    PbxUp
    | PbxDown
    | SnapshotTaken
    | CallChanged
    | CallGone
    | AiGone
    | FellBack
    | AgentPresent
    | AgentRefused
    | AgentGone
    | Talking
    | Dtmf
    | HumanAsked
)
