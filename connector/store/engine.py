"""Engines: SQLite through aiosqlite by default, PostgreSQL through asyncpg by URL, and their errors as ours."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Executable, Table, event, insert, update
from sqlalchemy.engine import RowMapping, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..domain.errors import BadValue, StoreUnavailable

LOCK_PATIENCE_MS = 1_000
"""How long SQLite waits for another process's transaction before we call the store unavailable."""

DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")


def make_engine(url: str, *, synchronous: str) -> AsyncEngine:
    """An engine for `url`. `synchronous` is SQLite's: FULL syncs each commit, NORMAL leaves that to checkpoints."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadValue("store url", url, "use sqlite+aiosqlite:///path or postgresql+asyncpg://host/db") from error
    if parsed.drivername not in DRIVERS:
        raise BadValue("store url", parsed.drivername, f"use one of the drivers {', '.join(DRIVERS)}")
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_pre_ping=True)
    if not parsed.database or ":memory:" in parsed.database:
        raise BadValue("store url", url, "name a file: an audit in memory is none")
    engine = create_async_engine(parsed, connect_args={"timeout": LOCK_PATIENCE_MS / 1000})

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:  # untyped upstream
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute(f"PRAGMA synchronous={synchronous}")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()
        except BaseException:
            connection.close()  # the pool does not know it yet, and its thread would live on
            raise

    return engine


class Database:
    """Short transactions whose failures are `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end. `IntegrityError`s pass through: they are the caller's answer."""
        try:
            async with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise unavailable(error) from error

    async def execute(self, statement: Executable, rows: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Runs one statement; returns how many rows it touched."""
        async with self.transaction() as connection:
            result = await connection.execute(statement, rows)
            return result.rowcount

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        """All rows of a query."""
        async with self.transaction() as connection:
            return (await connection.execute(statement)).mappings().all()

    async def upsert(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Updates the row with this key, or inserts it; also when somebody else inserts it at the same moment."""
        mine = [table.c[name] == value for name, value in key.items()]
        if await self.execute(update(table).where(*mine).values(**values)):
            return
        try:
            await self.execute(insert(table), [{**key, **values}])
        except IntegrityError:
            await self.execute(update(table).where(*mine).values(**values))

    async def close(self) -> None:
        """Closes all connections, even when the closing task is being cancelled."""
        await asyncio.shield(self._engine.dispose())


def unavailable(error: BaseException) -> StoreUnavailable:
    """The driver's own words, without statement and parameters, which may be personal data."""
    origin = getattr(error, "orig", None) or error
    return StoreUnavailable(f"{type(origin).__name__}: {origin}")
