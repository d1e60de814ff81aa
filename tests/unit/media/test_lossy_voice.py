"""A voice through encoder, bad network, jitter buffer and decoder, in virtual time: how much of it is understood."""

from collections.abc import Callable

import numpy as np
import pytest

from media.frame import RATE, SAMPLES, TICK, Frame, to_frame
from media.jitter import JitterBuffer, Kind, Pop
from media.level import mean_square
from media.opus import Decoder, Encoder
from tests.support.network import Road, jittery, lossy
from tests.support.stoi import aligned, stoi

CLEAR = 0.98


def babbling(seconds: float) -> Frame:
    """Syllables of random pitch, length and vowel: no two are alike, so a shift by a period cannot pass as right."""
    random = np.random.default_rng(1)
    pieces = [np.zeros(RATE // 2)]
    while sum(map(len, pieces)) < seconds * RATE:
        count = int(random.uniform(0.12, 0.28) * RATE)
        pitch = np.geomspace(random.uniform(90, 240), random.uniform(90, 240), count)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        formants = random.uniform((250, 900), (850, 2600))
        voice = np.zeros(count)
        for harmonic in range(1, 40):
            hertz = harmonic * pitch.mean()
            loud = np.exp(-(((hertz - formants) / (0.12 * formants + 60)) ** 2)).sum() + 0.02
            voice += (hertz < 6000) * loud * np.sin(harmonic * phase)
        pieces += [voice * np.hanning(count), np.zeros(int(random.choice([0.02, 0.05, 0.3]) * RATE))]
    sound = np.concatenate(pieces)
    return to_frame((sound * 0.05 / np.sqrt(np.mean(sound**2))).astype(np.float32))


def through(sound: Frame, road: Road, reported: float) -> Frame:
    """What comes out of the buffer; `reported`: the loss that the sender was told of."""
    encoder, decoder, buffer = Encoder(), Decoder(), JitterBuffer()
    encoder.protect(reported)
    count = len(sound) // SAMPLES
    packets = [encoder.encode(sound[at * SAMPLES : (at + 1) * SAMPLES]) for at in range(count)]
    taken = [(number, road(number)) for number in range(count)]
    arriving = sorted((number * TICK + seconds, number) for number, seconds in taken if seconds is not None)
    make: dict[Kind, Callable[[Pop], Frame]] = {
        Kind.PLAY: lambda pop: decoder.decode(pop.payload),
        Kind.RECOVER: lambda pop: decoder.recover(pop.payload),
        Kind.CONCEAL: lambda _: decoder.conceal(),
        Kind.IDLE: lambda _: np.zeros(SAMPLES, np.int16),
    }
    heard: list[Frame] = []
    for tick in range(count + 20):
        now = tick * TICK + 0.007
        while arriving and arriving[0][0] <= now:
            at, number = arriving.pop(0)
            buffer.push(number * 960, packets[number], at)
        pop = buffer.pop(now, quiet=not heard or mean_square(heard[-1]) < 1e-5)
        heard.append(make[pop.kind](pop))
    return np.concatenate(heard)


def understood(road: Road, reported: float) -> float:
    """STOI."""
    sound = babbling(8)
    clean = sound[: len(sound) // SAMPLES * SAMPLES].astype(float)
    heard, _ = aligned(clean, through(sound, road, reported).astype(float), RATE)
    return stoi(clean, heard, RATE)


@pytest.mark.parametrize(
    ("road", "reported", "least"),
    [
        (lambda _: 0.0, 0.0, CLEAR),
        (jittery(0.060), 0.0, CLEAR),
        (lossy(0.05), 0.05, 0.93),
        (lossy(0.10), 0.10, 0.94),
        (lossy(0.20), 0.20, 0.91),
    ],
)  # fmt: skip
def test_a_voice_on_a_bad_network_is_understood(road: Road, reported: float, least: float) -> None:
    assert understood(road, reported) >= least


def test_the_copies_of_lost_frames_are_used() -> None:
    assert understood(lossy(0.10), 0.10) > understood(lossy(0.10), 0.0) + 0.01
