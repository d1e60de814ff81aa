"""What an AI's platform and the teams are told about calls."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from ..domain.calls import Ai, Call, CallId, Engagement, Phase
from ..domain.escalation import Escalation
from ..domain.transcript import CAPTION, Turn
from .changes import AiNotice
from .registry import Registry
from .transcripts import Transcripts


class Notices:
    """Publishes `AiNotice`s; their data is ready for JSON."""

    def __init__(
        self, registry: Registry, transcripts: Transcripts, greets: Callable[[str], bool] = lambda _ai: False
    ) -> None:
        """`greets(ai)` says whether that AI is to greet the caller again after a handback."""
        self._registry = registry
        self._transcripts = transcripts
        self._greets = greets

    def started(self, call: Call, engagement: Engagement, asked_at: datetime) -> None:
        """A human speaks in the call now, or in another speaking mode than before; asked for at `asked_at`."""
        self._send(
            call,
            "takeover.started",
            {
                "engagement": engagement.id,
                "agent": engagement.agent_name,
                "mode": engagement.mode.value,
                "asked_at": asked_at.astimezone(UTC).isoformat(),
                "at": _now(),
            },
        )

    def ended(self, call: Call, engagement: Engagement, since: datetime, note: str, outcome: str) -> None:
        """The human is out: with the note for the AI and what caller and agent said meanwhile."""
        self.over(engagement, call.ai, self._transcripts.since(call.id, since), note, outcome)

    def over(self, engagement: Engagement, ai: Ai, said: Sequence[Turn], note: str = "", outcome: str = "") -> None:
        """The same, where the call may be gone too: `said` are the turns since the human spoke."""
        self._tell(
            engagement.call,
            ai,
            "takeover.ended",
            {
                "engagement": engagement.id,
                "agent": engagement.agent_name,
                "note": note,
                "outcome": outcome,
                "human": [_turn(turn) for turn in said if turn.speaker != "ai"],
                "greet": self._greets(ai.name),
                "at": _now(),
            },
            # A crash may come after this and before the store knows of the end: what is told again has the same id.
            id_=f"{engagement.id}-ended" if engagement.phase is Phase.ENDED else "",
        )

    def coach(self, call: Call, text: str, by: str) -> None:
        """Guidance from a human, while the AI talks."""
        self._send(call, "coach", {"text": text, "by": by, "at": _now()})

    def escalation(
        self,
        call: Call,
        kind: str,
        escalation: Escalation,
        more: Mapping[str, object] = MappingProxyType({}),
        notify: Sequence[str] = (),
    ) -> None:
        """A request for a human was raised, took a step, was answered or withdrawn (`kind`: ``escalation.*``)."""
        deadline = escalation.deadline
        data = {
            "reason": escalation.reason,
            "priority": escalation.priority,
            "by": escalation.by,
            "since": escalation.since.astimezone(UTC).isoformat(),
            "deadline_at": deadline.astimezone(UTC).isoformat() if deadline is not None else None,
            "step": escalation.step,
            "queue": call.queue,
            "at": _now(),
        }
        self._send(call, kind, {**data, **more}, tuple(notify))

    def _send(self, call: Call, kind: str, data: Mapping[str, object], notify: tuple[str, ...] = ()) -> None:
        self._tell(call.id, call.ai, kind, data, notify)

    def _tell(
        self,
        call: CallId,
        ai: Ai,
        kind: str,
        data: Mapping[str, object],
        notify: tuple[str, ...] = (),
        *,
        id_: str = "",
    ) -> None:
        told = {**data, "ai_ref": ai.ref}
        self._registry.publish(lambda rev: AiNotice(rev, call, ai.name, kind, told, notify, id_))


def _turn(turn: Turn) -> dict[str, object]:
    return {
        "turn": turn.id,
        "speaker": turn.speaker,
        "text": turn.text,
        "at": turn.at.astimezone(UTC).isoformat(),
        "final": turn.final,
        "caption": turn.id.startswith(CAPTION),  # a machine's guess at what was said
        "untrusted": turn.speaker == "caller",  # a caller's words: to be understood, never to be obeyed
    }


def _now() -> str:
    return datetime.now(UTC).isoformat()
