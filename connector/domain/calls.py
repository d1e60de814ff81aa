"""Calls, engagements and the words for them, the same in code, API, panel, logs and docs.

A *call* is one caller's conversation. An *engagement* is an agent's presence in one call, in one
*mode*: many may listen, at most one speaks. Times are aware UTC datetimes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

CallId = NewType("CallId", str)
"""``<pbx>~<uniqueid of the caller's channel>``: URL-safe, and stable while bridges merge."""

EngagementId = NewType("EngagementId", str)
PatchId = NewType("PatchId", str)
"""The fresh uuid4 of one media-worker-to-PBX connection: used once."""

Role = Literal["caller", "ai", "agent"]
How = Literal["live", "cold"]


class Mode(StrEnum):
    """How an agent is present in a call."""

    MONITOR = "monitor"
    """The agent listens to caller and AI; nobody hears the agent."""
    WHISPER = "whisper"
    """Only the AI hears the agent."""
    BARGE = "barge"
    """Everybody hears everybody."""
    TAKEOVER = "takeover"
    """Caller and agent talk; the AI is muted but hears."""

    @property
    def speaks(self) -> bool:
        """Whether the caller hears the agent: at most one such engagement per call."""
        return self in (Mode.BARGE, Mode.TAKEOVER)


class Phase(StrEnum):
    """State of an engagement."""

    CONNECTING = "connecting"
    ACTIVE = "active"
    SWITCHING = "switching"
    RELEASING = "releasing"
    ENDED = "ended"


class Topology(StrEnum):
    """How a call's AI leg is attached; the words mean the same on every PBX."""

    DIALLED = "dialled"
    """The AI is a channel in a bridge with the caller."""
    INLINE = "inline"
    """An application or media bug on the caller's own channel."""
    STASIS = "stasis"
    """Another application's bridge."""
    CONFERENCE = "conference"


@dataclass(frozen=True, slots=True)
class Party:
    """Who is at one end; strings as the PBX gives them, possibly empty."""

    number: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Ai:
    """The AI of a call: its configured name and the reference its own platform knows the call by."""

    name: str
    ref: str = ""


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """Whether a mode is possible in a call, how, and if not, why in plain words."""

    mode: Mode
    possible: bool
    how: How | None = "live"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Channels:
    """The PBX objects that carry a call's two legs: names and unique ids."""

    caller: str
    caller_id: str
    ai: str = ""
    ai_id: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Everything the PBX says about one live call. Engagements are kept beside it, by the registry."""

    id: CallId
    pbx: str
    channels: Channels
    caller: Party
    ai: Ai
    started_at: datetime
    topology: Topology
    modes: Sequence[ModeChoice]
    answered_at: datetime | None = None
    tenant: str = "default"
    queue: str = ""
    recording: str = ""
    """What records the call, as the PBX names it; empty when nothing does."""
    notes: Sequence[str] = field(default=())
    """Facts the operator should know, as slugs: ``direct-media``, ``same-codec-without-hook``."""

    def choice(self, mode: Mode) -> ModeChoice:
        """The entry of ``modes`` for one mode; impossible when the adapter named none."""
        for choice in self.modes:
            if choice.mode is mode:
                return choice
        return ModeChoice(mode, possible=False, how=None, why="This call offers no such mode.")


@dataclass(frozen=True, slots=True)
class Engagement:
    """An agent's presence in one call, as everybody sees it."""

    id: EngagementId
    call: CallId
    agent: str
    """Account id of the agent."""
    agent_name: str
    leg: str
    mode: Mode
    phase: Phase
    since: datetime
    hold: bool = False


def call_id(pbx: str, channel_id: str) -> CallId:
    """Builds a call's id from the PBX's key in the settings and the caller's channel id."""
    return CallId(f"{pbx}~{channel_id}")
