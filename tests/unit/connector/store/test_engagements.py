"""Past engagements."""

from dataclasses import replace
from datetime import UTC, datetime

from connector.domain.calls import CallId, Engagement, EngagementId, Mode, Phase
from connector.store import Store

CALL = CallId("main~1.2")


async def test_an_engagement_is_kept_with_its_end_and_note(store: Store) -> None:
    begun = Engagement(EngagementId("e1"), CALL, "anna", "Anna", "leg", Mode.MONITOR, Phase.ACTIVE, datetime.now(UTC))
    await store.engagements.put(begun)
    (row,) = await store.engagements.of_call(CALL)
    assert (row.mode, row.ended, row.ended_at) == (Mode.MONITOR, None, None)
    await store.engagements.put(replace(begun, mode=Mode.TAKEOVER), "released", "told her", "solved")
    (row,) = await store.engagements.of_call(CALL)
    assert (row.mode, row.since, row.ended, row.note, row.outcome) == (
        Mode.TAKEOVER,
        begun.since,
        "released",
        "told her",
        "solved",
    )
    assert row.ended_at is not None
    assert await store.engagements.of_call(CallId("main~9.9")) == []
