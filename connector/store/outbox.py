"""Events that wait for those whom they are for: a webhook, or an AI's socket."""

from collections.abc import Sequence

from sqlalchemy import Table, delete, insert, select, tuple_
from sqlalchemy.engine import Connection

from ..ports import Undelivered
from .engine import Database

ROWS = 100
"""Per statement: SQLite before 3.32 takes 999 values in one."""


class Outbox:
    """Implements `ports.EventKeeper`."""

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._table = table

    async def change(self, added: Sequence[Undelivered], removed: Sequence[tuple[str, str]]) -> None:
        """Adds events and removes others (hook and id), all or none."""

        outbox = self._table

        def change(connection: Connection) -> None:
            # A commit that was said to have failed may have happened: what is added again takes its own place.
            keys = [*removed, *((one.hook, one.id) for one in added)]
            for at in range(0, len(keys), ROWS):
                gone = tuple_(outbox.c.hook, outbox.c.id).in_(keys[at : at + ROWS])
                connection.execute(delete(outbox).where(gone))
            if added:
                rows = [{"hook": one.hook, "id": one.id, "at": one.at, "event": one.event} for one in added]
                connection.execute(insert(outbox), rows)

        await self._database.run(change)

    async def waiting(self) -> Sequence[Undelivered]:
        """All that wait, oldest first."""
        rows = await self._database.rows(select(self._table).order_by(self._table.c.number))
        return [Undelivered(row["hook"], row["id"], row["at"], row["event"]) for row in rows]
