"""Events that wait for their webhook."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.engine import Connection

from ..ports import Undelivered
from .engine import Database
from .schema import outbox

ROWS = 100
"""Per statement: SQLite before 3.32 takes 999 values in one."""


class Outbox:
    """Implements `ports.EventKeeper`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, added: Sequence[Undelivered], removed: Sequence[tuple[str, str]]) -> None:
        """Adds events and removes others (hook and id), all or none."""

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
        rows = await self._database.rows(select(outbox).order_by(outbox.c.number))
        return [Undelivered(row["hook"], row["id"], row["at"], row["event"]) for row in rows]
