"""Tones, companding and traces: what every measurement rests on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.demo import tones
from web.demo.tones import AGENT_HZ, AI_HZ, CALLER_HZ, Trace, either


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("hz", [CALLER_HZ, AI_HZ, AGENT_HZ])
def test_a_tone_has_its_level_and_leaks_into_no_other(rate: int, hz: int) -> None:
    samples = tones.tone(hz, rate, rate, level_dbov=-12)
    assert tones.levels(samples, hz, rate).mean() == pytest.approx(-12, abs=0.1)
    for other in {CALLER_HZ, AI_HZ, AGENT_HZ} - {hz}:
        assert tones.levels(samples, other, rate).max() < tones.HEARD_DBOV - 20


@pytest.mark.parametrize("name", ["ulaw", "alaw"])
def test_a_tone_survives_companding(name: str) -> None:
    encode, decode = getattr(tones, f"{name}_encode"), getattr(tones, f"{name}_decode")
    samples = decode(encode(tones.tone(AI_HZ, 8000, 8000)))
    assert tones.levels(samples, AI_HZ, 8000).mean() == pytest.approx(-12, abs=0.2)
    assert tones.levels(samples, CALLER_HZ, 8000).max() < tones.HEARD_DBOV


@pytest.mark.parametrize(
    ("decode", "code", "value"),
    [
        (tones.ulaw_decode, 0xFF, 0),
        (tones.ulaw_decode, 0x80, 32124),
        (tones.ulaw_decode, 0x00, -32124),
        (tones.alaw_decode, 0xD5, 8),
        (tones.alaw_decode, 0x55, -8),
        (tones.alaw_decode, 0xAA, 32256),
        (tones.alaw_decode, 0x2A, -32256),
    ],
)
def test_codes_of_g711(decode: object, code: int, value: int) -> None:
    assert callable(decode)
    assert decode(bytes([code]))[0] == value


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=200))
def test_companding_is_near_and_stable(values: list[int]) -> None:
    samples = np.array(values, np.int16)
    for encode, decode in ((tones.ulaw_encode, tones.ulaw_decode), (tones.alaw_encode, tones.alaw_decode)):
        once = decode(encode(samples))
        assert np.array_equal(decode(encode(once)), once)
        distance = np.abs(once.astype(int) - samples)
        assert (distance <= np.maximum(16, np.abs(samples.astype(int)) / 16) + 8).all()


def trace(*heard: float, start: float = 0.0, count: int = 100) -> Trace:
    """A trace of `count` windows in which those at the given times are heard."""
    times = start + np.arange(count, dtype=np.float64) * tones.WINDOW_S
    levels = np.full(count, -90.0)
    for at in heard:
        levels[round((at - start) / tones.WINDOW_S)] = -12
    return Trace(times, levels)


def test_first_last_and_hole() -> None:
    seen = trace(0.10, 0.11, 0.30, 0.31)
    assert seen.first() == pytest.approx(0.10)
    assert seen.first(after=0.2) == pytest.approx(0.30)
    assert seen.last() == pytest.approx(0.31)
    assert seen.last(before=0.3) == pytest.approx(0.11)
    assert seen.hole_ms(0.10, 0.32) == pytest.approx(180)
    assert seen.hole_ms(0.0, 0.5) == pytest.approx(180)


def test_the_edges_count_as_a_hole() -> None:
    assert trace(0.10).hole_ms(0.0, 0.11) == pytest.approx(100)
    assert trace().hole_ms(0.0, 0.5) == pytest.approx(500)


def test_nothing_received_is_nothing_heard() -> None:
    empty = Trace(np.empty(0), np.empty(0))
    assert empty.first() is None
    assert empty.last() is None
    assert empty.share() == 0


def test_either_is_the_louder_one() -> None:
    both = either(trace(0.10), trace(0.20))
    assert both.first() == pytest.approx(0.10)
    assert both.last() == pytest.approx(0.20)
