"""The schedule in virtual time: steady, absolute, never a burst."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.pacer import GATHERED, JOIN, PHASES, SLOT, Lateness, Pacer


def test_every_phase_ticks_every_20_ms_on_the_absolute_schedule() -> None:
    pacer = Pacer(100.0)
    seen = []
    for _ in range(4000):
        at = pacer.wake()
        seen += [(at, due) for due in pacer.due(at)]
    assert pacer.skipped == 0
    assert pacer.wake() == pytest.approx(100.0 + 4000 * SLOT)
    for phase in range(PHASES):
        times = [at for at, due in seen if due.phase == phase]
        assert times == pytest.approx([100.0 + phase * SLOT + 0.02 * n for n in range(1000)])


def test_lateness_does_not_shift_the_schedule() -> None:
    chance = random.Random(1)
    pacer = Pacer(0.0)
    for _ in range(10_000):
        pacer.due(pacer.wake() + chance.uniform(0, 0.004))
    assert pacer.wake() == pytest.approx(10_000 * SLOT)


def test_too_early_is_nothing_to_do() -> None:
    pacer = Pacer(0.0)
    pacer.due(0.0)
    assert pacer.due(SLOT * 0.9) == []


def test_a_stall_is_skipped_and_counted_never_made_up_for() -> None:
    pacer = Pacer(0.0)
    pacer.due(0.0)
    due = pacer.due(1.0)
    assert Counter(entry.phase for entry in due) == dict.fromkeys(range(PHASES), 1)
    assert pacer.skipped == 200 - PHASES
    assert [entry.tick for entry in due] == [49, 49, 49, 50]
    assert pacer.due(1.0) == []


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=200))
def test_no_wake_runs_a_phase_twice_and_every_slot_is_run_or_counted(steps: list[float]) -> None:
    pacer, now, ran = Pacer(0.0), 0.0, 0
    ticks: dict[int, int] = {}
    for step in steps:
        now += step
        due = pacer.due(now)
        assert len({entry.phase for entry in due}) == len(due)
        for entry in due:
            assert entry.tick > ticks.get(entry.phase, -1)
            ticks[entry.phase] = entry.tick
        ran += len(due)
    assert pacer.wake() == pytest.approx((ran + pacer.skipped) * SLOT)
    assert pacer.wake() > now - 1e-6


def test_lateness_forgets_after_its_span() -> None:
    lateness = Lateness(span=10.0)
    assert lateness.p99() == 0.0
    for n in range(200):
        lateness.add(n * 0.005, 0.1)
    assert lateness.p99() == 0.1
    for n in range(2200):
        lateness.add(1 + n * 0.005, 0.001)
    assert lateness.p99() == 0.001


@pytest.mark.parametrize("phases", [range(PHASES), GATHERED])
@given(opened=st.floats(0, 0.1), ready=st.floats(-0.1, 0.1))
def test_the_first_frame_of_a_patch_leaves_between_4_and_16_ms_after_the_call(
    phases: range, opened: float, ready: float
) -> None:
    pacer = Pacer(0.0)
    phase = pacer.join(opened, ready, phases)
    assert phase in phases
    first = phase * SLOT
    wait = (first - opened) % 0.02
    assert JOIN[0] <= wait <= JOIN[1]


def test_among_the_phases_in_time_the_one_right_after_the_sound_is_taken() -> None:
    pacer = Pacer(100.0)
    for ready, phase in [(0.004, 1), (0.006, 2), (0.011, 3), (0.016, 1), (0.0, 1)]:
        assert pacer.join(100.0, 100.0 + ready) == phase, ready


def test_phases_without_work_are_not_woken_for_and_not_counted_as_skipped() -> None:
    pacer = Pacer(0.0)
    wakes = []
    for _ in range(20):
        wakes.append(pacer.wake([2]))
        pacer.due(wakes[-1])
    assert wakes == pytest.approx([0.01 * n for n in range(20)])
    assert pacer.skipped == 0
