"""A service that was killed while agents were in calls starts again."""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.calls import Ai, Engagement, EngagementId, Mode
from connector.domain.transcript import Turn
from connector.services.changes import AiNotice
from connector.services.notices import Notices
from connector.services.recovery import CRASHED
from tests.contract.fake_pbx import DEADMAN_S, FakeCall

from .parts import ANNA, BEN, BOT, SUE, Service, service, settle
from .virtual import virtual_time


async def killed(s: Service, mode: Mode = Mode.TAKEOVER) -> tuple[FakeCall, EngagementId]:
    """A call with Anna in it; leaving the block around `s` is the crash."""
    call = s.make_call()
    await settle()
    return call, (await s.takeovers.engage(ANNA, call.call.id, mode, "leg-a")).id


def releases(s: Service, id_: str) -> list[str]:
    """Why an engagement was given back, as the audit says; only what was carried out."""
    mine = [act for act in s.journal.intents if act.act == "release" and act.facts.get("engagement") == id_]
    return [act.facts["why"] for act in mine if s.journal.outcomes.get(act.number) == "ok"]


@virtual_time
async def test_the_ai_is_told_of_the_end_once_and_store_and_audit_have_it() -> None:
    async with service() as first:
        call, engagement = await killed(first)
        now = datetime.now(UTC)
        await first.transcripts.put(BOT, call.call.id, Turn("0", "caller", "before", now - timedelta(seconds=9)))
        await first.transcripts.put(BOT, call.call.id, Turn("1", "caller", "my order", now + timedelta(seconds=1)))
        await settle()
    assert first.notices("takeover.ended") == []
    assert first.engagements.end(engagement) is None
    await settle(DEADMAN_S + 1)
    assert call.ai_audible  # the exchange has given the call back by itself
    async with service(first.exchange, before=first) as second:
        await settle()
        (told,) = second.notices("takeover.ended")
        assert (told.call_id, told.ai_name) == (call.call.id, "bot")
        assert (told.data["engagement"], told.data["agent"]) == (engagement, "Anna")
        assert [turn["text"] for turn in told.data["human"]] == ["my order"]  # type: ignore[attr-defined]
        json.dumps(dict(told.data))
        assert second.engagements.end(engagement) == CRASHED
        assert releases(second, engagement) == [CRASHED]
        second.pbx.cut()
        second.pbx.connect()  # another snapshot
        await settle()
        assert len(second.notices("takeover.ended")) == 1
    async with service(first.exchange, before=second) as third:
        await settle()
        assert third.notices("takeover.ended") == []


@virtual_time
async def test_a_call_that_ended_meanwhile_is_told_too() -> None:
    async with service() as first:
        call, engagement = await killed(first)
        await settle()
    first.exchange.caller_hangs_up(call)
    async with service(first.exchange, before=first) as second:
        await settle()
        (told,) = second.notices("takeover.ended")
        assert (told.data["engagement"], told.ai_name) == (engagement, "bot")
        assert second.engagements.end(engagement) == CRASHED


@virtual_time
async def test_who_only_listened_is_ended_and_no_ai_is_told() -> None:
    async with service() as first:
        _, engagement = await killed(first, Mode.MONITOR)
        await settle()
    await settle(DEADMAN_S + 1)
    async with service(first.exchange, before=first) as second:
        await settle()
        assert second.engagements.end(engagement) == CRASHED
        assert second.notices("takeover.ended") == []


@virtual_time
async def test_a_pbx_that_is_away_at_the_start_is_waited_for() -> None:
    async with service() as first:
        _, engagement = await killed(first)
        await settle()
    await settle(DEADMAN_S + 1)
    async with service(first.exchange, before=first, away=True) as second:
        await settle(60)
        assert (second.notices("takeover.ended"), second.engagements.end(engagement)) == ([], None)
        second.pbx.connect()
        await settle()
        assert len(second.notices("takeover.ended")) == 1
        assert second.engagements.end(engagement) == CRASHED


@virtual_time
async def test_a_second_crash_before_the_pbx_is_back_loses_and_doubles_nothing() -> None:
    async with service() as first:
        _, engagement = await killed(first)
        await settle()
    await settle(DEADMAN_S + 1)
    async with service(first.exchange, before=first, away=True) as second:
        await settle()
    async with service(first.exchange, before=second) as third:
        await settle()
        assert second.notices("takeover.ended") == []
        assert len(third.notices("takeover.ended")) == 1
        assert releases(third, engagement) == [CRASHED]


@virtual_time
async def test_a_crash_between_telling_and_storing_tells_again_under_the_same_id() -> None:
    async with service() as first:
        _, engagement = await killed(first)
        await settle()
    await settle(DEADMAN_S + 1)
    async with service(first.exchange, before=first, away=True) as second:
        second.engagements.failing = True  # as if it had died before it could write
        second.pbx.connect()
        await settle()
        (once,) = second.notices("takeover.ended")
    assert second.engagements.end(engagement) is None
    second.engagements.failing = False
    async with service(first.exchange, before=second) as third:
        await settle()
        (again,) = third.notices("takeover.ended")
        assert once.id == again.id != ""
        assert third.engagements.end(engagement) == CRASHED


