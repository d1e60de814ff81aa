"""Forgets what is personal after the days that are set: transcripts, past engagements with their notes, and marks.

The audit is not touched: it holds no words of a call and no numbers, and a chain that lacks rows proves nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from ..domain.errors import StoreUnavailable
from ..ports import Journal
from .record import close

log = structlog.get_logger(__name__)

EVERY_S = 86_400.0
AGAIN_S = 600.0
"""After a store that failed."""


class Keeper(Protocol):
    """Keeps something that does not stay for ever."""

    async def forget(self, before: datetime) -> int:
        """Deletes what was kept before then; returns how much. Raises `StoreUnavailable`."""


class Retention:
    """`run` forgets at the start of the service and then once a day."""

    def __init__(
        self,
        days: float,
        keepers: Mapping[str, Keeper],
        journal: Journal,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`keepers` by the word for what they keep."""
        self._days = days
        self._keepers = keepers
        self._journal = journal
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.forget()
                await asyncio.sleep(EVERY_S)
            except StoreUnavailable as error:
                log.warning("retention.failed", why=error.why)
                await asyncio.sleep(AGAIN_S)

    async def forget(self) -> Mapping[str, int]:
        """One round: how much of what was deleted. Raises `StoreUnavailable`; the next round does the rest."""
        before = self._clock() - timedelta(days=self._days)
        facts = {"days": f"{self._days:g}", "before": before.isoformat(timespec="seconds")}
        number = await self._journal.intent("service", "forget", None, facts)
        forgotten: dict[str, int] = {}
        result = "fault"
        try:
            for name, keeper in self._keepers.items():
                forgotten[name] = await keeper.forget(before)
            result = "ok"
        except StoreUnavailable as error:
            result = error.slug
            raise
        finally:
            await close(self._journal, number, result, {name: str(count) for name, count in forgotten.items()})
        log.info("retention.forgotten", **forgotten)
        return forgotten
