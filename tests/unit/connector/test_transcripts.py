"""What is said in live calls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.calls import CallId
from connector.domain.errors import BadValue, CallEnded, CallUnknown, NotAllowed, StoreUnavailable
from connector.domain.people import Actor
from connector.domain.transcript import Turn
from connector.services import transcripts
from connector.services.changes import TurnChanged

from .parts import ANNA, BOT, Service, service, settle
from .virtual import virtual_time

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def turn(id_: str = "t1", text: str = "Hello", seconds: int = 0, final: bool = True) -> Turn:
    return Turn(id_, "caller", text, AT + timedelta(seconds=seconds), final)


async def begin(s: Service) -> CallId:
    call = s.make_call()
    await settle()
    return call.call.id


@virtual_time
async def test_turns_are_shown_at_once_and_kept_when_final() -> None:
    async with service() as s:
        call = await begin(s)
        assert await s.transcripts.put(BOT, call, turn(text="Hel", final=False))
        assert s.turns.kept == {}
        assert not await s.transcripts.put(BOT, call, turn())
        assert not await s.transcripts.put(BOT, call, turn())
        assert [change.turn.text for change in s.of(TurnChanged)] == ["Hel", "Hello"]
        assert s.turns.kept == {(call, "t1"): turn()}


@virtual_time
async def test_turns_are_read_oldest_first_while_the_call_lives_and_after() -> None:
    async with service() as s:
        call = await begin(s)
        for item in (turn("b", seconds=2), turn("a", seconds=1), turn("draft", seconds=3, final=False)):
            await s.transcripts.put(BOT, call, item)
        assert [t.id for t in await s.transcripts.turns(call)] == ["a", "b", "draft"]
        assert [t.id for t in s.transcripts.since(call, AT + timedelta(seconds=2))] == ["b", "draft"]
        s.exchange.caller_hangs_up(s.exchange.calls[call])
        await settle()
        assert [t.id for t in await s.transcripts.turns(call)] == ["a", "b", "draft"]
        assert await s.transcripts.turns(CallId("main~9")) == []


@virtual_time
async def test_calls_long_ended_are_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "KEEP_PAST", 1)
    async with service() as s:
        calls = [await begin(s) for _ in range(3)]
        for call in calls:
            await s.transcripts.put(BOT, call, turn())
        s.pbx.cut()
        s.exchange.calls.clear()
        s.pbx.connect()
        await settle()
        assert len(s.transcripts._past) == 1
        for call in calls:
            assert await s.transcripts.turns(call) == [turn()]


@virtual_time
async def test_only_the_calls_own_ai_may_write() -> None:
    async with service() as s:
        call = await begin(s)
        for actor in (ANNA, Actor("token-2", "other", "ai", ai="another bot")):
            with pytest.raises(NotAllowed):
                await s.transcripts.put(actor, call, turn())
        with pytest.raises(CallUnknown):
            await s.transcripts.put(BOT, CallId("main~9"), turn())
        s.exchange.caller_hangs_up(s.exchange.calls[call])
        await settle()
        with pytest.raises(CallEnded):
            await s.transcripts.put(BOT, call, turn())


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (turn(id_=""), "turn"),
        (turn(id_="x" * 129), "turn"),
        (turn(text="x" * 8001), "text"),
        (replace(turn(), at=datetime(2026, 1, 31)), "at"),  # noqa: DTZ001 - the fault under test
    ],
)
@virtual_time
async def test_bad_turns_are_refused_with_the_field(bad: Turn, field: str) -> None:
    async with service() as s:
        call = await begin(s)
        with pytest.raises(BadValue) as caught:
            await s.transcripts.put(BOT, call, bad)
        assert caught.value.field == field
        assert s.of(TurnChanged) == []


@virtual_time
async def test_a_call_has_a_bounded_number_of_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_TURNS", 2)
    async with service() as s:
        call = await begin(s)
        for id_ in ("a", "b"):
            await s.transcripts.put(BOT, call, turn(id_))
        with pytest.raises(BadValue, match="at most 2 turns"):
            await s.transcripts.put(BOT, call, turn("c"))
        await s.transcripts.put(BOT, call, turn("a", "corrected"))


@virtual_time
async def test_when_the_store_fails_the_turn_is_shown_and_can_be_sent_again() -> None:
    async with service() as s:
        call = await begin(s)
        s.turns.failing = True
        with pytest.raises(StoreUnavailable):
            await s.transcripts.put(BOT, call, turn())
        assert len(s.of(TurnChanged)) == 1
        s.turns.failing = False
        await s.transcripts.put(BOT, call, turn())
        assert (call, "t1") in s.turns.kept
