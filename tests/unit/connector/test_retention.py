"""What is personal is forgotten after the days that are set."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.domain.errors import StoreUnavailable
from connector.services.retention import Retention
from connector.store import Store
from connector.store.trail import Wanted

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


class Shelf:
    """Keeps things, or fails."""

    def __init__(self, *kept: datetime, fault: bool = False) -> None:
        self.kept, self.fault = list(kept), fault

    async def forget(self, before: datetime) -> int:
        if self.fault:
            raise StoreUnavailable("locked")
        old = [at for at in self.kept if at < before]
        self.kept = [at for at in self.kept if at >= before]
        return len(old)


async def test_what_is_older_than_the_days_is_forgotten_and_that_is_on_record(tmp_path: Path) -> None:
    turns = Shelf(NOW - timedelta(days=91), NOW - timedelta(days=89))
    marks = Shelf(NOW)
    async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/a.db", bytes(32), tmp_path / "reserve") as store:
        done = await Retention(90, {"turns": turns, "marks": marks}, store.audit, lambda: NOW).forget()
        assert done == {"turns": 1, "marks": 0}
        assert (len(turns.kept), len(marks.kept)) == (1, 1)
        (act,) = await store.audit.acts(Wanted(act="forget"))
        assert (act.actor, act.result) == ("service", "ok")
        assert act.facts == {"days": "90", "before": "2025-12-31T12:00:00+00:00", "turns": "1", "marks": "0"}


async def test_a_store_that_fails_is_on_record_and_the_next_round_does_the_rest(tmp_path: Path) -> None:
    turns, marks = Shelf(NOW - timedelta(days=91)), Shelf(NOW - timedelta(days=91), fault=True)
    async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/a.db", bytes(32), tmp_path / "reserve") as store:
        retention = Retention(90, {"turns": turns, "marks": marks}, store.audit, lambda: NOW)
        with pytest.raises(StoreUnavailable):
            await retention.forget()
        (act,) = await store.audit.acts(Wanted(act="forget"))
        assert (act.result, act.facts["turns"]) == ("store-unavailable", "1")
        marks.fault = False
        assert await retention.forget() == {"turns": 0, "marks": 1}
