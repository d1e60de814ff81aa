"""What the demo finds in the caller's packets, on packets that were made up to the millisecond."""

import numpy as np
import pytest

from web.demo import report, tones
from web.demo.measure import Frame, Received, Switch, carries, listen, switched
from web.demo.report import Ears, Moments
from web.demo.rtp import Report
from web.demo.tones import Samples
from web.demo.voice import Recording

RATE, FRAME, PERIOD = 8000, 160, 0.02
DELAY = 0.04


def _voice(seed: int, seconds: float = 4.0) -> Samples:
    """A voice of its own: noise through its own resonances, quieter and louder by syllables, over line noise."""
    random = np.random.default_rng(seed)
    count = round(seconds * RATE)
    raw = np.convolve(random.normal(0, 1, count), np.sin(np.arange(40) * (0.2 + 0.1 * seed)) * 0.9 ** np.arange(40))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * np.arange(count) / RATE), 0, 1)
    voice: Samples = (raw[:count] * syllables * 2000 + random.normal(0, 40, count)).astype(np.int16)
    return voice


def _sent(samples: Samples, start: float = 0.0) -> list[Frame]:
    return [(start + at / RATE, samples[at : at + FRAME]) for at in range(0, len(samples), FRAME)]


def _over_the_line(frames: list[Frame]) -> list[Frame]:
    """40 ms later, through G.711, and cut at other places than it was sent."""
    whole = tones.ulaw_decode(tones.ulaw_encode(np.concatenate([samples for _, samples in frames])))
    shifted = np.concatenate([np.zeros(77, np.int16), whole])[: len(whole)]
    return [(at + DELAY, shifted[index * FRAME : (index + 1) * FRAME]) for index, (at, _) in enumerate(frames)]


def test_a_packet_carries_the_ai_through_two_codecs_and_in_its_pauses_and_no_other_voice() -> None:
    ai, agent = _sent(_voice(1)), _sent(_voice(2))
    assert all(packet.ai and packet.sounds for packet in listen(_over_the_line(ai)[2:], ai))
    assert not any(packet.ai for packet in listen(_over_the_line(agent)[2:], ai))


def test_silence_and_too_little_sent_carry_nothing() -> None:
    silence = np.zeros(FRAME, np.int16)
    assert carries(silence, _voice(1)) == 0
    assert carries(_voice(1)[:FRAME], _voice(1)[: FRAME - 1]) == 0
    assert listen([(1.0, _voice(1)[:FRAME])], []) == [Received(1.0, ai=False, sounds=True)]
    assert listen([(1.0, tones.ulaw_decode(tones.ulaw_encode(silence)))], []) == [Received(1.0, ai=False, sounds=False)]


def _packets(text: str, start: float = 0.0) -> list[Received]:
    """One letter per packet of 20 ms: `a` the AI, `-` silence, `h` the human."""
    return [Received(start + at * PERIOD, letter == "a", letter != "-") for at, letter in enumerate(text)]


AI, HUMAN, NOBODY = "a" * 10, "h" * 50, "-" * 50


def test_the_switch_is_the_first_packet_of_a_run_without_the_ai() -> None:
    assert switched(_packets(AI + HUMAN), since=0.17) == Switch(heard_ms=30.0, gap_ms=20.0)


def test_silence_between_ai_and_human_is_a_gap() -> None:
    assert switched(_packets(AI + "---" + HUMAN), since=0.17) == Switch(heard_ms=90.0, gap_ms=80.0)


def test_a_human_who_is_silent_is_timed_by_the_open_line() -> None:
    assert switched(_packets(AI + NOBODY), since=0.17) == Switch(heard_ms=30.0, gap_ms=20.0)
    assert switched(_packets(AI + "-" * 20 + HUMAN), since=0.17) == Switch(heard_ms=30.0, gap_ms=20.0)
    assert switched(_packets(AI + "-" * 20 + HUMAN), since=0.17, speaks_within=1.0) == Switch(430.0, 420.0)


def test_one_packet_that_was_not_recognised_is_no_switch() -> None:
    assert switched(_packets(AI + "haaaaa" + HUMAN), since=0.15) == Switch(170.0, 20.0)


