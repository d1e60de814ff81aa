"""Into a call, out of it, and what an agent does to it. Answers come when the PBX has confirmed."""

from collections.abc import Callable, Mapping
from typing import Any

from connector.domain.calls import EngagementId
from connector.domain.people import Act
from connector.services.takeovers import Takeovers

from ..messages import ChangeEngagement, Dtmf, Engage, EngagementJson, Nothing, Release, Transfer
from ..routing import Ask, Route
from ..views import engagement_json


def engagement_routes(takeovers: Takeovers, owned: Callable[[str, str], None]) -> list[Route]:
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

    call, one = "/api/v1/calls/{call}", "/api/v1/engagements/{engagement}"
    return [
        Route("POST", f"{call}/engagements", _mode, engage, "Claim and engage", Engage, EngagementJson, 201),
        Route("PATCH", one, _new_mode, change, "Switch the mode, or hold", ChangeEngagement, EngagementJson),
        Route("POST", f"{one}/release", "monitor", release, "Leave: the AI speaks again", Release, status=204),
        Route("POST", f"{call}/hangup", "hangup", hangup, "End the call", Nothing, status=204),
        Route("POST", f"{call}/transfer", "transfer", transfer, "Send the caller elsewhere", Transfer, status=204),
        Route("POST", f"{call}/dtmf", "dtmf", dtmf, "Send digits", Dtmf, status=204),
    ]


def _mode(body: Engage) -> Act:
    return body.mode.value


def _new_mode(body: ChangeEngagement) -> Act:
    return body.mode.value if body.mode is not None else "monitor"