@virtual_time
async def test_an_end_that_was_told_before_the_crash_has_the_same_id_too() -> None:
    async with service() as first:
        _, engagement = await killed(first)
        await settle()
        first.engagements.failing = True  # the end is told, and never stored
        await first.takeovers.release(ANNA, engagement)
        await settle(1)
        (once,) = first.notices("takeover.ended")
    first.engagements.failing = False
    async with service(first.exchange, before=first) as second:
        await settle()
        (again,) = second.notices("takeover.ended")
        assert once.id == again.id != ""


@virtual_time
async def test_a_leg_that_is_still_there_is_put_out_first() -> None:
    async with service() as first:
        call, engagement = await killed(first)
        await settle()
    assert not call.ai_audible
    audible: list[bool] = []
    async with service(first.exchange, before=first, away=True) as second:
        second.registry.watch(lambda _: audible.append(call.ai_audible) if second.notices("takeover.ended") else None)
        second.pbx.connect()
        await settle()
        assert len(second.notices("takeover.ended")) == 1
        assert audible
        assert all(audible)  # not told while the leg was there
        assert second.engagements.end(engagement) == CRASHED


@virtual_time
async def test_another_service_and_this_run_are_left_alone() -> None:
    async with service() as first:
        call, mine = await killed(first)
        await settle()
        async with service(first.exchange, "node-2", before=first) as other:  # in the same store
            theirs_call = other.make_call()
            await settle()
            theirs = await other.takeovers.engage(BEN, theirs_call.call.id, Mode.TAKEOVER, "leg-b")
            await settle()
            async with service(first.exchange, "node-3", before=first) as third:
                await settle(1)
                assert third.notices("takeover.ended") == []
            assert (first.engagements.end(mine), first.engagements.end(theirs.id)) == (None, None)
            other.pbx.cut()
            other.pbx.connect()
            await settle()
            assert first.engagements.end(theirs.id) is None
            assert other.notices("takeover.ended") == []
            assert theirs_call.speaker is not None
            assert call.speaker is not None


@virtual_time
async def test_a_new_engagement_in_the_same_call_goes_on() -> None:
    async with service() as first:
        call, old = await killed(first)
        await settle()
    await settle(DEADMAN_S + 1)
    async with service(first.exchange, before=first) as second:
        await settle()
        new = await second.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        second.pbx.cut()
        second.pbx.connect()
        await settle(1)
        assert (second.engagements.end(old), second.engagements.end(new.id)) == (CRASHED, None)
        assert len(second.notices("takeover.ended")) == 1
        assert call.speaker is not None


@virtual_time
async def test_an_audit_that_fails_keeps_nothing_from_the_ai() -> None:
    async with service() as first:
        _, engagement = await killed(first)
        await settle()
    await settle(DEADMAN_S + 1)
    first.journal.failing = True
    async with service(first.exchange, before=first) as second:
        await settle()
        assert len(second.notices("takeover.ended")) == 1
        assert [act.facts["why"] for act in second.journal.reserve if act.act == "release"] == [CRASHED]
        assert second.engagements.end(engagement) == CRASHED


@virtual_time
async def test_a_leg_that_goes_unseen_while_a_colleague_comes_is_gone() -> None:
    async with service() as first:
        call, engagement = await killed(first)
        await settle()
    old = call.speaker
    assert old is not None
    async with service(first.exchange, before=first, away=True) as second:
        second.pbx.faults["release"] = deque(["lost"])  # the leg stays
        second.pbx.connect()
        await settle()
        await second.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-b")
        await settle()
        assert second.engagements.end(engagement) is None
        second.pbx.cut()
        first.exchange.out(old, "deadman")
        second.pbx.connect()
        await settle()
        assert second.engagements.end(engagement) == CRASHED
        assert len(second.notices("takeover.ended")) == 1


@virtual_time
async def test_one_that_cannot_be_ended_stops_neither_the_next_nor_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as first:
        _, broken = await killed(first)
        call = first.make_call()
        await settle()
        other = (await first.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")).id
        await settle()
    await settle(DEADMAN_S + 1)
    over = Notices.over

    def breaks(self: Notices, engagement: Engagement, ai: Ai, said: Sequence[Turn]) -> None:
        if engagement.id == broken:
            raise RuntimeError("broken")
        over(self, engagement, ai, said)

    monkeypatch.setattr(Notices, "over", breaks)
    async with service(first.exchange, before=first) as second:
        await settle()
        assert [told.data["engagement"] for told in second.notices("takeover.ended")] == [other]
        assert second.engagements.end(other) == CRASHED
        assert second.engagements.end(broken) is None  # the next start tries again


@virtual_time
async def test_the_end_of_the_old_takeover_is_told_before_the_begin_of_a_new_one() -> None:
    async with service() as first:
        earlier = first.make_call()  # whose end is written first
        await settle()
        await first.takeovers.engage(SUE, earlier.call.id, Mode.MONITOR, "leg-s")
        call, old = await killed(first)
        await settle()
    await settle(DEADMAN_S + 1)
    first.journal.delay = 0.2
    async with service(first.exchange, before=first, away=True) as second:
        second.pbx.connect()
        while not second.registry.calls():  # noqa: ASYNC110 - in the very moment in which it is there
            await asyncio.sleep(0)
        new = await second.takeovers.engage(BEN, call.call.id, Mode.BARGE, "leg-b")
        await settle(2)
        told = [(one.kind, one.data["engagement"]) for one in second.changes if isinstance(one, AiNotice)]
        assert told == [("takeover.ended", old), ("takeover.started", new.id)]
        assert second.engagements.end(old) == CRASHED
