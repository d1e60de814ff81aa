"""What was said."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import select

from ..domain.calls import CallId, Role
from ..domain.transcript import Turn
from .engine import Database
from .schema import stamp, transcripts, unstamp


class TranscriptStore:
    """Implements `ports.TurnKeeper`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, call: CallId, turn: Turn) -> None:
        """Inserts the turn, or updates the one with its id."""
        values = {"speaker": turn.speaker, "text": turn.text, "at": stamp(turn.at), "final": turn.final}
        await self._database.upsert(transcripts, {"call": call, "turn": turn.id}, values)

    async def turns(self, call: CallId) -> Sequence[Turn]:
        """The turns of a call, oldest first; empty for an unknown call."""
        query = select(transcripts).where(transcripts.c.call == call).order_by(transcripts.c.at, transcripts.c.turn)
        rows = await self._database.rows(query)
        return [
            Turn(row["turn"], cast("Role", row["speaker"]), row["text"], unstamp(row["at"]), row["final"])
            for row in rows
        ]
