"""The marks of a recording."""

import asyncio
import contextlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connector.domain.calls import CallId, Engagement, EngagementId, Mode, Phase
from connector.domain.events import CallChanged, CallGone
from connector.services.marks import Marks
from connector.services.registry import Registry
from tests.contract.fake_pbx import FakeExchange

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_modes_are_marked_where_they_are_in_the_recording(tmp_path: Path) -> None:
    registry = Registry(["lab"], "test")
    clock = [AT]
    marks = Marks(registry, tmp_path / "marks", lambda: clock[0])
    running = asyncio.create_task(marks.run())
    call = replace(FakeExchange().make_call().call, answered_at=AT, recording="/var/spool/a.wav")
    registry.apply(CallChanged(call))
    anna = Engagement(EngagementId("e1"), call.id, "anna", "Anna", "leg", Mode.MONITOR, Phase.CONNECTING, AT)
    for seconds, mode, phase in (
        (1, Mode.MONITOR, Phase.CONNECTING),
        (2, Mode.MONITOR, Phase.ACTIVE),
        (3, Mode.TAKEOVER, Phase.SWITCHING),
        (4, Mode.TAKEOVER, Phase.ACTIVE),
        (5, Mode.TAKEOVER, Phase.ACTIVE),
    ):
        clock[0] = AT + timedelta(seconds=seconds)
        registry.engaged(replace(anna, mode=mode, phase=phase, hold=seconds == 5))
    clock[0] = AT + timedelta(seconds=6)
    registry.disengaged(anna.id, "released")
    shown = marks.of(call.id)
    assert [(mark["event"], mark.get("mode"), mark["recording_s"]) for mark in shown] == [
        ("recording", None, 0),
        ("mode", "monitor", 2),
        ("mode", "takeover", 4),
        ("left", "takeover", 6),
    ]
    assert shown[-1]["why"] == "released"
    registry.apply(CallGone(call.id, "hangup"))
    assert marks.of(call.id) == ()
    async with asyncio.timeout(5):
        await marks.written()
    lines = [json.loads(line) for line in marks.path(call.id).read_text().splitlines()]
    assert lines[:4] == [dict(mark) for mark in shown]
    assert lines[4]["event"] == "call-ended"
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_call_that_is_not_recorded_has_no_marks(tmp_path: Path) -> None:
    registry = Registry(["lab"], "test")
    marks = Marks(registry, tmp_path)
    call = FakeExchange().make_call().call
    registry.apply(CallChanged(call))
    assert marks.of(call.id) == ()


def test_no_id_of_a_call_leads_out_of_the_folder(tmp_path: Path) -> None:
    marks = Marks(Registry(["lab"], "test"), tmp_path)
    assert marks.path(CallId("lab~../../etc/passwd")).parent == tmp_path


async def test_old_side_files_are_forgotten(tmp_path: Path) -> None:
    marks = Marks(Registry(["lab"], "test"), tmp_path)
    old, new = marks.path(CallId("lab~1")), marks.path(CallId("lab~2"))
    other = tmp_path / "other.txt"
    for path in (old, new, other):
        path.write_text("{}\n")
        os.utime(path, (AT.timestamp(), AT.timestamp()))
    os.utime(new, (AT.timestamp() + 60, AT.timestamp() + 60))
    assert await marks.forget(AT + timedelta(seconds=30)) == 1
    assert [path.exists() for path in (old, new, other)] == [False, True, True]
