"""Ends of takeovers that an AI was not there to be told of, over crashes of the service."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.domain.calls import Ai, CallId, Engagement, EngagementId, Mode, Phase
from connector.domain.errors import StoreUnavailable
from connector.ports import Undelivered, Unended
from connector.services.changes import AiNotice
from web import missed as missed_module
from web.missed import EndsLast, Missed

from .house import House
from .test_events import end, frame


async def test_an_end_that_nobody_was_there_for_survives_a_second_crash_and_is_told_once(tmp_path: Path) -> None:
    async with House(tmp_path) as first:
        end(first, CallId("lab~1700000000.1"))
        await first.missed.written()
    async with House(tmp_path):  # nobody comes to this one either
        pass
    async with House(tmp_path) as third:
        ai = await third.machine("bot", "ai", ai="acme")
        socket = await ai.events()
        told = await frame(socket)
        assert (told["type"], told["agent"], told["call"]) == ("takeover.ended", "Anna", "lab~1700000000.1")
        assert [turn["text"] for turn in told["human"]] == ["my order"]
        await third.missed.written()
    async with House(tmp_path) as fourth:
        ai = await fourth.machine("again", "ai", ai="acme")
        socket = await ai.events()
        await socket.send_json({"type": "ping", "t": 1})
        assert (await frame(socket))["type"] == "pong"


async def test_what_an_ai_was_told_is_not_told_again_after_a_restart(tmp_path: Path) -> None:
    async with House(tmp_path) as first:
        ai = await first.machine("bot", "ai", ai="acme")
        call = first.call("1")
        socket = await ai.events()
        assert (await frame(socket))["type"] == "call"
        end(first, call)
        assert (await frame(socket))["type"] == "takeover.ended"
        await first.missed.written()
    async with House(tmp_path) as second:
        assert await second.store.missed.waiting() == []


@dataclass
class Box:
    """Implements `ports.EventKeeper`; writes as soon as it is allowed to."""

    allowed: asyncio.Event = field(default_factory=asyncio.Event)
    rows: dict[tuple[str, str], Undelivered] = field(default_factory=dict)
    fault: bool = False

    async def change(self, added: Sequence[Undelivered], removed: Sequence[tuple[str, str]]) -> None:
        await self.allowed.wait()
        if self.fault:
            raise StoreUnavailable("the disk is full")
        self.rows.update({(one.hook, one.id): one for one in added})
        for key in removed:
            self.rows.pop(key, None)

    async def waiting(self) -> Sequence[Undelivered]:
        return list(self.rows.values())


@dataclass
class Archive:
    """Implements `ports.EngagementArchive`."""

    ended: list[str] = field(default_factory=list)

    async def put(
        self,
        engagement: Engagement,
        ended: str | None = None,
        note: str = "",
        outcome: str = "",
        *,
        instance: str = "",
        ai: Ai | None = None,
    ) -> None:
        self.ended.append(ended or "")

    async def unended(self, instance: str) -> Sequence[Unended]:
        return ()


class Journal:
    """Implements `ports.Journal`: nothing here is put on record."""

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        raise NotImplementedError

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        raise NotImplementedError

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        raise NotImplementedError


def notice(number: int = 1) -> AiNotice:
    return AiNotice(1, CallId("lab~1"), "acme", "takeover.ended", {"agent": "Anna"}, id=f"e{number}-ended")


ENGAGEMENT = Engagement(
    EngagementId("e1"), CallId("lab~1"), "a", "Anna", "", Mode.TAKEOVER, Phase.ENDED, datetime(2026, 1, 1, tzinfo=UTC)
)


@pytest.mark.parametrize("fault", [False, True])
async def test_an_end_is_kept_after_what_is_to_be_told_of_it(fault: bool) -> None:
    box, archive = Box(fault=fault), Archive()
    missed = Missed(box, Journal(), "node")
    running = asyncio.create_task(missed.run())
    missed.keep(notice())
    putting = asyncio.create_task(EndsLast(archive, missed).put(ENGAGEMENT, "released"))
    await asyncio.sleep(0.02)
    assert archive.ended == [], "a crash now has to tell it again"
    box.allowed.set()
    async with asyncio.timeout(5):
        await putting
    assert (archive.ended, len(box.rows)) == (["released"], 0 if fault else 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_hangs_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_module, "WRITTEN_S", 0.05)
    archive = Archive()
    missed = Missed(Box(), Journal(), "node")
    missed.keep(notice())
    async with asyncio.timeout(5):
        await EndsLast(archive, missed).put(ENGAGEMENT, "released")
    assert archive.ended == ["released"]


async def test_what_is_anothers_damaged_or_too_old_is_not_told() -> None:
    box = Box()
    box.allowed.set()
    now = [1_000_000.0]
    first = Missed(box, Journal(), "node", clock=lambda: now[0])
    running = asyncio.create_task(first.run())
    first.keep(notice(1))
    now[0] += 600
    first.keep(notice(2))
    await first.written()
    box.rows["node", "x"] = Undelivered("node", "x", now[0], "{")
    box.rows["other", "e3-ended"] = Undelivered("other", "e3-ended", now[0], "{}")
    now[0] += 600
    second = Missed(box, Journal(), "node", clock=lambda: now[0])
    await second.restore()
    assert [one.id for one in second.fetch(lambda _: True)] == ["e2-ended"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
