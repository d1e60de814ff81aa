"""Past engagements: who was in which call, how it ended, and the note that was left."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from ..domain.calls import Ai, CallId, Engagement, EngagementId, Mode, Phase
from ..ports import Unended
from .engine import Database
from .schema import engagements, stamp, unstamp

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PastEngagement:
    """A row; `ended` is the reason, None while it goes on."""

    id: EngagementId
    call: CallId
    agent: str
    agent_name: str
    mode: Mode
    """The last one."""
    since: datetime
    ended_at: datetime | None
    ended: str | None
    note: str
    outcome: str


class Engagements:
    """Implements `ports.EngagementArchive`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self,
        engagement: Engagement,
        ended: str | None = None,
        note: str = "",
        outcome: str = "",
        *,
        instance: str = "",
        ai: Ai | None = None,
    ) -> None:
        """Inserts or updates by the engagement's id. What has ended stays ended: the writing of a change of mode may be
        overtaken by that of the end."""
        values = {
            "call": engagement.call,
            "agent": engagement.agent,
            "agent_name": engagement.agent_name,
            "since": stamp(engagement.since),
            "mode": engagement.mode.value,
            "ended": ended,
            "ended_at": stamp(datetime.now(UTC)) if ended else None,
            "note": note,
            "outcome": outcome,
        }
        if ai is not None:
            values |= {"instance": instance, "ai": ai.name, "ai_ref": ai.ref}
        if ended is not None:
            await self._database.upsert(engagements, {"id": engagement.id}, values)
            return
        open_ = update(engagements).where(engagements.c.id == engagement.id, engagements.c.ended.is_(None))
        if await self._database.execute(open_.values(**values)):
            return
        try:
            await self._database.execute(insert(engagements), [{"id": engagement.id, **values}])
        except IntegrityError:  # it has ended, or somebody else has inserted it at this moment
            await self._database.execute(open_.values(**values))

    async def of_call(self, call: CallId) -> Sequence[PastEngagement]:
        """All of a call, oldest first."""
        query = select(engagements).where(engagements.c.call == call).order_by(engagements.c.since)
        return [_past(row) for row in await self._database.rows(query)]

    async def unended(self, instance: str) -> Sequence[Unended]:
        """Those of one service that have no end, oldest first. One that cannot be read is left as it is, and logged: it
        must not keep the service from starting."""
        mine = (engagements.c.ended.is_(None)) & (engagements.c.instance == instance)
        query = select(engagements).where(mine).order_by(engagements.c.since)
        found = []
        for row in await self._database.rows(query):
            try:
                found.append(_unended(row))
            except ValueError:
                log.exception("engagement.unreadable", engagement=row["id"])
        return found

    async def forget(self, before: datetime) -> int:
        """Deletes those that ended before then, with their notes; returns how many."""
        # One whose service died has no end.
        old = func.coalesce(engagements.c.ended_at, engagements.c.since) < stamp(before)
        return await self._database.execute(delete(engagements).where(old))


def _past(row: RowMapping) -> PastEngagement:
    return PastEngagement(
        EngagementId(row["id"]),
        CallId(row["call"]),
        row["agent"],
        row["agent_name"],
        Mode(row["mode"]),
        unstamp(row["since"]),
        unstamp(row["ended_at"]) if row["ended_at"] else None,
        row["ended"],
        row["note"],
        row["outcome"],
    )


def _unended(row: RowMapping) -> Unended:
    past = _past(row)
    engagement = Engagement(past.id, past.call, past.agent, past.agent_name, "", past.mode, Phase.ACTIVE, past.since)
    return Unended(engagement, Ai(row["ai"], row["ai_ref"]))
