"""Gain and limiter by themselves, for several sessions at once."""

import numpy as np
import numpy.typing as npt
import pytest

from media import gain
from media.frame import HOP, RATE, SAMPLES, to_frame, to_sound
from media.level import decibels
from tests.unit.media.synthetic import Samples, noise, speech

PEAK = 10 ** (-1 / 20)


def rows(count: int) -> npt.NDArray[np.float32]:
    return np.stack([gain.fresh() for _ in range(count)])


def evened(sounds: list[Samples], *, speech_from_db: float = -90) -> Samples:
    """Each sound through gain and limiter; what is louder than `speech_from_db` is said to be speech."""
    state = rows(len(sounds))
    together = np.stack(sounds).astype(np.float32)
    out = []
    for start in range(0, together.shape[1] - HOP + 1, HOP):
        hop = together[:, start : start + HOP]
        spoken = np.array([decibels(float(np.mean(one**2))) > speech_from_db for one in hop])
        out.append(gain.limit(state, gain.control(state, hop, spoken)))
    return np.concatenate(out, axis=1).astype(np.float64)


def level(sound: Samples) -> float:
    """Of what is spoken, without the pauses."""
    power = np.mean(sound[: len(sound) // 320 * 320].reshape(-1, 320) ** 2, axis=1)
    return decibels(float(np.mean(power[power > power.max() / 300])))


def test_talkers_at_minus_42_to_minus_9_end_within_1_db_of_minus_20() -> None:
    starts = np.linspace(-42, -9, 12)
    out = evened([speech(12, start) + noise(12, start - 45) for start in starts], speech_from_db=-60)
    ends = [level(one[RATE * 8 :]) for one in out]
    assert np.std(ends) < 1
    assert np.mean(ends) == pytest.approx(-20, abs=1)


def test_gain_rises_by_8_and_falls_by_24_db_a_second_at_most() -> None:
    state = rows(2)
    steps = []
    before = np.zeros(2)
    both = np.stack([speech(4, -45), speech(4, -2)]).astype(np.float32)
    for start in range(0, RATE * 4, HOP):
        gain.control(state, both[:, start : start + HOP], np.array([True, True]))
        now = state[:, gain.LAYOUT["gain"]][:, 0].astype(np.float64)
        steps.append(now - before)
        before = now
    per_second = np.array(steps) * RATE / HOP
    assert per_second.max() <= 8.01
    assert per_second.min() >= -24.01


def test_without_speech_the_gain_stays_where_it_is() -> None:
    state = rows(1)
    for seed in range(300):
        gain.control(state, noise(0.01, -35, seed)[None].astype(np.float32), np.array([False]))
    assert state[0, gain.LAYOUT["gain"]][0] == 0


def test_background_is_not_lifted_above_minus_45() -> None:
    background = -58.0
    out = evened([speech(14, -44) + noise(14, background)], speech_from_db=-50)[0]
    pauses = np.convolve(np.abs(speech(14, -44)) > 0, np.ones(4000), mode="same") == 0
    late = np.arange(len(pauses)) > RATE * 8
    assert decibels(float(np.mean(out[pauses & late] ** 2))) < -44


def test_a_talker_who_turns_away_is_found_again() -> None:
    away = np.concatenate([speech(8, -12), speech(14, -40)])
    out = evened([away + noise(22, -75)], speech_from_db=-65)[0]
    assert level(out[RATE * 17 :]) == pytest.approx(-20, abs=2)


@pytest.mark.parametrize("level_db", [-40, -20, -6, 0, 10])
def test_no_sample_reaches_full_scale(level_db: float) -> None:
    sound = np.clip(speech(6, level_db) + noise(6, level_db - 30), -1, 1)
    assert np.max(np.abs(evened([sound]))) < 0.999


def test_the_limiter_alone_holds_minus_1_db_against_steps_and_clicks() -> None:
    chance = np.random.default_rng(5)
    state = rows(4)
    for _ in range(300):
        sound = (chance.standard_normal((4, SAMPLES)) * 10 ** chance.uniform(-2, 1, (4, 1))).astype(np.float32)
        assert np.max(np.abs(gain.limit(state, sound))) <= PEAK + 1e-4


def test_the_limiter_lets_go_slowly_enough_not_to_be_heard() -> None:
    state = rows(1)
    gain.limit(state, np.full((1, SAMPLES), 2.0, dtype=np.float32))
    after = np.concatenate([gain.limit(state, np.full((1, SAMPLES), 0.1, dtype=np.float32))[0] for _ in range(20)])
    assert after[0] < 0.06
    assert np.max(np.abs(np.diff(after))) < 0.1 * 0.002
    assert after[-1] == pytest.approx(0.1, rel=0.01)


def test_the_limiter_lets_quiet_sound_through_untouched_beside_a_loud_one() -> None:
    quiet = to_sound(to_frame(speech(0.02, -20).astype(np.float32)))
    loud = np.full(SAMPLES, 2.0, dtype=np.float32)
    out = gain.limit(rows(2), np.stack([quiet, loud]))
    assert np.array_equal(out[0], quiet)
    assert out[1].max() <= PEAK + 1e-4
