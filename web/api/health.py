"""Is it alive, is it ready, what does it count.

Whether it is alive and ready is for everybody: load balancers ask from anywhere. Names of PBXs, faults and figures are
for this machine, the networks that the settings name, and who may `read-metrics`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from typing_extensions import TypedDict

from connector.domain.people import demand, may
from connector.services.registry import Registry

from ..metrics import Sample, exposition
from ..routing import Ask, Route
from ..site import Site
from ..views import dumps


class AliveJson(TypedDict):
    alive: bool


class ReadyJson(TypedDict):
    ready: bool
    why: list[str]


def health_routes(
    registry: Registry, site: Site, media_faults: Callable[[], list[str]], samples: Callable[[], list[Sample]]
) -> list[Route]:
    """`media_faults` says why the media is not fit, if it is not; `samples` is what `/metrics` shows."""

    async def alive(_: Ask) -> Mapping[str, Any]:
        return {"alive": True}

    def entitled(ask: Ask) -> bool:
        if site.monitors(ask.request):
            return True
        return ask.who is not None and bool(may(ask.actor, "read-metrics"))

    async def ready(ask: Ask) -> web.Response:
        why = [f"PBX {state.name}: {state.why or 'down'}" for state in registry.pbxs() if not state.up]
        why += media_faults()
        body = dumps({"ready": not why, "why": why if entitled(ask) else []}).encode()
        return web.Response(body=body, status=200 if not why else 503, content_type="application/json")

    async def metrics(ask: Ask) -> web.Response:
        if not entitled(ask):
            demand(ask.actor, "read-metrics")
        return web.Response(
            text=exposition(samples()), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    return [
        Route("GET", "/healthz", "public", alive, "Alive", answer=AliveJson),
        Route("GET", "/readyz", "public", ready, "PBXs and media workers are up; 503 when not", answer=ReadyJson),
        Route("GET", "/metrics", "public", metrics, "Prometheus metrics", content=("text/plain",)),
    ]
