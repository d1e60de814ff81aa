"""Past engagements."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from connector.domain.calls import Ai, CallId, Engagement, EngagementId, Mode, Phase
from connector.store import Store
from connector.store.schema import engagements

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


async def test_what_is_older_than_it_may_be_is_forgotten(store: Store) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=9)
    begun = Engagement(EngagementId("e1"), CALL, "anna", "Anna", "leg", Mode.MONITOR, Phase.ACTIVE, long_ago)
    await store.engagements.put(begun)  # its service died
    await store.engagements.put(replace(begun, id=EngagementId("e2")), "released", "told her")  # it ended now
    assert await store.engagements.forget(datetime.now(UTC) - timedelta(days=1)) == 1
    assert [past.id for past in await store.engagements.of_call(CALL)] == ["e2"]


async def test_what_has_ended_stays_ended_although_an_older_change_is_written_later(store: Store) -> None:
    begun = Engagement(EngagementId("e1"), CALL, "anna", "Anna", "leg", Mode.MONITOR, Phase.ACTIVE, datetime.now(UTC))
    await store.engagements.put(begun, "released", "told her", "solved")
    await store.engagements.put(begun)
    (row,) = await store.engagements.of_call(CALL)
    assert (row.ended, row.note, row.outcome) == ("released", "told her", "solved")


async def test_a_service_finds_its_own_that_have_no_end(store: Store) -> None:
    begun = Engagement(EngagementId("e1"), CALL, "anna", "Anna", "leg", Mode.MONITOR, Phase.ACTIVE, datetime.now(UTC))
    bot = Ai("bot", "ref-7")
    await store.engagements.put(begun, instance="node-1", ai=bot)
    await store.engagements.put(replace(begun, mode=Mode.TAKEOVER), instance="node-1", ai=bot)
    await store.engagements.put(replace(begun, id=EngagementId("e2")), instance="node-2", ai=bot)
    await store.engagements.put(replace(begun, id=EngagementId("e3")))  # of a version that did not say whose
    await store.engagements.put(replace(begun, id=EngagementId("e4")), "released", instance="node-1", ai=bot)
    (one,) = await store.engagements.unended("node-1")
    assert (one.engagement, one.ai) == (replace(begun, mode=Mode.TAKEOVER, leg=""), bot)
    await store.engagements.put(one.engagement, "service-crashed", instance="node-1", ai=bot)
    assert await store.engagements.unended("node-1") == []
    assert [past.ended for past in await store.engagements.of_call(CALL)].count("service-crashed") == 1


async def test_one_that_cannot_be_read_hides_no_other(store: Store) -> None:
    begun = Engagement(EngagementId("e1"), CALL, "anna", "Anna", "leg", Mode.TAKEOVER, Phase.ACTIVE, datetime.now(UTC))
    for id_ in ("e1", "e2"):
        await store.engagements.put(replace(begun, id=EngagementId(id_)), instance="node-1", ai=Ai("bot", ""))
    later = update(engagements).where(engagements.c.id == "e1").values(mode="unheard-of")
    await store.engagements._database.execute(later)
    assert [one.engagement.id for one in await store.engagements.unended("node-1")] == ["e2"]
