"""The OpenAPI document, made from the route table and the models that check the bodies: it cannot be out of date."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from ..middleware import PROBLEMS
from ..routing import Ask, Route
from ..views import dumps

_REFERENCE = "#/components/schemas/{model}"


def openapi_route(routes: Sequence[Route], version: str) -> Route:
    """``GET /api/v1/openapi.json``; rendered once."""
    body = dumps(document(routes, version)).encode()

    async def openapi(_: Ask) -> web.Response:
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    return Route("GET", "/api/v1/openapi.json", "public", openapi, "This document")


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The document for the routes of the API; pages are left out."""
    served = [route for route in routes if route.path.startswith(("/api/", "/healthz", "/readyz", "/metrics"))]
    kinds: list[Any] = []
    for kind in [kind for route in served for kind in (route.body, route.answer) if kind is not None]:
        if kind not in kinds:
            kinds.append(kind)
    adapters = [
        (kind.__name__, "serialization" if _is_answer(kind) else "validation", TypeAdapter(kind)) for kind in kinds
    ]
    found, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE)  # type: ignore[arg-type]
    schemas = {name: schema for (name, _), schema in found.items()}
    named = {name: schema for name, schema in schemas.items() if "$ref" not in schema}
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        paths.setdefault(_plain(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Takeover", "version": version},
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), **named, "Problem": _PROBLEM},
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "takeover"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457; types are urn:takeover:SLUG",
    "properties": {
        "type": {
            "type": "string",
            "enum": sorted({f"urn:takeover:{row.slug}" for row in PROBLEMS.values()} | {"urn:takeover:bad-request"}),
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}


def _is_answer(kind: Any) -> bool:
    return str(kind.__name__).endswith("Json")


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)", route.path)
        ]
        + [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query],
        "responses": {str(route.status): _content(route), "default": _PROBLEM_ANSWER},
    }
    if route.act != "public":
        operation["security"] = [{"session": []}, {"token": []}]
    operation["x-act"] = route.act if isinstance(route.act, str) else "the mode"
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=route.body.__name__)}}},
        }
    return operation


_PROBLEM_ANSWER = {
    "description": "A problem",
    "content": {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
}


def _content(route: Route) -> Mapping[str, Any]:
    if route.answer is None:
        return {"description": route.summary}
    schema = {"$ref": _REFERENCE.format(model=route.answer.__name__)}
    return {"description": route.summary, "content": {"application/json": {"schema": schema}}}


def _plain(path: str) -> str:
    return re.sub(r"{(\w+):[^}]*}", r"{\1}", path)
