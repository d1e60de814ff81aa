"""The jitter buffer against explicit networks, in virtual time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from media.jitter import JitterBuffer, Kind

Delay = Callable[[int], float | None]
"Number of the packet -> its delay in ms, None: lost."


@dataclass
class Played:
    kinds: list[Kind] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def count(self, kind: Kind, since: int = 0) -> int:
        return self.kinds[since:].count(kind)


def play(
    buffer: JitterBuffer,
    delay: Delay,
    seconds: float,
    *,
    phase_ms: float = 7.0,
    drift: float = 0.0,
    quiet: Callable[[int], bool] = lambda _tick: False,
    first_timestamp: int = 0,
) -> Played:
    """A 20 ms sender, this network, and our tick. `waits` are from arrival to pop, in ms."""
    arrivals: list[tuple[float, int]] = sorted(
        (number * 20 * (1 + drift) + wait, number)
        for number in range(int(seconds * 50))
        if (wait := delay(number)) is not None
    )
    arrived = {number: at for at, number in arrivals}
    result = Played()
    queue = iter(arrivals)
    upcoming = next(queue, None)
    for tick in range(int(seconds * 50) + 10):
        now = tick * 20 + phase_ms
        while upcoming is not None and upcoming[0] <= now:
            at, number = upcoming
            timestamp = (first_timestamp + number * 960) % (1 << 32)
            buffer.push(timestamp, number.to_bytes(4, "big"), at / 1000)
            upcoming = next(queue, None)
        pop = buffer.pop(now / 1000, quiet=quiet(tick))
        result.kinds.append(pop.kind)
        if pop.kind is Kind.PLAY:
            number = int.from_bytes(pop.payload, "big")
            result.numbers.append(number)
            result.waits.append(now - arrived[number])
    return result


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_clean_stream_plays_without_a_hole_and_settles_below_one_frame_in_silence() -> None:
    buffer = JitterBuffer()
    played = play(buffer, lambda _n: 10.0, 10, quiet=lambda tick: tick % 100 < 20)
    steady = played.kinds[50:-10]
    assert set(steady) == {Kind.PLAY}
    assert mean(played.waits[-100:]) < 25
    assert played.numbers == sorted(set(played.numbers))


def test_speech_without_pauses_is_never_cut_on_a_clean_line() -> None:
    buffer = JitterBuffer()
    played = play(buffer, lambda _n: 10.0, 10)
    assert buffer.counts.shrunk == 0
    assert played.numbers == list(range(500))


def test_one_lost_packet_costs_one_frame_and_no_delay() -> None:
    buffer = JitterBuffer()
    played = play(buffer, lambda n: None if n == 200 else 5.0, 10)
    assert played.count(Kind.CONCEAL, since=10) + played.count(Kind.RECOVER, since=10) - 10 <= 2
    assert played.waits[-1] == pytest.approx(played.waits[100], abs=0.01)
    assert 201 in played.numbers


@pytest.mark.parametrize("phase_ms", [7.0, 10.0, 14.0])
def test_loss_is_recovered_from_the_following_packet(phase_ms: float) -> None:
    chance = random.Random(3)
    lost = {n for n in range(3000) if chance.random() < 0.05}
    buffer = JitterBuffer()
    played = play(
        buffer, lambda n: None if n in lost else 5.0, 60, phase_ms=phase_ms, quiet=lambda tick: tick % 75 < 15
    )
    assert buffer.counts.recovered > 0.7 * len(lost)
    assert buffer.counts.stretched + buffer.counts.late < 12
    assert mean(played.waits) < 50


@pytest.mark.parametrize(("most", "mean_at_most"), [(20, 50), (60, 90), (100, 130)])
def test_jitter_is_covered_by_no_more_delay_than_it_needs(most: float, mean_at_most: float) -> None:
    chance = random.Random(4)
    delays = [chance.uniform(0, most) for _ in range(3000)]
    buffer = JitterBuffer()
    played = play(buffer, lambda n: delays[n], 60, quiet=lambda tick: tick % 75 < 15)
    late = buffer.counts.late + buffer.counts.concealed + buffer.counts.recovered
    assert late < 0.08 * 3000
    assert mean(played.waits[500:]) < mean_at_most


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_clock_that_runs_differently_neither_starves_nor_piles_up(drift: float) -> None:
    buffer = JitterBuffer()
    played = play(buffer, lambda _n: 5.0, 600, drift=drift, quiet=lambda tick: tick % 75 < 15)
    assert max(played.waits[200:]) < 70
    frames_of_drift = 600 * 200e-6 / 0.02
    assert buffer.counts.concealed + buffer.counts.stretched + buffer.counts.shrunk < 4 * frames_of_drift


def test_packets_out_of_order_play_in_order() -> None:
    buffer = JitterBuffer()
    played = play(buffer, lambda n: 45.0 if n % 10 == 0 else 5.0, 20)
    late_part = played.numbers[200:]
    assert late_part == sorted(late_part)
    assert len(late_part) > 700


def test_a_stall_of_the_network_does_not_stay_as_delay() -> None:
    def delay(number: int) -> float:
        return max(5.0, 400.0 - (number - 200) * 20) if 200 <= number < 220 else 5.0

    buffer = JitterBuffer()
    played = play(buffer, delay, 20, quiet=lambda tick: tick % 75 < 15)
    assert mean(played.waits[-100:]) < 45
    assert max(played.waits) < 300


def test_the_sound_after_a_stall_comes_without_the_length_of_the_stall() -> None:
    def delay(number: int) -> float:
        return max(5.0, 300.0 - (number - 200) * 20) if 200 <= number < 215 else 5.0

    played = play(JitterBuffer(), delay, 8)
    after = [wait for wait, number in zip(played.waits, played.numbers, strict=True) if number > 220]
    assert max(after) < 80


@pytest.mark.parametrize("pauses", [True, False])
@pytest.mark.parametrize("phase_ms", [1.0, 7.0, 13.0, 19.0])
@pytest.mark.parametrize("held", [0, 5, 22, 75])
def test_no_delay_is_left_of_ten_per_cent_of_loss_and_of_a_worker_that_was_held_up_meanwhile(
    held: int, phase_ms: float, pauses: bool
) -> None:
    """Loss until 10 s; the worker neither reads nor ticks from 9 s on for `held` ticks; then a clean network."""
    chance = random.Random(6)
    buffer = JitterBuffer()
    unread: list[int] = []
    waits: list[tuple[float, float]] = []
    for tick in range(20 * 50):
        at = tick * 0.02
        if at >= 10 or chance.random() >= 0.1:
            unread.append(tick)
        if 450 <= tick < 450 + held:
            continue
        for number in unread:  # what has come meanwhile is read at one moment, just before the tick
            buffer.push(number * 960, number.to_bytes(4, "big"), at)
        unread.clear()
        now = at + phase_ms / 1000
        pop = buffer.pop(now, quiet=pauses and tick % 75 < 15)
        if pop.kind is Kind.PLAY:
            waits.append((at, now * 1000 - int.from_bytes(pop.payload, "big") * 20))
    before = mean([wait for at, wait in waits if 5 <= at < 9])
    assert before < 60
    # Two seconds until the past is forgotten, and then a pause at most.
    after = [wait for at, wait in waits if at >= 14]
    assert len(after) > 290, "nothing else is wrong"
    assert max(after) < (45 if pauses else 105)


def test_timestamps_may_wrap() -> None:
    buffer = JitterBuffer()
    played = play(buffer, lambda _n: 5.0, 4, first_timestamp=(1 << 32) - 50 * 960)
    assert played.numbers == list(range(200))


def test_a_jump_of_the_senders_clock_goes_on_at_once() -> None:
    buffer = JitterBuffer()
    for number in range(100):
        buffer.push(number * 960, b"x", number * 0.02)
        buffer.pop(number * 0.02 + 0.007)
    idle = 0
    for number in range(100, 200):
        buffer.push(number * 960 + 48_000, b"x", number * 0.02)
        idle += buffer.pop(number * 0.02 + 0.007).kind is not Kind.PLAY
    assert idle < 10


def test_duplicates_and_late_packets_are_counted_and_dropped() -> None:
    buffer = JitterBuffer()
    for number in range(10):
        buffer.push(number * 960, b"x", number * 0.02)
        buffer.push(number * 960, b"y", number * 0.02)
        buffer.pop(number * 0.02 + 0.001)
    assert buffer.counts.duplicate + buffer.counts.late >= 9
    buffer.push(0, b"old", 0.3)
    assert buffer.pop(0.3).payload == b"x"


def test_the_end_of_a_stream_is_concealed_and_then_idle() -> None:
    played = play(JitterBuffer(), lambda n: 5.0 if n < 50 else None, 3)
    assert played.kinds[-50:] == [Kind.IDLE] * 50
    assert played.count(Kind.CONCEAL, since=50) <= 11


def test_drain_leaves_nothing_of_the_sound() -> None:
    buffer = JitterBuffer()
    for number in range(5):
        buffer.push(number * 960, b"secret", number * 0.02)
    buffer.drain()
    assert buffer.pop(10.0).kind is Kind.IDLE


def test_memory_is_bounded() -> None:
    buffer = JitterBuffer()
    for number in range(10_000):
        buffer.push(number * 960, b"x", number * 0.001)
    assert len(buffer._packets) <= 32


@pytest.mark.parametrize("length", [480, 1920, 2880])
def test_packets_of_other_lengths_follow_one_another(length: int) -> None:
    buffer = JitterBuffer()
    kinds = []
    for number in range(200):
        now = number * length / 48_000
        buffer.push(number * length, b"x", now, length)
        kinds.append(buffer.pop(now + 0.002).kind)
    assert kinds[20:] == [Kind.PLAY] * 180
