"""Is it alive, is it ready, what does it count."""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from typing_extensions import TypedDict

from connector.services.registry import Registry

from ..metrics import Sample, exposition
from ..routing import Ask, Route
from ..views import dumps


class ReadyJson(TypedDict):
    ready: bool
    why: list[str]


def health_routes(
    registry: Registry, media_faults: Callable[[], list[str]], samples: Callable[[], list[Sample]]
) -> list[Route]:
    """`media_faults` says why the media is not fit, if it is not; `samples` is what `/metrics` shows."""

    async def alive(_: Ask) -> Mapping[str, Any]:
        return {"alive": True}

    async def ready(_: Ask) -> web.Response:
        why = [f"PBX {state.name}: {state.why or 'down'}" for state in registry.pbxs() if not state.up]
        why += media_faults()
        body = dumps({"ready": not why, "why": why}).encode()
        return web.Response(body=body, status=200 if not why else 503, content_type="application/json")

    async def metrics(_: Ask) -> web.Response:
        return web.Response(
            text=exposition(samples()), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    return [
        Route("GET", "/healthz", "public", alive, "Alive"),
        Route("GET", "/readyz", "public", ready, "PBXs and media workers are up", answer=ReadyJson),
        Route("GET", "/metrics", "public", metrics, "Prometheus metrics"),
    ]
