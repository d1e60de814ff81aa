"""Tokens for machines."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from connector.store import Store
from connector.store.tokens import Token

from ..errors import NotFound
from ..messages import NewToken
from ..passwords import hash_secret, new_secret
from ..routing import Ask, Route
from ..views import stamp


class TokenJson(TypedDict):
    name: str
    role: str
    ai: str
    queues: list[str]
    tenants: list[str]
    """Whose calls it reaches; ``*`` for all."""
    created_at: str


class FreshTokenJson(TokenJson):
    token: str


class TokensJson(TypedDict):
    tokens: list[TokenJson]


def admin_routes(store: Store) -> list[Route]:
    """The routes of administrators."""

    async def add(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(NewToken)
        secret = new_secret()
        token = await store.tokens.add(body.name, body.role, body.ai, hash_secret(secret), body.queues, body.tenants)
        return {**_shown(token), "token": secret}

    async def tokens(_: Ask) -> Mapping[str, Any]:
        return {"tokens": [_shown(token) for token in await store.tokens.list() if token.revoked_at is None]}

    async def revoke(ask: Ask) -> None:
        name = ask.request.match_info["token"]
        if not await store.tokens.revoke(name):
            raise NotFound(f"There is no token {name[:64]!r}; GET /api/v1/tokens lists those there are.")

    def added(ask: Ask) -> Mapping[str, str]:
        body = ask.body(NewToken)
        reach = {"queues": ",".join(body.queues), "tenants": ",".join(body.tenants)}
        return {"name": body.name, "role": body.role, "ai": body.ai, **reach}

    path, one = "/api/v1/tokens", "/api/v1/tokens/{token}"
    return [
        Route(
            "POST",
            path,
            "administer",
            add,
            "A token for a machine; shown once",
            NewToken,
            FreshTokenJson,
            201,
            word="add-token",
            facts=added,
        ),
        Route("GET", path, "administer", tokens, "The tokens, without their secrets", answer=TokensJson),
        Route(
            "DELETE",
            one,
            "administer",
            revoke,
            "Revoke a token by its name",
            status=204,
            word="revoke-token",
            facts=lambda ask: {"name": ask.request.match_info["token"][:64]},
        ),
    ]


def _shown(token: Token) -> TokenJson:
    return {
        "name": token.name,
        "role": token.role,
        "ai": token.ai,
        "queues": sorted(token.queues),
        "tenants": sorted(token.tenants),
        "created_at": stamp(token.created_at),
    }
