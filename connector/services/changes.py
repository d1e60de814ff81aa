"""What watchers of the registry are told. Every change carries the revision that it made."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..domain.calls import Call, CallId, Engagement, Role
from ..domain.transcript import Turn


@dataclass(frozen=True, slots=True)
class PbxState:
    """Whether a PBX is connected; `why` says why not, `version` is the last one known."""

    name: str
    up: bool
    why: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class CallUpserted:
    """A call appeared or has new facts."""

    rev: int
    call: Call


@dataclass(frozen=True, slots=True)
class CallRemoved:
    """A call ended: `hangup`, `transferred`, `unseen`."""

    rev: int
    call_id: CallId
    why: str


@dataclass(frozen=True, slots=True)
class EngagementChanged:
    """An engagement began, changed or (`ended` is the reason, its phase is `ended`) is over."""

    rev: int
    engagement: Engagement
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class PbxChanged:
    """A PBX came or went."""

    rev: int
    state: PbxState


@dataclass(frozen=True, slots=True)
class TurnChanged:
    """A turn of a transcript is new, or has new text."""

    rev: int
    call_id: CallId
    turn: Turn


@dataclass(frozen=True, slots=True)
class TalkingChanged:
    """A leg began or stopped to speak."""

    rev: int
    call_id: CallId
    role: Role
    on: bool


@dataclass(frozen=True, slots=True)
class DtmfSeen:
    """A leg's own party sent a digit."""

    rev: int
    call_id: CallId
    role: Role
    digit: str


@dataclass(frozen=True, slots=True)
class AiNotice:
    """For the AI's platform and the teams: `takeover.*`, `coach`, `escalation.*`; `data` is ready for JSON."""

    rev: int
    call_id: CallId
    ai_name: str
    kind: str
    data: Mapping[str, object]
    notify: tuple[str, ...] = ()
    """Webhooks that get it besides those that have asked for its kind."""
    id: str = ""
    """The event's, where it may have to be told again; else a new one is made."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What somebody measured in the call: `heard_ms`, `gap_ms`."""

    rev: int
    call_id: CallId
    facts: Mapping[str, float]


Change = (
    CallUpserted
    | CallRemoved
    | EngagementChanged
    | PbxChanged
    | TurnChanged
    | TalkingChanged
    | DtmfSeen
    | AiNotice
    | Measured
)
