"""What the media tells must reach whom it concerns, whatever else is slow."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import structlog

from connector.domain.calls import CallId
from connector.domain.errors import StoreUnavailable
from media import pool as media
from tests.unit.web.house import until
from web import mediaevents


class Told:
    """Stands for the services: notes what reaches them."""

    def __init__(self) -> None:
        self.legs: list[tuple[str, str]] = []

    def leg_down(self, leg: str, why: str) -> None:
        self.legs.append((leg, why))

    def down(self, leg: str) -> None:
        return None


class Disk:
    """A journal that fails, hangs, or writes."""

    def __init__(self, *faults: BaseException | None) -> None:
        self.faults = list(faults)
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.written: list[tuple[str, str, str]] = []

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        await self.hangs.wait()
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        self.written.append((actor, act, facts["uuid"]))
        return len(self.written)

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        assert result == "refused"


async def stream(*events: media.MediaEvent) -> AsyncIterator[media.MediaEvent]:
    for event in events:
        yield event


async def test_a_lost_leg_is_told_at_once_although_the_disk_hangs_over_an_intruder() -> None:
    told, disk = cast("Any", Told()), Disk()
    disk.hangs.clear()
    intruders: asyncio.Queue[media.Intruder] = asyncio.Queue(2)
    writing = asyncio.create_task(mediaevents.record(intruders, cast("Any", disk)))
    with structlog.testing.capture_logs() as logs:
        flood = [media.Intruder("203.0.113.7", f"u{number}", "unknown") for number in range(9)]
        await mediaevents.follow(stream(*flood, media.LegDown("leg", "worker")), told, told, told, intruders)
    assert told.legs == [("leg", "worker")]
    assert sum(line["event"] == "intruder" for line in logs) == 9, "the log has all"
    disk.hangs.set()
    await until(lambda: len(disk.written) == 2)
    writing.cancel()
    assert disk.written == [("address:203.0.113.7", "intrude", "u0"), ("address:203.0.113.7", "intrude", "u1")]


async def test_an_intruder_that_cannot_be_put_on_record_does_not_end_the_recording() -> None:
    disk = Disk(StoreUnavailable("full"), None)
    intruders: asyncio.Queue[media.Intruder] = asyncio.Queue()
    for number in range(2):
        intruders.put_nowait(media.Intruder("203.0.113.7", f"u{number}", "unknown"))
    writing = asyncio.create_task(mediaevents.record(intruders, cast("Any", disk)))
    await until(lambda: [uuid for _, _, uuid in disk.written] == ["u1"])
    writing.cancel()
