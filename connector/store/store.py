"""Everything that is kept, behind one door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import insert

from .accounts import Accounts
from .aside import Aside
from .audit import Audit
from .chain import GENESIS
from .engagements import Engagements
from .engine import Database, audit_place, make_engine, make_writer, parsed
from .escalations import EscalationStore
from .outbox import Outbox
from .reserve import SIZE, Reserve
from .schema import VERSION, audit_head, audit_metadata, meta, metadata, missed, outbox
from .sessions import Sessions
from .tokens import Tokens
from .transcripts import TranscriptStore
from .upgrade import check, create, done, upgrade


@dataclass(frozen=True, slots=True)
class Store:
    """An open store."""

    accounts: Accounts
    sessions: Sessions
    tokens: Tokens
    engagements: Engagements
    transcripts: TranscriptStore
    escalations: EscalationStore
    outbox: Outbox
    missed: Outbox
    audit: Audit

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, key: bytes, reserve: Path, *, reserve_size: int = SIZE) -> AsyncIterator[Self]:
        """Opens (and where new creates) the store: ``async with Store.open(...) as store``.

        `url` is ``sqlite+aiosqlite:///path`` (the audit lies beside it, in ``<name>-audit<suffix>``) or
        ``postgresql+asyncpg://...``; `key` signs the audit (32 bytes or more, kept outside the database); `reserve`
        is the file that takes emergency records while the store fails.
        Raises `BadValue`, `StoreUnavailable`.
        """
        place = parsed(url)
        database, journal = Database(make_engine(place)), Database(make_engine(audit_place(place)))
        writer = make_writer(audit_place(place))
        aside = Aside(Reserve(reserve, key, reserve_size))
        try:
            await create(database, metadata, insert(meta), {"key": "schema", "value": str(VERSION)})
            await create(journal, audit_metadata, insert(audit_head), {"id": 1, "number": 0, "mac": GENESIS})
            await check(database)
            await upgrade(journal, audit_metadata)
            await upgrade(database, metadata)
            await done(database)
            audit = Audit(journal, writer, key, aside)
            writing = asyncio.create_task(audit.run())
            try:
                yield cls(
                    Accounts(database),
                    Sessions(database),
                    Tokens(database),
                    Engagements(database),
                    TranscriptStore(database),
                    EscalationStore(database),
                    Outbox(database, outbox),
                    Outbox(database, missed),
                    audit,
                )
                await audit.settle()
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        finally:
            await aside.close()
            await database.close()
            await journal.close()
            await writer.close()
