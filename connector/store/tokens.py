"""Machines that use the API, by the hash of their token."""

import json
import uuid
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from ..domain.errors import BadValue
from ..domain.people import EVERYTHING, ActorRole
from .engine import Database
from .schema import stamp, tokens, unstamp


@dataclass(frozen=True, slots=True)
class Token:
    """A machine's credential. `ai` is the AI that a token of role ``ai`` speaks for; `queues` and `tenants` are those
    whose calls it reaches."""

    id: str
    name: str
    role: ActorRole
    ai: str
    hash: str
    created_at: datetime
    revoked_at: datetime | None = None
    queues: AbstractSet[str] = EVERYTHING
    tenants: AbstractSet[str] = EVERYTHING


class Tokens:
    """The tokens, revoked ones included: their names stay readable in the audit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        name: str,
        role: ActorRole,
        ai: str,
        hash: str,  # noqa: A002 - the column's name
        queues: Iterable[str] = EVERYTHING,
        tenants: Iterable[str] = EVERYTHING,
    ) -> Token:
        """Raises `BadValue` when the name exists."""
        reach = frozenset(queues), frozenset(tenants)
        token = Token(uuid.uuid4().hex, name, role, ai, hash, datetime.now(UTC), None, *reach)
        row = {
            "id": token.id,
            "name": name,
            "role": role,
            "ai": ai,
            "hash": hash,
            "created_at": stamp(token.created_at),
            "revoked_at": None,
            "queues": json.dumps(sorted(token.queues)),
            "tenants": json.dumps(sorted(token.tenants)),
        }
        try:
            await self._database.execute(insert(tokens), [row])
        except IntegrityError as error:
            raise BadValue("name", name, "a token of this name exists (revoked ones count); choose another") from error
        return token

    async def by_hash(self, hash: str) -> Token | None:  # noqa: A002 - the column's name
        """The token, unless it is unknown or revoked."""
        query = select(tokens).where(tokens.c.hash == hash, tokens.c.revoked_at.is_(None))
        rows = await self._database.rows(query)
        return _token(rows[0]) if rows else None

    async def list(self) -> Sequence[Token]:
        """All, by name."""
        return [_token(row) for row in await self._database.rows(select(tokens).order_by(tokens.c.name))]

    async def revoke(self, name: str) -> bool:
        """False when there is no such token, or it is revoked already."""
        statement = update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
        return await self._database.execute(statement.values(revoked_at=stamp(datetime.now(UTC)))) > 0


def _token(row: RowMapping) -> Token:
    revoked = unstamp(row["revoked_at"]) if row["revoked_at"] else None
    role = cast("ActorRole", row["role"])
    return Token(
        row["id"],
        row["name"],
        role,
        row["ai"],
        row["hash"],
        unstamp(row["created_at"]),
        revoked,
        frozenset(json.loads(row["queues"])),
        frozenset(json.loads(row["tenants"])),
    )
