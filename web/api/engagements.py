"""Into a call, out of it, and what an agent does to it. Answers come when the PBX has confirmed."""

from collections.abc import Callable, Mapping
from typing import Any

from connector.domain.calls import CallId, Engagement, EngagementId, Phase
from connector.domain.errors import (
    AlreadyEngaged,
    AlreadyTaken,
    CallEnded,
    LegNotReady,
    ModeNotPossible,
    PbxTimeout,
    PbxUnavailable,
    VerbRefused,
)
from connector.domain.people import Act
from connector.services.registry import Registry
from connector.services.takeovers import Takeovers
from connector.store.engagements import Engagements

from ..errors import BadRequest, Fault, NotFound
from ..faults import shown
from ..messages import MAX_NOTE, ChangeEngagement, Dtmf, Engage, EngagementJson, Nothing, Release, Transfer, WrapUp
from ..routing import Ask, Route
from ..views import engagement_json

MAX_NOTES = 4 * MAX_NOTE
"""Characters of all notes on one's part in a call: each wrap-up adds its own."""
_PBX = (PbxUnavailable, PbxTimeout, VerbRefused)


def engagement_routes(
    takeovers: Takeovers, registry: Registry, keeper: Engagements, owned: Callable[[str, str], None]
) -> list[Route]:
    """`owned(session, leg)` raises `NotFound` unless the leg is that session's."""

    def engagement(ask: Ask) -> EngagementId:
        return EngagementId(ask.request.match_info["engagement"])

    async def engage(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(Engage)
        owned(ask.principal.session, body.leg)
        reason = body.override.reason if body.override is not None else None
        return engagement_json(await takeovers.engage(ask.actor, ask.call.id, body.mode, body.leg, reason))

    async def change(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(ChangeEngagement)
        if body.mode is not None:
            return engagement_json(await takeovers.change(ask.actor, engagement(ask), body.mode))
        return engagement_json(await takeovers.hold(ask.actor, engagement(ask), bool(body.hold)))

    async def release(ask: Ask) -> None:
        body = ask.body(Release)
        await takeovers.release(ask.actor, engagement(ask), body.note, body.outcome)

    async def hangup(ask: Ask) -> None:
        await takeovers.hangup(ask.actor, ask.call.id)

    async def transfer(ask: Ask) -> None:
        await takeovers.transfer(ask.actor, ask.call.id, ask.body(Transfer).to)

    async def dtmf(ask: Ask) -> None:
        await takeovers.dtmf(ask.actor, ask.call.id, ask.body(Dtmf).digits)

    async def wrap_up(ask: Ask) -> None:
        body, call = ask.body(WrapUp), CallId(ask.request.match_info["call"])
        await takeovers.kept(ask.actor, call)
        mine = [past for past in await keeper.of_call(call) if past.agent == ask.actor.id]
        # The store is written behind: it may not know yet of who has just come.
        inside = any(one.agent == ask.actor.id for one in registry.engagements(call))
        if inside or (mine and mine[-1].ended is None):
            raise BadRequest(Fault("call", "", "you are still in it; leave it first"))
        if not mine:
            raise NotFound(f"You were in no call {call[:64]!r}; wrap up a call of your own.")
        last = mine[-1]
        note = "\n".join(filter(None, (last.note, body.note)))
        if len(note) > MAX_NOTES:
            raise BadRequest(Fault("note", shown(body.note), f"there is room for {MAX_NOTES} characters in all"))
        was = Engagement(last.id, call, last.agent, last.agent_name, "", last.mode, Phase.ENDED, last.since)
        await keeper.put(was, last.ended, note, body.outcome)

    call, one = "/api/v1/calls/{call}", "/api/v1/engagements/{engagement}"
    return [
        Route(
            "POST",
            f"{call}/engagements",
            _mode,
            engage,
            "Claim and engage",
            Engage,
            EngagementJson,
            201,
            record="inside",
            errors=(AlreadyTaken, AlreadyEngaged, ModeNotPossible, LegNotReady, NotFound, *_PBX),
        ),
        Route(
            "PATCH",
            one,
            _new_mode,
            change,
            "Switch the mode, or hold",
            ChangeEngagement,
            EngagementJson,
            record="inside",
            errors=(AlreadyTaken, ModeNotPossible, LegNotReady, CallEnded, *_PBX),
        ),
        Route(
            "POST",
            f"{one}/release",
            "monitor",
            release,
            "Leave: the AI speaks again",
            Release,
            status=204,
            record="inside",
            word="release",
            limited=False,
            errors=(PbxTimeout,),
        ),
        Route(
            "POST",
            f"{call}/hangup",
            "hangup",
            hangup,
            "End the call",
            Nothing,
            status=204,
            record="inside",
            errors=_PBX,
        ),
        Route(
            "POST",
            f"{call}/transfer",
            "transfer",
            transfer,
            "Send the caller elsewhere",
            Transfer,
            status=204,
            record="inside",
            errors=_PBX,
        ),
        Route("POST", f"{call}/dtmf", "dtmf", dtmf, "Send digits", Dtmf, status=204, record="inside", errors=_PBX),
        Route(
            "POST",
            f"{call}/wrap-up",
            "wrap-up",
            wrap_up,
            "What came of my part",
            WrapUp,
            status=204,
            live=False,
            errors=(NotFound,),
            facts=lambda ask: {"outcome": ask.body(WrapUp).outcome},
        ),
    ]


def _mode(body: Engage) -> Act:
    return body.mode.value


def _new_mode(body: ChangeEngagement) -> Act:
    return body.mode.value if body.mode is not None else "monitor"
