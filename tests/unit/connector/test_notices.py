"""What the AI's platform is told of takeovers."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.calls import Mode
from connector.domain.errors import BadValue
from connector.domain.transcript import Turn

from .parts import ANNA, BOT, service, settle
from .virtual import virtual_time


@virtual_time
async def test_a_takeover_is_told_with_the_note_and_what_the_humans_said() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        now = datetime.now(UTC)
        await s.transcripts.put(BOT, call.call.id, Turn("1", "caller", "before", now - timedelta(seconds=9)))
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        (started,) = s.notices("takeover.started")
        assert started.ai_name == "bot"
        assert {key: started.data[key] for key in ("engagement", "agent", "mode")} == {
            "engagement": engagement.id,
            "agent": "Anna",
            "mode": "takeover",
        }
        for number, speaker in enumerate(("caller", "agent", "ai")):
            at = datetime.now(UTC) + timedelta(seconds=number)
            await s.transcripts.put(BOT, call.call.id, Turn(f"h{number}", speaker, f"said by {speaker}", at))  # type: ignore[arg-type]
        await s.takeovers.release(ANNA, engagement.id, "the refund is approved", "solved")
        await settle()
        (ended,) = s.notices("takeover.ended")
        assert (ended.data["note"], ended.data["outcome"]) == ("the refund is approved", "solved")
        assert [turn["text"] for turn in ended.data["human"]] == ["said by caller", "said by agent"]  # type: ignore[attr-defined]
        json.dumps([dict(started.data), dict(ended.data)])


@virtual_time
async def test_listening_is_not_told_and_speaking_is_told_per_mode() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        await s.takeovers.change(ANNA, engagement.id, Mode.WHISPER)
        assert s.notices("takeover.started") == []
        for mode in (Mode.BARGE, Mode.TAKEOVER, Mode.MONITOR):
            await s.takeovers.change(ANNA, engagement.id, mode)
        assert [notice.data["mode"] for notice in s.notices("takeover.started")] == ["barge", "takeover"]
        assert len(s.notices("takeover.ended")) == 1
        await s.takeovers.release(ANNA, engagement.id)
        await settle()
        assert len(s.notices("takeover.ended")) == 1


@virtual_time
async def test_what_was_said_is_told_even_when_the_caller_hangs_up() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await s.transcripts.put(BOT, call.call.id, Turn("1", "agent", "Goodbye", datetime.now(UTC)))
        s.exchange.caller_hangs_up(call)
        await settle(1)
        (ended,) = s.notices("takeover.ended")
        assert len(ended.data["human"]) == 1  # type: ignore[arg-type]


@virtual_time
async def test_coaching_reaches_the_ai() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.coach(ANNA, call.call.id, "tell her the refund is approved")
        (coach,) = s.notices("coach")
        assert (coach.data["text"], coach.data["by"]) == ("tell her the refund is approved", "Anna")
        assert "refund" not in str(s.journal.intents)
        for bad in ("  ", "x" * 4001):
            with pytest.raises(BadValue):
                await s.takeovers.coach(ANNA, call.call.id, bad)
