"""What the services need from the world: a PBX, the agents' legs, a journal of acts. Implemented elsewhere."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .domain.calls import Ai, Call, CallId, Engagement, Mode, PatchId
from .domain.escalation import Escalation
from .domain.events import PbxEvent, SnapshotTaken
from .domain.transcript import Turn


class Endpoint(Protocol):
    """Where the PBX finds a patch: what it is told to call."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def uuid(self) -> str:
        """The patch's id: fresh, used once."""

    @property
    def rate(self) -> int:
        """Sample rate in Hz that the patch speaks."""

    @property
    def sip_port(self) -> int:
        """Where the patch is called by SIP, the uuid as user; 0 where the media workers speak none."""


@dataclass(frozen=True, slots=True)
class Engaged:
    """A patch in a call. `channel` is empty while `engage` has not answered: then the patch id tells which."""

    call: CallId
    patch: PatchId
    channel: str
    mode: Mode


class Pbx(Protocol):
    """One telephone exchange. Every verb is idempotent and bounded by a timeout.

    Verbs raise `PbxUnavailable`, `PbxTimeout`, `VerbRefused`, `ChannelGone`, `AlreadyTaken`.
    """

    @property
    def name(self) -> str:
        """Its key in the settings, the first part of its calls' ids."""

    def events(self) -> AsyncIterator[PbxEvent]:
        """Connects, stays connected, and yields in order what happens, for as long as it is iterated.

        `PbxUp` and `SnapshotTaken` come after each (re)connection, `PbxDown` after each loss.
        """

    async def snapshot(self) -> SnapshotTaken:
        """What is true now, read from the PBX."""

    async def rate(self, call: Call) -> int:
        """The sample rate in Hz that a patch into this call should have: what the caller's line carries, as far as the
        PBX can. Never raises, never takes long: 8000 where it cannot be told."""

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
        """Originates the patch and brings it into the call; returns when the PBX has confirmed the mode. `name` is the
        agent's, for the people of other services on this PBX."""

    async def switch(self, engaged: Engaged, mode: Mode) -> Engaged:
        """Changes the mode, live; returns when the PBX has confirmed."""

    async def renew(self, engaged: Engaged) -> None:
        """Feeds the dead-man timer, for another few seconds of life."""

    async def release(self, engaged: Engaged) -> None:
        """Agent out, AI audible; returns when the PBX has confirmed. A patch that is gone already, or that the
        PBX never got, counts as released. May overtake an `engage` or `switch` that has not answered yet."""

    async def hangup(self, call: Call) -> None:
        """Ends the call for all its legs. A call that is gone already counts as hung up."""

    async def transfer(self, call: Call, destination: str) -> None:
        """Sends the caller to a configured destination; AI and agent leave."""

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Sends digits towards the AI's side of the call."""


class AgentLegs(Protocol):
    """The agents' browser legs and the patches from them into a PBX."""

    async def open_patch(self, leg: str, *, rate: int) -> Endpoint:
        """Makes a fresh patch for the leg, of 8000 or 16000 Hz; returns at once, and the PBX has 5 s to call it."""

    async def close_patch(self, patch: str) -> None:
        """Closes the patch's connection: the PBX gives the call back to the AI at once. Idempotent."""

    async def set_leg(self, leg: str, *, hold: bool) -> None:
        """On hold the far end of the leg's patch hears music, and the agent nothing."""

    def alive(self, leg: str) -> bool:
        """ICE up, microphone RTP within 300 ms, and the worker's tick on time."""

    def not_alive_reason(self, leg: str) -> str | None:
        """Why not, as a slug (`no-such-leg`, `connecting`, `no-microphone`, `worker-late`); None when alive."""


class Journal(Protocol):
    """The write-ahead record of acts. An intent is durable before its effect."""

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        """Records what is about to happen and returns its number. Raises `StoreUnavailable`."""

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        """Records what came of it: `ok` or a reason slug. Raises `StoreUnavailable`."""

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        """For acts the caller's safety needs while the store fails: kept in the process log and the reserve,
        written to the store when it recovers. Never raises, and takes a moment at most, also on a disk that hangs."""


class TurnKeeper(Protocol):
    """Where transcripts are kept."""

    async def put(self, call: CallId, turn: Turn) -> None:
        """Inserts the turn, or updates the one with its id. Raises `StoreUnavailable`."""

    async def turns(self, call: CallId) -> Sequence[Turn]:
        """The turns of a call, oldest first; empty for an unknown call. Raises `StoreUnavailable`."""


class EngagementKeeper(Protocol):
    """Where past engagements are kept: who was in which call, in which mode, and how it ended."""

    async def put(
        self,
        engagement: Engagement,
        ended: str | None = None,
        note: str = "",
        outcome: str = "",
        *,
        instance: str = "",
        ai: Ai | None = None,
    ) -> None:
        """Inserts or updates by the engagement's id; with `ai`, the call's, also `instance`, the service that the agent
        came by. Raises `StoreUnavailable`."""


@dataclass(frozen=True, slots=True)
class Unended:
    """An engagement that has no end, as it was last kept (its leg is not), and the AI of its call."""

    engagement: Engagement
    ai: Ai


class EngagementArchive(EngagementKeeper, Protocol):
    """What a service looks into that starts again."""

    async def unended(self, instance: str) -> Sequence[Unended]:
        """Those of one service that have no end, oldest first. Raises `StoreUnavailable`."""


class EscalationKeeper(Protocol):
    """Where open requests for a human are kept, so that a restart forgets none."""

    async def put(self, escalation: Escalation) -> None:
        """Inserts or updates the call's request. Raises `StoreUnavailable`."""

    async def remove(self, call: CallId) -> None:
        """The call has no request any more. Raises `StoreUnavailable`."""

    async def open(self) -> Sequence[Escalation]:
        """All of them. Raises `StoreUnavailable`."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An event that waits for a webhook: the webhook's name, the event's id, when it was sent (seconds since 1970), and
    the event as JSON."""

    hook: str
    id: str
    at: float
    event: str


class EventKeeper(Protocol):
    """Where events are kept that wait for their webhooks, so that a restart forgets none."""

    async def change(self, added: Sequence[Undelivered], removed: Sequence[tuple[str, str]]) -> None:
        """Adds events and removes others (hook and id), all or none. Raises `StoreUnavailable`."""

    async def waiting(self) -> Sequence[Undelivered]:
        """All that wait, oldest first. Raises `StoreUnavailable`."""


class TranscriptionFailed(Exception):
    """This utterance has no words; the next may."""


class Transcriber(Protocol):
    """Speech into words."""

    async def transcribe(self, sound: bytes, rate: int) -> str:
        """The words in mono int16 samples (little-endian) at `rate` Hz; empty where there are none.

        Raises `TranscriptionFailed`. Takes as long as it takes: nobody waits for it.
        """
