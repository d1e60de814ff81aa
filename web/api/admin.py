"""Tokens for machines, and the audit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from typing_extensions import TypedDict

from connector.domain.calls import CallId
from connector.store import Store
from connector.store.audit import AuditRow
from connector.store.tokens import Token

from ..errors import BadRequest, Fault, NotFound
from ..faults import shown
from ..messages import NewToken
from ..passwords import hash_secret, new_secret
from ..record import recorded
from ..routing import Ask, Route
from ..views import stamp


class TokenJson(TypedDict):
    name: str
    role: str
    ai: str
    created_at: str


class FreshTokenJson(TokenJson):
    token: str


class TokensJson(TypedDict):
    tokens: list[TokenJson]


class AuditRowJson(TypedDict):
    number: int
    at: str
    kind: str
    actor: str
    act: str
    call: str | None
    facts: dict[str, str]
    refers: int | None


class AuditJson(TypedDict):
    audit: list[AuditRowJson]


def admin_routes(store: Store) -> list[Route]:
    """The routes of administrators and, for the audit, of supervisors."""

    async def add(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(NewToken)
        secret = new_secret()
        async with recorded(store.audit, ask.actor.id, "add-token", {"name": body.name, "role": body.role}):
            token = await store.tokens.add(body.name, body.role, body.ai, hash_secret(secret))
        return {**_shown(token), "token": secret}

    async def tokens(_: Ask) -> Mapping[str, Any]:
        return {"tokens": [_shown(token) for token in await store.tokens.list() if token.revoked_at is None]}

    async def revoke(ask: Ask) -> None:
        name = ask.request.match_info["token"]
        async with recorded(store.audit, ask.actor.id, "revoke-token", {"name": name[:64]}):
            if not await store.tokens.revoke(name):
                raise NotFound(f"There is no token {name[:64]!r}; GET /api/v1/tokens lists those there are.")

    async def audit(ask: Ask) -> Mapping[str, Any]:
        query = ask.request.query
        call = CallId(query["call"]) if "call" in query else None
        rows = await store.audit.read(call, query.get("actor"), _since(query.get("since")))
        return {"audit": [_row(row) for row in rows]}

    path = "/api/v1/tokens"
    return [
        Route("POST", path, "administer", add, "A token for a machine; shown once", NewToken, FreshTokenJson, 201),
        Route("GET", path, "administer", tokens, "The tokens, without their secrets", answer=TokensJson),
        Route("DELETE", f"{path}/{{token}}", "administer", revoke, "Revoke a token by its name", status=204),
        Route(
            "GET",
            "/api/v1/audit",
            "read-audit",
            audit,
            "Who did what",
            answer=AuditJson,
            query=("call", "actor", "since"),
        ),
    ]


def _shown(token: Token) -> TokenJson:
    return {"name": token.name, "role": token.role, "ai": token.ai, "created_at": stamp(token.created_at)}


def _row(row: AuditRow) -> AuditRowJson:
    return {
        "number": row.number,
        "at": stamp(row.at),
        "kind": row.kind,
        "actor": row.actor,
        "act": row.act,
        "call": row.call,
        "facts": dict(row.facts),
        "refers": row.refers,
    }


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadRequest(Fault("query since", shown(text), "give a time with its zone, like 2026-01-31T12:00:00Z"))
    return at
