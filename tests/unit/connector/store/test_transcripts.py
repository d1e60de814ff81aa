"""What was said, kept."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.calls import CallId
from connector.domain.transcript import Turn
from connector.store import Store, transcripts

CALL, OTHER = CallId("main~1.2"), CallId("main~1.3")
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def test_turns_are_kept_in_order_and_updated_by_their_id(store: Store) -> None:
    second = Turn("2", "ai", "How can I help?", AT + timedelta(seconds=1))
    first = Turn("1", "caller", "helo", AT, final=False)
    for turn in (second, first, Turn("1", "caller", "Hello ☎", AT)):
        await store.transcripts.put(CALL, turn)
    await store.transcripts.put(OTHER, first)
    assert await store.transcripts.turns(CALL) == [Turn("1", "caller", "Hello ☎", AT), second]
    assert await store.transcripts.turns(OTHER) == [first]
    assert await store.transcripts.turns(CallId("main~9.9")) == []


async def test_the_same_turn_twice_at_once_is_one_turn(store: Store) -> None:
    turn = Turn("1", "caller", "Hello", AT)
    await asyncio.gather(*(store.transcripts.put(CALL, turn) for _ in range(10)))
    assert await store.transcripts.turns(CALL) == [turn]


async def test_what_is_older_than_it_may_be_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "CALLS", 2)
    wrong_clock = datetime(2099, 1, 1, tzinfo=UTC)
    for number in range(5):
        await store.transcripts.put(CallId(f"main~{number}"), Turn("1", "caller", "Hello", wrong_clock))
    between = datetime.now(UTC)
    await store.transcripts.put(CALL, Turn("2", "caller", "Hello", AT))
    assert await store.transcripts.forget(between) == 5
    assert await store.transcripts.turns(CallId("main~0")) == []
    assert len(await store.transcripts.turns(CALL)) == 1
