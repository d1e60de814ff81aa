"""The benches' own ruler: figures from recordings that were made up, so that the answer is known."""

import pytest

from tests.support.figures import quantile, spread
from tests.support.hearing import Unheard, first_heard, joined, longest_gap, returned
from web.demo.rtp import Packet
from web.demo.tones import AGENT_HZ, AI_HZ
from web.demo.voice import Recording, Silence, Source, Tone

RATE = 8000
FRAME = 160


def recording(*parts: tuple[Source | None, float]) -> Recording:
    """From time 0 on a frame every 20 ms: each part's voice for so many seconds; None: nothing arrives."""
    made, number = Recording(RATE), 0
    for source, seconds in parts:
        for _ in range(round(seconds / 0.02)):
            if source is not None:
                made.add(number * 0.02, source.take(FRAME, RATE))
            number += 1
    return made


def test_a_takeover_is_measured_from_the_request() -> None:
    heard = recording((Tone(AI_HZ), 1.0), (Silence(), 0.04), (Tone(AGENT_HZ), 1.0))
    figures = joined(heard, sent=0.98, until=1.8)
    assert figures.agent_heard == pytest.approx(60)
    assert figures.ai_last_heard == pytest.approx(10)
    assert figures.hole == pytest.approx(40)


def test_a_hole_is_the_same_whether_packets_are_silent_or_missing() -> None:
    missing = recording((Tone(AI_HZ), 1.0), (None, 0.06), (Tone(AGENT_HZ), 1.0))
    assert joined(missing, 0.98, 1.8).hole == pytest.approx(60)


def test_a_giving_back_is_measured_from_the_request() -> None:
    heard = recording((Tone(AGENT_HZ), 1.0), (Tone(AI_HZ), 1.0))
    figures = returned(heard, 0.97, 1.8)
    assert figures.ai_heard == pytest.approx(30)
    assert figures.hole == pytest.approx(0, abs=0.01)


def test_an_ai_that_goes_on_speaking_is_no_takeover() -> None:
    both = recording((Tone(AI_HZ), 1.0), (Tone(AGENT_HZ), 0.5), (Tone(AI_HZ), 0.5))
    with pytest.raises(Unheard, match="not muted"):
        joined(both, 0.98, 1.8)
    with pytest.raises(Unheard, match="did not hear the agent"):
        joined(recording((Tone(AI_HZ), 2.0)), 0.98, 1.8)
    with pytest.raises(Unheard, match="did not hear the AI"):
        returned(recording((Tone(AGENT_HZ), 2.0)), 0.98, 1.8)


def test_one_window_is_not_yet_a_voice() -> None:
    crack = recording((Silence(), 0.5), (Tone(AI_HZ), 0.02), (Silence(), 0.5), (Tone(AI_HZ), 0.5))
    assert first_heard(crack, AI_HZ, 0, 2) == pytest.approx(1.02)
    faint = recording((Tone(AI_HZ, level_dbov=-30), 0.5), (Tone(AI_HZ), 0.5))
    assert first_heard(faint, AI_HZ, 0, 2) == pytest.approx(0)
    assert first_heard(faint, AI_HZ, 0, 2, in_speech=True) == pytest.approx(0.5)


def test_a_stalled_leg_is_healed_when_packets_come_again() -> None:
    def packets(*times: float) -> list[Packet]:
        return [Packet(at, number, 0, 1, 0, False) for number, at in enumerate(times)]

    gap, again = longest_gap(packets(0.02, 0.04, 0.30, 0.32), 0, 0.33)
    assert again
    assert gap == pytest.approx(260)
    gap, again = longest_gap(packets(0.02, 0.04), 0, 0.5)
    assert not again
    assert gap == pytest.approx(460)
    gap, again = longest_gap([], 0, 0.5)
    assert not again
    assert gap == pytest.approx(500)


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile(range(1, 101), 0.95) == 95
    assert quantile([7], 0.95) == 7
    assert spread([3, 1, 2]) == {"p50": 2, "p95": 3, "max": 3}
    assert spread([]) is None
    with pytest.raises(ValueError, match="no value"):
        quantile([], 0.5)
