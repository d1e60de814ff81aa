"""Log-ins, by the hash of their secret."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from .engine import Database
from .schema import sessions, stamp, unstamp


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in; `account` is an account's id."""

    id_hash: str
    account: str
    expires: datetime


class Sessions:
    """Server-side sessions: removing the row is logging out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, id_hash: str, account: str, expires: datetime) -> None:
        """Also forgets what has expired."""
        row = {"id_hash": id_hash, "account": account, "expires": stamp(expires)}

        def forget_and_add(connection: Connection) -> None:
            connection.execute(delete(sessions).where(sessions.c.expires < stamp(datetime.now(UTC))))
            connection.execute(insert(sessions), [row])

        await self._database.run(forget_and_add)

    async def get(self, id_hash: str) -> Session | None:
        """The session, unless it is unknown or has expired."""
        query = select(sessions).where(sessions.c.id_hash == id_hash, sessions.c.expires >= stamp(datetime.now(UTC)))
        rows = await self._database.rows(query)
        return Session(rows[0]["id_hash"], rows[0]["account"], unstamp(rows[0]["expires"])) if rows else None

    async def remove(self, id_hash: str) -> bool:
        """Logs out; false when there was no such session."""
        return await self._database.execute(delete(sessions).where(sessions.c.id_hash == id_hash)) > 0

    async def remove_all(self, account: str) -> int:
        """Logs an account out everywhere; returns from how many sessions."""
        return await self._database.execute(delete(sessions).where(sessions.c.account == account))
