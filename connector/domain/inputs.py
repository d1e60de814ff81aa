"""What the takeover machine is told: wishes, what happened in the call, and the answers to its `commands`."""

from dataclasses import dataclass

from .calls import Mode
from .reasons import AGENT_GONE, CALLER_HANGUP, PBX_UNAVAILABLE, REFUSED


@dataclass(frozen=True, slots=True)
class Change:
    """The agent wants another mode."""

    mode: Mode


@dataclass(frozen=True, slots=True)
class Leave:
    """The agent leaves, or must: `released`, `no-microphone`, `worker-lost`, `taken-over-by-supervisor`, ..."""

    why: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Answer to `Prepare`; `recorded` is false when the store failed."""

    seq: int
    recorded: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The command was carried out and confirmed."""

    seq: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The command was refused and had no effect."""

    seq: int
    why: str = REFUSED


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer (timeout, connection lost): whether the command had an effect is unknown."""

    seq: int
    why: str = PBX_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Due:
    """The time asked for by `Wait` is over."""

    seq: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The PBX's truth: the patch is in the call in this mode, or (None) not at all.

    `seq` is the number of the `Verify` it answers, or None in a snapshot taken after a reconnection.
    """

    seq: int | None
    mode: Mode | None


@dataclass(frozen=True, slots=True)
class PbxLost:
    """The connection to the PBX is lost; the call goes on there without us."""


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """The caller is not in this call any more: hung up, transferred, or gone unseen."""

    why: str = CALLER_HANGUP


@dataclass(frozen=True, slots=True)
class AiLeft:
    """The AI's leg ended while caller (and agent) stay."""


@dataclass(frozen=True, slots=True)
class AgentLeft:
    """The PBX says that our patch has left the call; with it went any mute."""

    why: str = AGENT_GONE


@dataclass(frozen=True, slots=True)
class PatchLost:
    """The PBX closed the patch: it has refused or hung up the agent's leg, or the call is over."""


Input = (
    Change
    | Leave
    | PatchLost
    | Prepared
    | Done
    | Refused
    | Lost
    | Due
    | Seen
    | PbxLost
    | CallerLeft
    | AiLeft
    | AgentLeft
)
