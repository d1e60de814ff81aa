"""The HTTP application: every route of the house in one table, behind one router and one set of middlewares."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from aiohttp import web
from aiohttp.typedefs import Middleware

from connector.domain.escalation import Priority
from connector.ports import Journal
from connector.services.escalations import Escalations
from connector.services.marks import Marks
from connector.services.registry import Registry
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from connector.store import Store

from .api.admin import admin_routes
from .api.audit import audit_routes
from .api.calls import call_routes
from .api.engagements import engagement_routes
from .api.health import health_routes
from .api.openapi import openapi_route
from .api.people import people_routes
from .api.recording import recording_routes
from .api.session import session_routes
from .auth import Guard, Principal
from .door import Door
from .hub import Hub
from .messages import IceServerJson
from .metrics import Labels, Requests, Sample, gauge
from .middleware import Handler, errors_to_problems, security_headers
from .pages import File, page_routes
from .routing import Limits, Route, Router
from .signalling import Desk, leg_routes
from .site import Site
from .socket import Incoming, event_routes

_PRIORITIES: Sequence[Labels] = [(("priority", priority),) for priority in get_args(Priority)]
MAX_BODY = 64 * 1024
"""Bytes of a request's body; the largest that is meant is an SDP offer of some 6 kB."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application works with."""

    registry: Registry
    takeovers: Takeovers
    transcripts: Transcripts
    escalations: Escalations
    marks: Marks
    store: Store
    journal: Journal
    """The audit, which is told of every act."""
    guard: Guard
    site: Site
    door: Door
    desk: Desk
    hub: Hub
    files: Mapping[str, File]
    destinations: Mapping[str, list[str]]
    version: str
    media_faults: Callable[[], list[str]]
    more_samples: Callable[[], list[Sample]]
    ice_servers: Callable[[str], Sequence[IceServerJson]]
    """STUN and TURN servers, with logins in the name that is given."""
    deaf: Sequence[str] = ()
    """AIs that hear nothing while a person speaks in their place."""
    limits: Limits = field(default_factory=Limits)


def build(parts: Parts) -> web.Application:
    """The application, ready to be served."""
    requests = Requests()
    middlewares = [_counting(requests), errors_to_problems(), parts.door.counting()]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
    app.on_response_prepare.append(security_headers(https=parts.site.https))
    parts.guard.on_end(_ending(parts))
    router = Router(parts.guard, parts.registry, parts.site, parts.journal, parts.limits)
    router.add(app, routes(parts, requests))
    return app


def routes(parts: Parts, requests: Requests) -> list[Route]:
    """Every route there is."""

    def samples() -> list[Sample]:
        modes: dict[Labels, float] = {}
        for engagement in parts.registry.engagements():
            key: Labels = (("mode", engagement.mode.value),)
            modes[key] = modes.get(key, 0) + 1
        open_: dict[Labels, float] = dict.fromkeys(_PRIORITIES, 0.0)
        for call in parts.registry.calls():
            if (escalation := parts.escalations.of(call.id)) is not None:
                open_[(("priority", escalation.priority),)] += 1
        pbxs: dict[Labels, float] = {(("pbx", state.name),): float(state.up) for state in parts.registry.pbxs()}
        return [
            gauge("takeover_calls", "Live calls with an AI", len(parts.registry.calls())),
            Sample("takeover_engagements", "Agents in calls", "gauge", modes),
            Sample("takeover_escalations", "Callers who wait for a person", "gauge", open_),
            gauge("takeover_audit_waiting", "Records that wait for the audit's store", parts.store.audit.waiting),
            Sample("takeover_pbx_up", "Whether a PBX is connected", "gauge", pbxs),
            gauge("takeover_events_clients", "Connected event sockets", len(parts.hub)),
            Sample(
                "takeover_events_slow_total",
                "Event sockets that fell behind: refreshed by a snapshot, or dropped",
                "counter",
                {(("what", "refreshed"),): parts.hub.refreshed, (("what", "dropped"),): parts.hub.dropped},
            ),
            gauge("takeover_legs", "Agents' audio legs", len(parts.desk)),
            gauge("takeover_connections", "Open connections of browsers and machines", len(parts.door)),
            Sample(
                "takeover_connections_refused_total",
                "Connections of addresses that had too many",
                "counter",
                {(): parts.door.refused},
            ),
            *parts.more_samples(),
            *requests.samples(),
        ]

    async def close_leg(session: str) -> None:
        leg = parts.desk.of(session)
        if leg is not None:
            await parts.desk.close(session, leg)

    found = [
        *session_routes(
            parts.guard,
            parts.site,
            parts.journal,
            close_leg,
            parts.destinations,
            parts.ice_servers,
            parts.deaf,
        ),
        *call_routes(parts.registry, parts.transcripts, parts.takeovers, parts.escalations),
        *engagement_routes(parts.takeovers, parts.registry, parts.store.engagements, parts.desk.owned),
        *recording_routes(parts.marks),
        *leg_routes(parts.desk),
        *people_routes(parts.store),
        *admin_routes(parts.store),
        *audit_routes(parts.store),
        *health_routes(parts.registry, parts.site, parts.media_faults, samples),
        *event_routes(parts.hub, parts.desk),
        *page_routes(parts.files, parts.guard, parts.site, parts.journal),
    ]
    return [*found, openapi_route(found, parts.version, Incoming)]


def _ending(parts: Parts) -> Callable[[Principal, str], Awaitable[None]]:
    async def end(principal: Principal, why: str) -> None:
        """A session is over: its calls go back to the AI, its leg and its sockets close."""
        leg = parts.desk.of(principal.session)
        if leg is not None:
            parts.takeovers.leg_down(leg, why)
        parts.hub.end_session(principal.session, why)
        await parts.desk.end_session(principal.session)

    return end


def _counting(requests: Requests) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        if not isinstance(response, web.WebSocketResponse):
            requests.count(request.method, route, response.status, time.monotonic() - began)
        return response

    return middleware
