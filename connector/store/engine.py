"""Engines: SQLite through aiosqlite by default, PostgreSQL through asyncpg by URL, and their errors as ours."""

import asyncio
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Executable, Table, create_engine, event, insert, update
from sqlalchemy.engine import URL, Connection, Engine, RowMapping, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..domain.errors import BadValue, StoreUnavailable
from .thread import DiskThread

log = structlog.get_logger(__name__)

LOCK_PATIENCE_MS = 1_000
"""How long SQLite waits for another process's transaction before we call the store unavailable."""

CONNECT_S = 3.0
COMMAND_S = 10.0
"""How long PostgreSQL may take to answer: one that hangs must not keep revoked sessions alive, nor a log-in waiting."""

ANSWER_S = 10.0
"""How long anybody waits for the answer to a transaction: a disk that hangs gives none, and no error either."""

CLOSING_S = 5.0
"""How long closing waits for the transactions under way, and for the connections."""

T = TypeVar("T")
DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")


def parsed(url: str) -> URL:
    """The URL, if it is one that the store can use; raises `BadValue`, which shows no password."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        remedy = "use sqlite+aiosqlite:///path or postgresql+asyncpg://user:password@host/database"
        raise BadValue("store.url", f"{url.partition(':')[0]}:...", remedy) from None
    if made.drivername not in DRIVERS:
        raise BadValue("store.url", made.drivername, f"use one of the drivers {', '.join(DRIVERS)}")
    if is_sqlite(made) and (not made.database or ":memory:" in made.database):
        raise BadValue("store.url", readable(made), "name a file: an audit in memory is none")
    if not is_sqlite(made) and importlib.util.find_spec("asyncpg") is None:
        raise BadValue("store.url", made.drivername, "install the extra: pip install 'takeover[postgresql]'")
    return made


def readable(url: URL) -> str:
    """For people to read: without the password."""
    return url.set(query={}).render_as_string(hide_password=True)


def is_sqlite(url: URL) -> bool:
    """Whether this is the embedded database; everything that is particular to it asks here."""
    return url.get_backend_name() == "sqlite"


def audit_place(url: URL) -> URL:
    """Where the audit lies. SQLite has one write lock per file, and who meets it sleeps for tens of milliseconds: the
    audit, which a takeover waits for, has a file of its own, so that no transcript can be in its way."""
    if not is_sqlite(url) or url.database is None:
        return url
    path = Path(url.database)
    return url.set(database=str(path.with_name(f"{path.stem}-audit{path.suffix}")))


def make_engine(url: URL) -> AsyncEngine:
    """An engine for everything but the audit's writing. SQLite leaves syncing the disk to its checkpoints."""
    if not is_sqlite(url):
        deadlines = {"timeout": CONNECT_S, "command_timeout": COMMAND_S}
        return create_async_engine(url, pool_pre_ping=True, pool_timeout=CONNECT_S, connect_args=deadlines)
    engine = create_async_engine(url, pool_timeout=CONNECT_S, connect_args=_PATIENCE)
    _set_pragmas(engine.sync_engine, synchronous="NORMAL")
    return engine


def make_writer(url: URL) -> "Writer":
    """What writes the audit: each commit is synced to the disk before it counts."""
    return ThreadWriter(url) if is_sqlite(url) else Database(make_engine(url))


_PATIENCE = {"timeout": LOCK_PATIENCE_MS / 1000}


def _set_pragmas(engine: Engine, *, synchronous: str) -> None:
    @event.listens_for(engine, "connect")
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


class Writer(Protocol):
    """Runs a piece of work in one transaction; the work is plain, synchronous SQLAlchemy on every database."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Committed on return. Raises `StoreUnavailable`."""

    async def close(self) -> None: ...


class ThreadWriter:
    """SQLite's, in a thread of its own.

    aiosqlite hands each statement to a thread and waits for it; a transaction of four is four round trips, which on
    a loaded machine took 9 ms (p95 29) where one round trip takes 2.3 (p95 6.5).
    """

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url.set(drivername="sqlite"), connect_args=_PATIENCE)
        _set_pragmas(self._engine, synchronous="FULL")
        self._thread = DiskThread("audit")
        self._last: Future[Any] | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """See `Writer`. A disk that still owes the last answer is unavailable at once."""
        if self._last is not None and not self._last.done():
            raise StoreUnavailable("the disk has not answered yet")

        def transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        running = self._last = self._thread.submit(transaction)
        try:
            return await asyncio.wrap_future(running)
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(error) from error

    async def close(self) -> None:
        """See `Writer`."""
        closing = asyncio.wrap_future(self._thread.submit(self._engine.dispose))
        self._thread.end()
        await asyncio.shield(asyncio.wait([closing], timeout=CLOSING_S))


class Database:
    """Short transactions, each of which ends although whoever asked for it is cancelled.

    A cancelled asyncio task interrupts aiosqlite between a statement and its answer; closed in that moment, its thread
    never answers, and what waits for it cannot even be cancelled. So each transaction is a task of its own, and closing
    waits for those under way.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[[Connection], T], *, bounded: bool = True) -> T:
        """See `Writer`. `IntegrityError`s pass through: they are the caller's answer.

        After `ANSWER_S` it is not waited for any more, unless it is not `bounded`; it may still be carried out.
        """
        transaction = asyncio.create_task(self._transaction(work))
        self._under_way.add(transaction)
        transaction.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(ANSWER_S if bounded else None):
                return await asyncio.shield(transaction)
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {ANSWER_S:g} s") from None

    def _ended(self, transaction: asyncio.Task[Any]) -> None:
        self._under_way.discard(transaction)
        if not transaction.cancelled():
            transaction.exception()  # nobody may be left to hear of it

    async def _transaction(self, work: Callable[[Connection], T]) -> T:
        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise unavailable(error) from error

    async def execute(self, statement: Executable, rows: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Runs one statement; returns how many rows it touched."""
        return await self.run(lambda connection: connection.execute(statement, rows).rowcount)

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        """All rows of a query."""
        return await self.run(lambda connection: connection.execute(statement).mappings().all())

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
        """Closes all connections, also when the closing task is cancelled. A disk that does not answer is left."""
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        if self._under_way:
            _, owing = await asyncio.wait(self._under_way, timeout=CLOSING_S)
            if owing:
                log.error("store.transactions.left", count=len(owing), waited_s=CLOSING_S)
        disposing = asyncio.ensure_future(self._engine.dispose())
        await asyncio.wait([disposing], timeout=CLOSING_S)


def unavailable(error: BaseException) -> StoreUnavailable:
    """The driver's own words, without statement and parameters, which may be personal data."""
    origin = getattr(error, "orig", None) or error
    return StoreUnavailable(f"{type(origin).__name__}: {origin}")
