"""What an AI's platform is told about its calls."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ..domain.calls import Call, Engagement
from ..domain.transcript import Turn
from .changes import AiNotice
from .registry import Registry
from .transcripts import Transcripts


class Notices:
    """Publishes `AiNotice`s; their data is ready for JSON."""

    def __init__(self, registry: Registry, transcripts: Transcripts) -> None:
        self._registry = registry
        self._transcripts = transcripts

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
        human = [_turn(turn) for turn in self._transcripts.since(call.id, since) if turn.speaker != "ai"]
        self._send(
            call,
            "takeover.ended",
            {
                "engagement": engagement.id,
                "agent": engagement.agent_name,
                "note": note,
                "outcome": outcome,
                "human": human,
                "at": _now(),
            },
        )

    def coach(self, call: Call, text: str, by: str) -> None:
        """Guidance from a human, while the AI talks."""
        self._send(call, "coach", {"text": text, "by": by, "at": _now()})

    def _send(self, call: Call, kind: str, data: Mapping[str, object]) -> None:
        self._registry.publish(lambda rev: AiNotice(rev, call.id, call.ai.name, kind, data))


def _turn(turn: Turn) -> dict[str, object]:
    return {
        "turn": turn.id,
        "speaker": turn.speaker,
        "text": turn.text,
        "at": turn.at.astimezone(UTC).isoformat(),
        "final": turn.final,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat()
