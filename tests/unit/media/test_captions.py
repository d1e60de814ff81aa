"""Where sound is cut for captions."""

import numpy as np

from media.captions import BEFORE, LONG, PAUSE, SHORT, Heard, Tap, Utterances
from media.frame import SAMPLES, SILENCE, TICK, Frame

VOICE: Frame = (3000 * np.sin(2 * np.pi * 300 * np.arange(SAMPLES) / 16_000)).astype(np.int16)
NOISE: Frame = np.random.default_rng(1).normal(0, 30, SAMPLES).astype(np.int16)


def run(frames: list[Frame]) -> list[Heard]:
    side = Utterances("agent")
    found = (side.take(frame, number * TICK) for number, frame in enumerate(frames))
    return [one for one in found if one is not None]


def length(heard: Heard) -> int:
    """In frames."""
    return len(heard.sound) // (2 * SAMPLES)


def test_an_utterance_ends_with_a_pause_and_begins_a_little_before_its_sound() -> None:
    (one,) = run([NOISE] * 50 + [VOICE] * 40 + [NOISE] * 20 + [VOICE] * 10 + [SILENCE] * 100)
    assert length(one) == BEFORE + 40 + 20 + 10 + PAUSE
    assert one.began == (50 - BEFORE) * TICK


def test_two_sentences_are_two_utterances() -> None:
    assert [length(one) for one in run(([VOICE] * 30 + [SILENCE] * 60) * 2)] == [30 + PAUSE, BEFORE + 30 + PAUSE]


def test_a_click_and_a_quiet_line_are_nothing() -> None:
    assert run([NOISE] * 500) == []
    assert run([VOICE] * (SHORT - 1) + [SILENCE] * 100) == []


def test_who_does_not_stop_is_cut() -> None:
    assert [length(one) for one in run([VOICE] * (2 * LONG + 5))] == [LONG, LONG]


def test_the_end_of_a_patch_ends_what_is_being_said() -> None:
    tap = Tap()
    for number in range(30):
        assert tap.take(VOICE, SILENCE, number * TICK) == []
    assert [(one.side, length(one)) for one in tap.end()] == [("agent", 30)]
    assert tap.end() == []


def test_the_two_sides_are_apart() -> None:
    tap = Tap()
    found = [tap.take(SILENCE, frame, 0.0) for frame in [VOICE] * 20 + [SILENCE] * PAUSE]
    assert [one.side for heard in found for one in heard] == ["pbx"]
