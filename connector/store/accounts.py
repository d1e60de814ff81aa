"""People who log in."""

import json
import uuid
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import Delete, Update, delete, insert, select, update
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from ..domain.errors import BadValue, LastAdministrator
from ..domain.people import EVERYTHING, Actor, ActorRole, may
from .engine import Database
from .schema import accounts, meta, sessions, stamp, unstamp

_ALONE = update(meta).where(meta.c.key == "schema").values(value=meta.c.value)
"""Changes nothing, but holds a row until the transaction ends, so that whoever else takes somebody's rights waits.
PostgreSQL would otherwise let two administrators remove each other, as neither touches the other's row; SQLite has one
writer anyway."""


@dataclass(frozen=True, slots=True)
class Account:
    """A person. `password_hash` is whatever the web side made; the store never sees a password."""

    id: str
    username: str
    name: str
    role: ActorRole
    password_hash: str
    queues: AbstractSet[str]
    tenants: AbstractSet[str]
    created_at: datetime


class Accounts:
    """The accounts, by username (compared without case)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        username: str,
        name: str,
        role: ActorRole,
        password_hash: str,
        queues: Iterable[str] = EVERYTHING,
        tenants: Iterable[str] = EVERYTHING,
    ) -> Account:
        """Raises `BadValue` when the username exists."""
        now = datetime.now(UTC)
        account = Account(
            uuid.uuid4().hex, _folded(username), name, role, password_hash, frozenset(queues), frozenset(tenants), now
        )
        row = {
            "id": account.id,
            "username": account.username,
            "name": name,
            "role": role,
            "password_hash": password_hash,
            "queues": json.dumps(sorted(account.queues)),
            "tenants": json.dumps(sorted(account.tenants)),
            "created_at": stamp(now),
        }
        try:
            await self._database.execute(insert(accounts), [row])
        except IntegrityError as error:
            raise BadValue("username", username, "it exists already; choose another or remove it first") from error
        return account

    async def by_name(self, username: str) -> Account | None:
        """The account of this username, None when there is none."""
        return _first(await self._database.rows(select(accounts).where(accounts.c.username == _folded(username))))

    async def get(self, id_: str) -> Account | None:
        """The account of this id, None when there is none."""
        return _first(await self._database.rows(select(accounts).where(accounts.c.id == id_)))

    async def list(self) -> Sequence[Account]:
        """All, by username."""
        return [_account(row) for row in await self._database.rows(select(accounts).order_by(accounts.c.username))]

    async def remove(self, username: str) -> bool:
        """Removes the account and its sessions; false when there was none. Raises `LastAdministrator`."""
        return await self._take(username, delete(accounts).where(accounts.c.username == _folded(username)))

    async def change(
        self,
        username: str,
        role: ActorRole | None = None,
        queues: Iterable[str] | None = None,
        tenants: Iterable[str] | None = None,
    ) -> bool:
        """Gives an account another role, other queues or tenants; None leaves what is. False when there is none.

        Raises `LastAdministrator`.
        """
        values: dict[str, str] = {}
        if role is not None:
            values["role"] = role
        if queues is not None:
            values["queues"] = json.dumps(sorted(set(queues)))
        if tenants is not None:
            values["tenants"] = json.dumps(sorted(set(tenants)))
        if not values:
            return await self.by_name(username) is not None
        return await self._take(
            username, update(accounts).where(accounts.c.username == _folded(username)).values(**values)
        )

    async def _take(self, username: str, statement: Delete | Update) -> bool:
        """Does what may cost an account its rights, and undoes it when that leaves nobody who administers."""

        def take(connection: Connection) -> bool:
            connection.execute(_ALONE)
            before = _all(connection)
            if not connection.execute(statement).rowcount:
                return False
            if any(map(_administers, before)) and not any(map(_administers, _all(connection))):
                raise LastAdministrator(_folded(username))  # which rolls back
            return True

        return await self._database.run(take)

    async def set_password(self, username: str, password_hash: str, *, keep: str = "") -> bool:
        """Also ends the sessions of the old one, but for the one whose hash is `keep`. False: no such account."""

        def change(connection: Connection) -> bool:
            account = accounts.c.username == _folded(username)
            if not connection.execute(update(accounts).where(account).values(password_hash=password_hash)).rowcount:
                return False
            id_ = select(accounts.c.id).where(account).scalar_subquery()
            connection.execute(delete(sessions).where(sessions.c.account == id_, sessions.c.id_hash != keep))
            return True

        return await self._database.run(change)


def _all(connection: Connection) -> Sequence[Account]:
    return [_account(row) for row in connection.execute(select(accounts)).mappings()]


def _administers(account: Account) -> bool:
    actor = Actor(account.id, account.name, account.role, account.queues, account.tenants)
    return bool(may(actor, "administer"))


def _folded(username: str) -> str:
    return username.strip().casefold()


def _first(rows: Sequence[RowMapping]) -> Account | None:
    return _account(rows[0]) if rows else None


def _account(row: RowMapping) -> Account:
    return Account(
        row["id"],
        row["username"],
        row["name"],
        cast("ActorRole", row["role"]),
        row["password_hash"],
        frozenset(json.loads(row["queues"])),
        frozenset(json.loads(row["tenants"])),
        unstamp(row["created_at"]),
    )
