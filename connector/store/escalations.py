"""Open requests for a human."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Boolean, Column, Integer, String, Table, Text, delete, select

from ..domain.calls import CallId
from ..domain.escalation import Escalation, Priority
from .engine import Database
from .schema import metadata, stamp, unstamp

escalations = Table(
    "escalations",
    metadata,
    Column("call", String(256), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("priority", String(16), nullable=False),
    Column("by", String(256), nullable=False),
    Column("since", String(32), nullable=False),
    Column("raised_at", String(32), nullable=False),
    Column("deadline", String(32)),
    Column("step", Integer, nullable=False),
    Column("escalated_at", String(32)),
    Column("supervisors", Boolean, nullable=False),
)


class EscalationStore:
    """Implements `ports.EscalationKeeper`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, escalation: Escalation) -> None:
        """Inserts or updates the call's request."""
        deadline, at = escalation.deadline, escalation.escalated_at
        values = {
            "reason": escalation.reason,
            "priority": escalation.priority,
            "by": escalation.by,
            "since": stamp(escalation.since),
            "raised_at": stamp(escalation.raised_at),
            "deadline": stamp(deadline) if deadline is not None else None,
            "step": escalation.step,
            "escalated_at": stamp(at) if at is not None else None,
            "supervisors": escalation.supervisors,
        }
        await self._database.upsert(escalations, {"call": escalation.call}, values)

    async def remove(self, call: CallId) -> None:
        """The call has no request any more."""
        await self._database.execute(delete(escalations).where(escalations.c.call == call))

    async def open(self) -> Sequence[Escalation]:
        """All of them."""
        return [
            Escalation(
                CallId(row["call"]),
                row["reason"],
                cast("Priority", row["priority"]),
                row["by"],
                unstamp(row["since"]),
                unstamp(row["raised_at"]),
                unstamp(row["deadline"]) if row["deadline"] else None,
                row["step"],
                unstamp(row["escalated_at"]) if row["escalated_at"] else None,
                row["supervisors"],
            )
            for row in await self._database.rows(select(escalations))
        ]
