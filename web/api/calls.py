"""Live calls, what is said in them, and words to their AI."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from connector.domain.calls import Call
from connector.domain.people import may
from connector.domain.transcript import Turn
from connector.services.changes import Measured
from connector.services.escalations import Escalations
from connector.services.registry import Registry
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts

from ..messages import CallJson, Coach, Escalate, EscalationJson, Measurement, NewTurn, TurnJson
from ..routing import Ask, Route
from ..views import call_now, escalation_json, turn_json


class CallsJson(TypedDict):
    rev: int
    calls: list[CallJson]


class TranscriptJson(TypedDict):
    turns: list[TurnJson]


class PutJson(TypedDict):
    new: bool


def call_routes(
    registry: Registry, transcripts: Transcripts, takeovers: Takeovers, escalations: Escalations
) -> list[Route]:
    """The routes about calls that change nothing on the PBX."""

    async def calls(ask: Ask) -> Mapping[str, Any]:
        query = ask.request.query
        found = [
            call_now(registry, escalations, call)
            for call in registry.calls()
            if may(ask.actor, "see", call)
            and query.get("queue", call.queue) == call.queue
            and query.get("ai_ref", call.ai.ref) == call.ai.ref
            and _matches(call, query.get("q", ""))
        ]
        return {"rev": registry.rev, "calls": found}

    async def call(ask: Ask) -> Mapping[str, Any]:
        return call_now(registry, escalations, ask.call)

    async def transcript(ask: Ask) -> Mapping[str, Any]:
        return {"turns": [turn_json(turn) for turn in await transcripts.turns(ask.call.id)]}

    async def put(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(NewTurn)
        turn = Turn(body.turn, body.speaker, body.text, body.at, body.final)
        return {"new": await transcripts.put(ask.actor, ask.call.id, turn)}

    async def coach(ask: Ask) -> None:
        await takeovers.coach(ask.actor, ask.call.id, ask.body(Coach).text)

    async def escalate(ask: Ask) -> Mapping[str, Any]:
        body, found = ask.body(Escalate), ask.call
        return escalation_json(escalations.ask(ask.actor, found.id, body.reason, body.priority, body.deadline_s))

    async def withdraw(ask: Ask) -> None:
        escalations.withdraw(ask.actor, ask.call.id)

    async def measured(ask: Ask) -> None:
        body, found = ask.body(Measurement), ask.call
        facts = {"heard_ms": body.heard_ms, "gap_ms": body.gap_ms}
        registry.publish(lambda rev: Measured(rev, found.id, facts))

    one = "/api/v1/calls/{call}"
    return [
        Route("GET", "/api/v1/calls", "see", calls, "Live calls", answer=CallsJson, query=("queue", "q", "ai_ref")),
        Route("GET", one, "see", call, "One live call", answer=CallJson),
        Route(
            "GET",
            f"{one}/transcript",
            "read-transcript",
            transcript,
            "What was said",
            answer=TranscriptJson,
            record="best",  # opening it is an act; an agent in need of it must not wait for a full disk
        ),
        Route(
            "POST",
            f"{one}/transcript",
            "write-transcript",
            put,
            "Append or update a turn",
            NewTurn,
            PutJson,
            record="data",  # what was said is kept as such, with its time and speaker
        ),
        Route(
            "POST",
            f"{one}/escalation",
            "escalate",
            escalate,
            "Ask for a human",
            Escalate,
            EscalationJson,
            201,
            facts=lambda ask: {"priority": ask.body(Escalate).priority},
        ),
        Route(
            "DELETE",
            f"{one}/escalation",
            "escalate",
            withdraw,
            "No human is needed any more",
            status=204,
            word="withdraw-escalation",
        ),
        Route("POST", f"{one}/coach", "coach", coach, "Guidance to the AI", Coach, status=204, record="inside"),
        Route(
            "POST",
            f"{one}/measurement",
            "write-transcript",
            measured,
            "What was measured",
            Measurement,
            status=204,
            record="data",  # a figure for the panels, kept nowhere
        ),
    ]


def _matches(call: Call, wanted: str) -> bool:
    """Whether a search text occurs in what an agent sees of a call."""
    shown = (call.caller.number, call.caller.name, call.ai.name, call.ai.ref, call.queue, call.id)
    return any(wanted.casefold() in text.casefold() for text in shown)
