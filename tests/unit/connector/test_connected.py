"""Staying connected: what is told of a PBX is what is true, and told once."""

from collections.abc import AsyncGenerator, Iterator

import pytest
from structlog.testing import capture_logs

from connector.adapter.connected import stay_connected
from connector.domain.errors import PbxUnavailable, VerbRefused
from connector.domain.events import PbxDown, PbxEvent, PbxUp, SnapshotTaken

from .virtual import virtual_time

UP, SNAPSHOT = PbxUp("main", "22.0"), SnapshotTaken("main", ())
REFUSED = VerbRefused("main", "Status", "Permission denied")
LOST = PbxUnavailable("main", "the PBX closed the connection")

Script = tuple[list[PbxEvent], Exception]


async def told(*sessions: Script) -> list[PbxEvent]:
    """What comes of these sessions, one after the other."""
    script: Iterator[Script] = iter(sessions)

    async def session() -> AsyncGenerator[PbxEvent, None]:
        events, fault = next(script)
        for event in events:
            yield event
        raise fault

    events: list[PbxEvent] = []

    async def follow() -> None:
        async for event in stay_connected("main", session, lambda _: None):
            events.append(event)  # noqa: PERF401 - what came before the fault counts

    with pytest.raises(RuntimeError):  # the script is at its end
        await follow()
    return events


@virtual_time
async def test_a_pbx_that_stays_away_is_told_once() -> None:
    assert await told(([], LOST), ([], LOST), ([], LOST)) == [PbxDown("main", LOST.why)]


@pytest.mark.parametrize("fault", [LOST, REFUSED])
@virtual_time
async def test_a_pbx_that_is_lost_before_its_snapshot_is_not_shown_as_up(fault: PbxUnavailable | VerbRefused) -> None:
    with capture_logs() as logs:
        events = await told(([], fault), ([UP], fault), ([UP], fault), ([UP, SNAPSHOT], fault))
    down = events[0]
    assert isinstance(down, PbxDown)
    assert events == [down, UP, down, UP, down, UP, SNAPSHOT, down]
    assert len(logs) == 2  # the same fault is news only after all was well


@virtual_time
async def test_another_fault_is_told() -> None:
    other = PbxUnavailable("main", "cannot connect")
    assert await told(([], LOST), ([], other)) == [PbxDown("main", LOST.why), PbxDown("main", other.why)]
