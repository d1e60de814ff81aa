"""Who ticks with whom: the engine by itself, legs that only count, time by hand."""

import asyncio
from typing import cast

import pytest

from media import engine
from media.engine import Engine
from media.leg import Leg
from media.messages import LegDown, MediaSettings, Report
from media.pacer import GATHERED, PHASES, SLOT
from media.peer import Connect
from tests.unit.media.test_leg import Bench


class Silent(Leg):
    """Knows when it ticked, and in whose company; there is no browser."""

    def __init__(self) -> None:
        bench = Bench()
        self.__dict__.update(bench.leg.__dict__)
        self.ticked: list[float] = []
        self.speaks = False

    def collect(self, now: float) -> None:
        self.ticked.append(now)

    def may_wait(self, now: float) -> bool:
        return not self.speaks


async def test_many_legs_gather_in_few_phases_and_none_is_left_out() -> None:
    async with asyncio.TaskGroup() as tasks:
        one = Engine(MediaSettings(), cast("Connect", None), lambda _report: None, tasks)
        legs = [Silent() for _ in range(engine._MANY)]
        for number, leg in enumerate(legs):
            one._phases[number % PHASES].append(leg)
            one._patches[str(number)] = leg
        start = one._pacer.wake()
        for slot in range(6 * PHASES):
            one._run_due(start + slot * SLOT)
        assert [len(phase) for phase in one._phases] == [6, 0, 6, 0]
        for leg in legs:
            gaps = [round((b - a) / SLOT) for a, b in zip(leg.ticked, leg.ticked[1:], strict=False)]
            assert gaps[1:] == [PHASES] * 4
            assert gaps[0] in (PHASES - 1, PHASES), "once a little sooner, never twice, never late"
        assert all(legs[at] in one._phases[phase] for phase in GATHERED for at in (phase, phase + 1))


async def test_few_legs_stay_where_they_are() -> None:
    async with asyncio.TaskGroup() as tasks:
        one = Engine(MediaSettings(), cast("Connect", None), lambda _report: None, tasks)
        for phase in one._phases:
            phase.append(Silent())
            one._patches[str(id(phase))] = phase[0]
        start = one._pacer.wake()
        for slot in range(3 * PHASES):
            one._run_due(start + slot * SLOT)
        assert [len(phase) for phase in one._phases] == [1, 1, 1, 1]


async def test_phases_become_even_by_turns_that_come_late_where_nobody_speaks() -> None:
    async with asyncio.TaskGroup() as tasks:
        one = Engine(MediaSettings(), cast("Connect", None), lambda _report: None, tasks)
        quiet, busy = [Silent() for _ in range(10)], [Silent() for _ in range(30)]
        for leg in busy:
            leg.speaks = True
        one._phases[0] += busy + quiet
        one._phases[2] += [Silent() for _ in range(20)]
        one._patches = {str(number): leg for number, leg in enumerate([*one._phases[0], *one._phases[2]])}
        start = one._pacer.wake()
        for slot in range(20 * PHASES):
            one._run_due(start + slot * SLOT)
        assert [len(phase) for phase in one._phases] == [32, 0, 28, 0]
        assert all(leg in one._phases[0] for leg in busy)
        for leg in quiet:
            gaps = [round((b - a) / SLOT) for a, b in zip(leg.ticked, leg.ticked[1:], strict=False)]
            assert sorted(gaps)[-2:] in ([PHASES, PHASES], [PHASES, PHASES + PHASES // 2])
            assert min(gaps) == PHASES, "never two frames in a row"


async def test_a_leg_that_fails_in_its_tick_goes_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Silent):
        def collect(self, now: float) -> None:
            super().collect(now)
            raise KeyError("PRIORITY")

    told: list[Report] = []
    async with asyncio.TaskGroup() as tasks:
        one = Engine(MediaSettings(), cast("Connect", None), told.append, tasks)
        broken, fine = Broken(), Silent()
        one._phases[0] += [broken, fine]
        one._legs[broken.id] = broken
        one._start(broken, broken.peer)  # waits for a browser that never comes
        await asyncio.sleep(0)
        start = one._pacer.wake()
        for slot in range(3 * PHASES):
            one._run_due(start + slot * SLOT)
        assert len(fine.ticked) == 3
        assert len(broken.ticked) == 1
    assert [report for report in told if isinstance(report, LegDown)] == [LegDown(broken.id, "internal-error")]
    assert [record.message for record in caplog.records] == [f"leg {broken.id} failed"]
    assert broken not in one._phases[0]
