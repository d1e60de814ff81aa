"""The words on the wire: bodies that clients send (checked), and the shapes of what they are sent (made in `views`).

Bodies are strict: unknown fields, wrong types, control characters and oversized texts are refused.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from connector.domain.calls import Mode

_BIDI = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))


def _text(value: str) -> str:
    """Content is data: no control characters but line breaks and tabs, no invisible change of direction."""
    for character in value:
        if (character < " " and character not in "\n\r\t") or "\x7f" <= character <= "\x9f":
            raise ValueError(f"remove the control character U+{ord(character):04X}")
    return value.translate(_BIDI)


def _line(value: str) -> str:
    if any(character in value for character in "\n\r\t"):
        raise ValueError("use a single line")
    return _text(value)


def moment(value: datetime) -> datetime:
    """An aware time, in UTC. Raises ValueError for one that no call can have been at: what is kept has to be readable
    in every zone and in the order of its digits."""
    try:
        at = value.astimezone(UTC)
    except OverflowError:
        at = None
    if at is None or not 2000 <= at.year < 3000:
        raise ValueError("give a time of this millennium")
    return at


Moment = Annotated[AwareDatetime, AfterValidator(moment)]
Line = Annotated[str, AfterValidator(_line)]
Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]*$")]
"""Account and token names: safe in a URL, a log line and a PBX variable."""

Reach = Annotated[tuple[Annotated[Line, Field(max_length=64)], ...], Field(min_length=1, max_length=100)]
"""Queues or tenants whose calls somebody reaches; ``*`` for all."""

MAX_SDP = 20_000
"""Characters: a browser's audio-only offer has 2,000 to 6,000."""
MIN_PASSWORD = 10
"""Characters a new password has at least (NIST SP 800-63B asks for 8 and against composition rules)."""
MAX_PASSWORD = 256
MAX_NOTE = 2_000
MAX_TURN = 4_000


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Nothing(Body):
    """An empty object, or no body at all."""


class Login(Body):
    username: Annotated[Line, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD)]


class Duty(Body):
    on: bool
    queues: Annotated[tuple[Annotated[Line, Field(max_length=64)], ...], Field(max_length=100)] = ()


class NewLeg(Body):
    sdp: Annotated[str, Field(min_length=1, max_length=MAX_SDP)]
    type: Literal["offer"]
    replace: bool | Annotated[str, Field(max_length=64)] = False
    """True: whichever leg this session has is closed, and what it was engaged in ends. The leg's own id: it gets a new
    connection, after a change of network, and an engagement goes on."""


class ChangeLeg(Body):
    muted: bool | None = None
    suppression: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> "ChangeLeg":
        if self.muted is None and self.suppression is None:
            raise ValueError("give muted, suppression or both")
        return self


class Override(Body):
    reason: Annotated[Line, Field(min_length=1, max_length=200)]


class Engage(Body):
    mode: Mode
    leg: Annotated[str, Field(min_length=1, max_length=64)]
    override: Override | None = None


class ChangeEngagement(Body):
    mode: Mode | None = None
    hold: bool | None = None

    @model_validator(mode="after")
    def _one(self) -> "ChangeEngagement":
        if (self.mode is None) == (self.hold is None):
            raise ValueError("give either mode or hold")
        return self


class Release(Body):
    note: Annotated[Text, Field(max_length=MAX_NOTE)] = ""
    outcome: Annotated[Line, Field(max_length=64)] = ""


class Coach(Body):
    text: Annotated[Text, Field(min_length=1, max_length=MAX_NOTE)]


class Dtmf(Body):
    digits: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9A-D*#]+$")]


class Transfer(Body):
    to: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class WrapUp(Body):
    outcome: Annotated[Line, Field(min_length=1, max_length=64)]
    note: Annotated[Text, Field(max_length=MAX_NOTE)] = ""


class NewTurn(Body):
    turn: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
    speaker: Literal["caller", "ai", "agent"]
    text: Annotated[Text, Field(max_length=MAX_TURN)]
    at: Moment
    final: bool = True


class Escalate(Body):
    reason: Annotated[Line, Field(min_length=1, max_length=200)]
    priority: Literal["normal", "urgent", "emergency"] = "normal"
    deadline_s: Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)] | None = None


class Measurement(Body):
    heard_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)]
    gap_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)]


class NewToken(Body):
    name: Name
    role: Literal["ai", "agent", "supervisor", "admin", "metrics"]
    ai: Annotated[Line, Field(max_length=64)] = ""
    queues: Reach = ("*",)
    tenants: Reach = ("*",)

    @model_validator(mode="after")
    def _bound(self) -> "NewToken":
        if (self.role == "ai") != bool(self.ai):
            raise ValueError("a token of role ai names its ai, and no other token does")
        if self.role == "metrics" and ("*" not in self.queues or "*" not in self.tenants):
            raise ValueError("figures are the whole house's: a token of role metrics has no queues or tenants")
        return self


PersonRole = Literal["agent", "supervisor", "admin"]
NewPassword = Annotated[str, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]


class NewUser(Body):
    username: Name
    name: Annotated[Line, Field(max_length=128)] = ""
    role: PersonRole = "agent"
    password: NewPassword
    queues: Reach = ("*",)
    tenants: Reach = ("*",)


class ChangeUser(Body):
    role: PersonRole | None = None
    queues: Reach | None = None
    tenants: Reach | None = None

    @model_validator(mode="after")
    def _something(self) -> "ChangeUser":
        if self.role is None and self.queues is None and self.tenants is None:
            raise ValueError("give role, queues or tenants")
        return self


class SetPassword(Body):
    password: NewPassword


class ChangePassword(Body):
    """One's own."""

    old_password: Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD)]
    new_password: NewPassword


# ---- what clients are sent ----


class PartyJson(TypedDict):
    number: str
    name: str


class AiJson(TypedDict):
    name: str
    ref: str


class ModeJson(TypedDict):
    mode: str
    possible: bool
    how: str | None
    why: str


class EngagementJson(TypedDict):
    id: str
    call: str
    agent: str
    agent_name: str
    mode: str
    phase: str
    since: str
    leg: str
    hold: bool


class TalkingJson(TypedDict):
    caller: bool
    ai: bool
    agent: bool


class EscalationJson(TypedDict):
    reason: str
    priority: str
    by: str
    since: str
    raised_at: str
    """When it became as urgent as it is."""
    deadline_at: str | None
    step: int
    """Steps of the ladder that were taken because nobody came."""
    escalated_at: str | None
    """When the last of them was."""
    supervisors: bool
    """Whether the ladder has called the supervisors."""


class CallJson(TypedDict):
    id: str
    pbx: str
    tenant: str
    queue: str
    caller: PartyJson
    ai: AiJson
    started_at: str
    answered_at: str | None
    topology: str
    modes: list[ModeJson]
    engagements: list[EngagementJson]
    escalation: EscalationJson | None
    recording: str
    notes: list[str]
    talking: TalkingJson


class TurnJson(TypedDict):
    turn: str
    speaker: str
    text: str
    at: str
    final: bool
    caption: NotRequired[bool]
    """Made by a machine of what a person said: it may be wrong."""


class IceServerJson(TypedDict):
    """As a browser's RTCPeerConnection takes it."""

    urls: str
    username: NotRequired[str]
    credential: NotRequired[str]


class PbxJson(TypedDict):
    name: str
    up: bool
    why: str
    version: str
