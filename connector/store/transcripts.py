"""What was said."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection

from ..domain.calls import CallId, Role
from ..domain.transcript import Turn
from .engine import Database
from .schema import stamp, transcripts, unstamp

CALLS = 50
"""Of which turns are deleted in one transaction: what is said meanwhile must not wait for long."""


class TranscriptStore:
    """Implements `ports.TurnKeeper`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, call: CallId, turn: Turn) -> None:
        """Inserts the turn, or updates the one with its id."""
        values = {
            "speaker": turn.speaker,
            "text": turn.text,
            "at": stamp(turn.at),
            "final": turn.final,
            "kept_at": stamp(datetime.now(UTC)),
        }
        await self._database.upsert(transcripts, {"call": call, "turn": turn.id}, values)

    async def turns(self, call: CallId) -> Sequence[Turn]:
        """The turns of a call, oldest first; empty for an unknown call."""
        query = select(transcripts).where(transcripts.c.call == call).order_by(transcripts.c.at, transcripts.c.turn)
        rows = await self._database.rows(query)
        return [
            Turn(row["turn"], cast("Role", row["speaker"]), row["text"], unstamp(row["at"]), row["final"])
            for row in rows
        ]

    async def forget(self, before: datetime) -> int:
        """Deletes the turns that were kept before then, by our clock and not by who sent them; returns how many."""
        # Turns of version 1 of the schema do not say when they were kept.
        old = func.coalesce(transcripts.c.kept_at, transcripts.c.at) < stamp(before)

        def some(connection: Connection) -> int:
            calls = connection.execute(select(transcripts.c.call).where(old).distinct().limit(CALLS)).scalars().all()
            if not calls:
                return 0
            return connection.execute(delete(transcripts).where(transcripts.c.call.in_(calls), old)).rowcount

        forgotten = 0
        while count := await self._database.run(some):
            forgotten += count
        return forgotten
