"""What a dialplan did with a call of the doctor's, as the PBX tells it."""

import asyncio

import pytest

from web.commands.testcall import callers
from web.commands.testcall.callers import Story


async def test_the_reason_that_comes_after_the_end_of_the_sound_is_waited_for() -> None:
    story = Story(legs={"SIP/desk": "busy"})
    waiting = asyncio.create_task(story.ended())
    await asyncio.sleep(0)
    assert not waiting.done()
    story.end("NO_ROUTE_DESTINATION")
    await waiting
    assert str(story) == "the dialplan dialled SIP/desk (busy), and the PBX ended the call (NO_ROUTE_DESTINATION)"


async def test_a_pbx_that_does_not_tell_it_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "TOLD_S", 0.01)
    story = Story()
    await story.ended()
    assert str(story) == "the dialplan dialled nobody"
