"""Captions: whose words they are, and that nobody waits for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from connector.domain.calls import CallId, Mode
from connector.domain.errors import BadValue
from connector.domain.transcript import Turn
from connector.ports import TranscriptionFailed
from connector.services.captions import WAITING, Captions, Utterance

from .parts import ANNA, BOT, Service, service, settle
from .virtual import virtual_time


@dataclass
class Scribe:
    """Implements `ports.Transcriber`: the sound is the text."""

    failing: bool = False
    fault: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def transcribe(self, sound: bytes, rate: int) -> str:
        assert rate == 16_000
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if self.failing:
            raise TranscriptionFailed("the service answered 503")
        return sound.decode()


@dataclass
class Room:
    s: Service
    captions: Captions
    scribe: Scribe

    async def said(self, call: CallId) -> list[tuple[str, str]]:
        return [(turn.speaker, turn.text) for turn in await self.s.transcripts.turns(call)]

    def heard(self, text: str, side: Literal["agent", "pbx"] = "agent", ago: float = 0.0, leg: str = "leg-a") -> None:
        self.captions.heard(Utterance(leg, side, datetime.now(UTC) - timedelta(seconds=ago), text.encode(), 16_000))


@asynccontextmanager
async def room() -> AsyncIterator[Room]:
    async with service() as s:
        scribe = Scribe()
        scribe.gate.set()
        captions = Captions(s.registry, s.transcripts, scribe)
        running = asyncio.create_task(captions.run())
        await settle()
        try:
            yield Room(s, captions, scribe)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def a_call(r: Room) -> CallId:
    call = r.s.make_call()
    await settle()
    return call.call.id


@virtual_time
async def test_in_a_takeover_both_are_captioned_and_the_ai_is_told() -> None:
    async with room() as r:
        call = await a_call(r)
        engagement = await r.s.takeovers.engage(ANNA, call, Mode.TAKEOVER, "leg-a")
        r.heard("Hello, Anna here")
        r.heard("Hello", "pbx")
        r.heard("")
        await settle()
        assert sorted(await r.said(call)) == [("agent", "Hello, Anna here"), ("caller", "Hello")]
        assert all(turn.id.startswith("caption-") for turn in await r.s.transcripts.turns(call))
        await r.s.takeovers.release(ANNA, engagement.id, "all is well")
        r.heard("Goodbye")
        await settle()
        assert ("agent", "Goodbye") in await r.said(call), "the last words come when the patch has ended"
        (ended,) = r.s.notices("takeover.ended")
        assert {turn["caption"] for turn in ended.data["human"]} == {True}  # type: ignore[attr-defined]


@virtual_time
async def test_what_cannot_be_told_apart_or_is_not_for_the_caller_is_left_out() -> None:
    async with room() as r:
        call = await a_call(r)
        r.heard("nobody knows this leg", leg="leg-x")
        engagement = await r.s.takeovers.engage(ANNA, call, Mode.WHISPER, "leg-a")
        r.heard("whispered")
        r.heard("caller or AI", "pbx")
        await r.s.takeovers.change(ANNA, engagement.id, Mode.BARGE)
        r.heard("all hear this")
        r.heard("caller or AI", "pbx")
        r.heard("whispered before", ago=5)
        await settle()
        assert await r.said(call) == [("agent", "all hear this")]


@virtual_time
async def test_a_fault_of_the_transcriber_ends_neither_the_captions_nor_the_service() -> None:
    """For one: an answer that is nested so deeply that reading it fails with a `RecursionError`."""
    async with room() as r:
        call = await a_call(r)
        await r.s.takeovers.engage(ANNA, call, Mode.TAKEOVER, "leg-a")
        r.scribe.fault = RecursionError("maximum recursion depth exceeded")
        r.heard("lost")
        await settle()
        r.scribe.fault = None
        r.heard("heard")
        await settle()
        assert await r.said(call) == [("agent", "heard")]


@virtual_time
async def test_a_service_that_fails_or_hangs_costs_only_captions() -> None:
    async with room() as r:
        call = await a_call(r)
        engagement = await r.s.takeovers.engage(ANNA, call, Mode.TAKEOVER, "leg-a")
        r.scribe.failing = True
        r.heard("lost")
        await settle()
        r.scribe.failing = False
        r.scribe.gate.clear()
        for number in range(WAITING + 10):
            r.heard(f"{number}")
        await r.s.takeovers.release(ANNA, engagement.id)
        r.scribe.gate.set()
        await settle()
        said = [text for _, text in await r.said(call)]
        assert "lost" not in said
        assert said[-1] == str(WAITING + 9)
        assert len(said) in (WAITING, WAITING + 1)


@virtual_time
async def test_a_call_that_is_over_gets_no_words() -> None:
    async with room() as r:
        call = r.s.make_call()
        await settle()
        await r.s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        r.s.exchange.caller_hangs_up(call)
        r.heard("too late")
        await settle(1)
        assert await r.said(call.call.id) == []


@virtual_time
async def test_nobody_else_writes_captions() -> None:
    async with room() as r:
        call = await a_call(r)
        with pytest.raises(BadValue, match="caption-"):
            await r.s.transcripts.put(BOT, call, Turn("caption-1", "agent", "forged", datetime.now(UTC)))
