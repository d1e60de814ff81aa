"""Echo is told from conversation by the shape of loudness alone."""

import numpy as np
import numpy.typing as npt
import pytest

from media.echo import WINDOW, EchoWatch

Curve = npt.NDArray[np.float64]


def talk(ticks: int, seed: int, level: float = -22.0) -> Curve:
    """dBFS of somebody who speaks in syllables, words and sentences."""
    chance = np.random.default_rng(seed)
    out = np.full(ticks, -75.0)
    at = 0
    while at < ticks:
        for _ in range(int(chance.integers(3, 12))):  # a sentence
            length = int(chance.integers(6, 20))
            shape = level - 25 * np.abs(np.linspace(-1, 1, length)) ** 2 + chance.normal(0, 3, length)
            out[at : at + length] = shape[: max(0, min(length, ticks - at))]
            at += length + int(chance.integers(0, 5))
        at += int(chance.integers(10, 60))
    return out


def louder(*curves: Curve) -> Curve:
    """What a microphone makes of several sounds at once."""
    out: Curve = 10 * np.log10(np.sum([10 ** (one / 10) for one in curves], axis=0))
    return out


def late(curve: Curve, ticks: int) -> Curve:
    return np.concatenate((np.full(ticks, -75.0), curve[: len(curve) - ticks]))


def power(level: float) -> float:
    return float(10 ** (level / 10))


def share_returning(played: Curve, heard: Curve) -> float:
    """Of the seconds in which it could say."""
    watch, said = EchoWatch(), []
    for tick, (one, other) in enumerate(zip(played, heard, strict=True)):
        watch.add(power(one), power(other))
        if tick > WINDOW + 50 and tick % 50 == 0:
            said.append(watch.returning)
    return float(np.mean(said))


@pytest.mark.parametrize("delay", [1, 8, 25])
@pytest.mark.parametrize("loss", [6, 18])
def test_the_callers_voice_that_comes_back_is_noticed(delay: int, loss: float) -> None:
    played = talk(3000, 1)
    heard = louder(late(played - loss, delay), np.full(3000, -60.0))
    assert share_returning(played, heard) > 0.9


def test_two_people_who_talk_in_turn_are_no_echo() -> None:
    caller, agent = talk(3000, 2), talk(3000, 3)
    turn = (np.arange(3000) // 200) % 2 == 0
    caller[turn], agent[~turn] = -75.0, -75.0
    assert share_returning(caller, louder(agent, np.full(3000, -60.0))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_two_people_who_talk_at_once_are_no_echo(seed: int) -> None:
    assert share_returning(talk(3000, 10 + seed), talk(3000, 20 + seed)) == 0


def test_silence_and_steady_noise_are_no_echo() -> None:
    quiet, hum = np.full(2000, -100.0), np.full(2000, -40.0)
    for played, heard in ((quiet, quiet), (quiet, hum), (hum, quiet), (hum, hum), (quiet, talk(2000, 4))):
        assert share_returning(played, heard) == 0


def test_an_echo_too_soft_to_be_heard_is_not_worth_a_warning() -> None:
    played = talk(3000, 5)
    assert share_returning(played, late(played - 40, 5)) == 0


def test_after_clear_nothing_is_said_for_five_seconds() -> None:
    played = talk(600, 6)
    watch = EchoWatch()
    for one in played:
        watch.add(power(one), power(one - 10))
    assert watch.returning
    watch.clear()
    for one in played[:WINDOW]:
        watch.add(power(one), power(one - 10))
        assert not watch.returning
