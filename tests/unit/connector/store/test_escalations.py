"""Open requests for a human, kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from connector.domain.calls import CallId
from connector.domain.escalation import Escalation
from connector.store import Store

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_requests_come_back_as_they_were_put(store: Store) -> None:
    first = Escalation(CallId("lab~1"), "help", "normal", "bot", AT, AT)
    second = Escalation(
        CallId("lab~2"), "fire", "urgent", "Anna", AT, AT, AT + timedelta(seconds=9), 2, AT + timedelta(seconds=3), True
    )
    await store.escalations.put(first)
    await store.escalations.put(second)
    raised = replace(first, priority="emergency", raised_at=AT + timedelta(seconds=1))
    await store.escalations.put(raised)
    assert sorted(await store.escalations.open(), key=lambda one: one.call) == [raised, second]
    await store.escalations.remove(first.call)
    await store.escalations.remove(first.call)
    assert await store.escalations.open() == [second]
