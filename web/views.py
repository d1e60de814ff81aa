"""The JSON form of what the house knows, as every client is sent it."""

import json
from datetime import UTC, datetime
from typing import Any

from connector.domain.calls import Call, Engagement
from connector.domain.escalation import Escalation
from connector.domain.transcript import CAPTION, Turn
from connector.services.changes import PbxState
from connector.services.escalations import Escalations
from connector.services.registry import Registry

from .messages import CallJson, EngagementJson, EscalationJson, PbxJson, TurnJson


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def stamp(at: datetime) -> str:
    """RFC 3339, UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def engagement_json(engagement: Engagement) -> EngagementJson:
    """One engagement as everybody sees it."""
    return {
        "id": engagement.id,
        "call": engagement.call,
        "agent": engagement.agent,
        "agent_name": engagement.agent_name,
        "mode": engagement.mode.value,
        "phase": engagement.phase.value,
        "since": stamp(engagement.since),
        "leg": engagement.leg,
        "hold": engagement.hold,
    }


def escalation_json(escalation: Escalation) -> EscalationJson:
    """A request for a human."""
    return {
        "reason": escalation.reason,
        "priority": escalation.priority,
        "by": escalation.by,
        "since": stamp(escalation.since),
        "raised_at": stamp(escalation.raised_at),
        "deadline_at": stamp(escalation.deadline) if escalation.deadline is not None else None,
        "step": escalation.step,
        "escalated_at": stamp(escalation.escalated_at) if escalation.escalated_at is not None else None,
        "supervisors": escalation.supervisors,
    }


def call_now(registry: Registry, escalations: Escalations, call: Call) -> CallJson:
    """A live call with who is in it and who speaks, now."""
    talking = registry.talking(call.id)
    escalation = escalations.of(call.id)
    return {
        "id": call.id,
        "pbx": call.pbx,
        "tenant": call.tenant,
        "queue": call.queue,
        "caller": {"number": call.caller.number, "name": call.caller.name},
        "ai": {"name": call.ai.name, "ref": call.ai.ref},
        "started_at": stamp(call.started_at),
        "answered_at": stamp(call.answered_at) if call.answered_at else None,
        "topology": call.topology.value,
        "modes": [
            {"mode": choice.mode.value, "possible": choice.possible, "how": choice.how, "why": choice.why}
            for choice in call.modes
        ],
        "engagements": [engagement_json(engagement) for engagement in registry.engagements(call.id)],
        "escalation": escalation_json(escalation) if escalation is not None else None,
        "recording": call.recording,
        "notes": list(call.notes),
        "talking": {
            "caller": talking.get("caller", False),
            "ai": talking.get("ai", False),
            "agent": talking.get("agent", False),
        },
    }


def turn_json(turn: Turn) -> TurnJson:
    """One turn of a transcript."""
    shown: TurnJson = {
        "turn": turn.id,
        "speaker": turn.speaker,
        "text": turn.text,
        "at": stamp(turn.at),
        "final": turn.final,
    }
    if turn.id.startswith(CAPTION):
        shown["caption"] = True
    return shown


def pbx_json(state: PbxState) -> PbxJson:
    """The state of one PBX."""
    return {"name": state.name, "up": state.up, "why": state.why, "version": state.version}
