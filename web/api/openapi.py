"""The OpenAPI document, made from the route table and the models that check the bodies: it cannot be out of date."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from connector.domain import errors as domain

from .. import errors
from ..middleware import PROBLEMS
from ..routing import Ask, Route
from ..views import dumps

_REFERENCE = "#/components/schemas/{model}"
_TIME = {"type": "string", "format": "date-time"}
QUERIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "queue": ("Calls of this queue", {"type": "string"}),
    "q": ("Text in the caller, the AI, the queue or the id of a call", {"type": "string"}),
    "ai_ref": ("The call with this reference of its AI", {"type": "string"}),
    "call": ("Acts on this call", {"type": "string"}),
    "actor": ("Acts of somebody, by id, username or token name", {"type": "string"}),
    "act": ("Acts of this kind, like takeover", {"type": "string"}),
    "result": ("ok, a reason, or open where there is none (yet)", {"type": "string"}),
    "since": ("From this time on", _TIME),
    "until": ("Before this time", _TIME),
    "limit": ("At most so many", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
    "cursor": ("Where the page before ended: its `next`", {"type": "string"}),
    "format": ("Of the file", {"type": "string", "enum": ["csv", "jsonl"], "default": "csv"}),
}
"""What a query means, by its name: it is the same on every path."""
_TAGS = {"session": "Session", "calls": "Calls", "engagements": "Engagements", "legs": "Agent leg", "events": "Events"}


def openapi_route(routes: Sequence[Route], version: str, messages: type[BaseModel]) -> Route:
    """``GET /api/v1/openapi.json``; rendered once. `messages` is what a client may say on the WebSocket."""

    async def openapi(_: Ask) -> web.Response:
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    route = Route("GET", "/api/v1/openapi.json", "public", openapi, "This document", content=("application/json",))
    body = dumps(document([*routes, route], version, messages)).encode()
    return route


def document(routes: Iterable[Route], version: str, messages: type[BaseModel]) -> dict[str, Any]:
    """The document for the routes of the API; pages are left out."""
    served = [route for route in routes if route.path.startswith(("/api/", "/healthz", "/readyz", "/metrics"))]
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        paths.setdefault(_plain(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Takeover",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**_schemas(served, messages), "Problem": _PROBLEM},
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "takeover"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


_ABOUT = (
    "Browsers log in and send a cookie; machines send a token. Times are RFC 3339 in UTC. Every error is "
    "application/problem+json with a stable type. An unsafe request with a cookie has to name this site as its Origin. "
    "x-act is the permission that a route asks for."
)


def _schemas(routes: Sequence[Route], messages: type[BaseModel]) -> dict[str, Any]:
    kinds: list[Any] = [messages]
    for kind in [kind for route in routes for kind in (route.body, route.answer) if kind is not None]:
        if kind not in kinds:
            kinds.append(kind)
    adapters = [
        (kind.__name__, "serialization" if _is_answer(kind) else "validation", TypeAdapter(kind)) for kind in kinds
    ]
    found, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE)  # type: ignore[arg-type]
    named = {name: schema for (name, _), schema in found.items() if "$ref" not in schema}
    return {**definitions.get("$defs", {}), **named}


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. Beside these, the facts of the error, such as speaker, mode, field, value, remedy.",
    "properties": {
        "type": {
            "type": "string",
            "enum": sorted(
                {f"urn:takeover:{row.slug}" for row in PROBLEMS.values()}
                | {f"urn:takeover:{slug}" for slug in ("bad-request", "internal", "method-not-allowed")}
            ),
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for the person who asked"},
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": True,
}


def _is_answer(kind: Any) -> bool:
    return str(kind.__name__).endswith("Json")


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(
            r"\W+", "_", f"{route.method.lower()} {_plain(route.path).removeprefix('/api/v1/')}"
        ).strip("_"),
        "summary": route.summary,
        "tags": [_TAGS.get(part, "House") for part in _plain(route.path).removeprefix("/api/v1/").split("/")[:1]],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)", route.path)
        ]
        + [
            {"name": name, "in": "query", "description": QUERIES[name][0], "schema": QUERIES[name][1]}
            for name in route.query
        ],
        "responses": {str(route.status): _content(route), **_problems(route)},
    }
    operation["security"] = [{"session": []}, {"token": []}] if route.act != "public" else []
    operation["x-act"] = route.act if isinstance(route.act, str) else "the mode"
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=route.body.__name__)}}},
        }
    return operation


def _problems(route: Route) -> dict[str, Any]:
    """What may go wrong, by status."""
    kinds: list[type[Exception]] = list(route.errors)
    if route.act != "public":
        kinds += [errors.NotLoggedIn, domain.NotAllowed]
        kinds += [errors.TooManyRequests] if route.limited else []
    if not route.safe:
        kinds.append(errors.ForeignOrigin)
    if route.recording == "first" or (route.recording == "inside" and route.act != "public"):
        kinds.append(domain.StoreUnavailable)
    if "{call}" in route.path and route.live:
        kinds += [domain.CallUnknown, domain.CallEnded]
    if re.search(r"{(engagement|leg|token)}", route.path):
        kinds.append(errors.NotFound)
    slugs: dict[int, set[str]] = {}
    for kind in kinds:
        slugs.setdefault(PROBLEMS[kind].status, set()).add(PROBLEMS[kind].slug)
    if route.body is not None or route.query:
        slugs.setdefault(400, set()).add("bad-request")
    answers = {str(status): _problem(", ".join(sorted(names))) for status, names in sorted(slugs.items())}
    return {**answers, "default": _problem("internal, and what a proxy in between may say")}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model="Problem")}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def _content(route: Route) -> Mapping[str, Any]:
    if route.content:
        return {"description": route.summary, "content": {kind: {} for kind in route.content}}
    if route.answer is None:
        return {"description": route.summary}
    schema = {"$ref": _REFERENCE.format(model=route.answer.__name__)}
    return {"description": route.summary, "content": {"application/json": {"schema": schema}}}


def _plain(path: str) -> str:
    return re.sub(r"{(\w+):[^}]*}", r"{\1}", path)
