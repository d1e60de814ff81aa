"""Everything that is kept, behind one door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from ..domain.errors import StoreUnavailable
from .accounts import Accounts
from .audit import Audit
from .chain import GENESIS
from .engagements import Engagements
from .engine import Database, make_engine
from .reserve import SIZE, Reserve
from .schema import VERSION, audit_head, meta, metadata
from .sessions import Sessions
from .tokens import Tokens
from .transcripts import TranscriptStore


@dataclass(frozen=True, slots=True)
class Store:
    """An open store."""

    accounts: Accounts
    sessions: Sessions
    tokens: Tokens
    engagements: Engagements
    transcripts: TranscriptStore
    audit: Audit

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, key: bytes, reserve: Path, *, reserve_size: int = SIZE) -> AsyncIterator[Self]:
        """Opens (and where new creates) the store: ``async with Store.open(...) as store``.

        `url` is ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://...``; `key` signs the audit (32 bytes or more,
        kept outside the database); `reserve` is the file that takes emergency records while the store fails.
        Raises `BadValue`, `StoreUnavailable`.
        """
        database = Database(make_engine(url, synchronous="NORMAL"))
        audited = Database(make_engine(url, synchronous="FULL"))  # an intent must survive a power cut
        room = Reserve(reserve, key, reserve_size)
        try:
            await _create(database)
            audit = Audit(audited, key, room)
            writer = asyncio.create_task(audit.run())
            try:
                yield cls(
                    Accounts(database),
                    Sessions(database),
                    Tokens(database),
                    Engagements(database),
                    TranscriptStore(database),
                    audit,
                )
                await audit.settle()
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        finally:
            room.close()
            await database.close()
            await audited.close()


async def _create(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.run_sync(metadata.create_all)
    for row, statement in (
        ({"key": "schema", "value": str(VERSION)}, insert(meta)),
        ({"id": 1, "number": 0, "mac": GENESIS}, insert(audit_head)),
    ):
        try:
            await database.execute(statement, [row])
        except IntegrityError:
            continue  # it is there: not the first start
    found = (await database.rows(select(meta.c.value).where(meta.c.key == "schema")))[0]["value"]
    if found != str(VERSION):
        raise StoreUnavailable(f"its schema is version {found}, this program knows {VERSION}; run the newer program")