def test_a_hole_in_the_stream_is_the_gap() -> None:
    packets = [*_packets(AI), *_packets(HUMAN, start=0.33)]
    assert switched(packets, since=0.17) == Switch(heard_ms=160.0, gap_ms=150.0)


def test_a_stall_right_after_the_switch_counts_too() -> None:
    packets = [*_packets(AI + "hhhhh"), *_packets(HUMAN, start=0.5)]
    assert switched(packets, since=0.17) == Switch(heard_ms=30.0, gap_ms=220.0)


def test_an_ai_that_never_falls_silent_is_no_switch() -> None:
    assert switched(_packets("a" * 100), since=0.5) is None
    assert switched(_packets("a" * 100 + "hh"), since=0.5) is None


def _recording(*spans: tuple[float, float, float]) -> Recording:
    """Frames from 0 to 6 s; each span is (hz, from, to) of a tone in them."""
    recording = Recording(RATE)
    for index in range(300):
        at = index * PERIOD
        samples = np.zeros(FRAME, np.int16)
        for hz, since, until in spans:
            if since <= at < until - 1e-9:
                samples = samples + tones.tone(hz, FRAME, RATE, start=index * FRAME)
        recording.add(at, samples.astype(np.int16))
    return recording


AT = Moments(began=0.0, asked=2.0, gave_back=4.0, ended=6.0)


def _ears(*, agent_until: float = 4.02, ai_until: float = 2.02, ai_again: float = 4.04) -> Ears:
    return Ears(
        caller=_recording((tones.AI_HZ, 0, ai_until), (tones.AGENT_HZ, 2.04, agent_until), (tones.AI_HZ, ai_again, 6)),
        ai=_recording((tones.CALLER_HZ, 0, 6), (tones.AGENT_HZ, 2.04, 4.02)),
    )


def test_a_good_takeover_is_reported_as_it_was() -> None:
    ears = _ears()
    assert report.as_expected(report.who_heard_whom(ears, AT)) == []
    assert report.times_ms(ears, AT) == pytest.approx(
        {"agent_heard": 40, "ai_last_heard": 20, "return_ai_heard": 40, "return_agent_last_heard": 20}, abs=0.11
    )
    assert report.holes_ms(ears, AT) == pytest.approx({"takeover": 20, "return": 20}, abs=0.11)


@pytest.mark.parametrize(
    ("ears", "complaint"),
    [
        (_ears(ai_until=6), "takeover: the caller should not hear the ai"),
        (_ears(agent_until=6), "after: the caller should not hear the agent"),
        (_ears(ai_again=6), "after: the caller should hear the ai"),
    ],
)
def test_a_wrong_ear_is_named(ears: Ears, complaint: str) -> None:
    assert any(line.startswith(complaint) for line in report.as_expected(report.who_heard_whom(ears, AT)))


def _facts(**changes: object) -> dict[str, object]:
    ears = _ears()
    return {
        "who_heard_whom": report.who_heard_whom(ears, AT),
        "times_ms": report.times_ms(ears, AT),
        "hole_ms": report.holes_ms(ears, AT),
        "rtp": report.rtp_facts(Report(300, 0, 0, 21.0)),
        "note": {"sent": "a", "received": "a"},
        "agent": {"hears_caller": True, "hears_ai": False},
        **changes,
    }


def test_a_good_check_has_no_faults() -> None:
    assert report.faults(_facts()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rtp": {"packets": 3, "lost": 1, "ssrc_changes": 0, "max_gap_ms": 20.0}}, "continuous"),
        ({"rtp": {"packets": 3, "lost": 0, "ssrc_changes": 1, "max_gap_ms": 20.0}}, "continuous"),
        ({"note": {"sent": "a", "received": ""}}, "note"),
        ({"agent": {"hears_caller": True, "hears_ai": True}}, "the agent should hear"),
        ({"hole_ms": {"takeover": 1900.0, "return": 0.0}}, "hole at takeover"),
        (
            {"times_ms": {"agent_heard": None, "ai_last_heard": 1.0, "return_ai_heard": 1.0}},
            "agent_heard",
        ),
    ],
)
def test_each_fault_is_named(changes: dict[str, object], word: str) -> None:
    assert any(word in line for line in report.faults(_facts(**changes)))
