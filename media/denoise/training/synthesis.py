"""Noises made by rule: whatever no free recording has enough of. Each one differs."""

import numpy as np
import numpy.typing as npt

from ...frame import RATE, Sound
from .sound import Random, convolved, level, room


def coloured(random: Random, n: int, slope: float | None = None) -> Sound:
    slope = random.uniform(0, 2.2) if slope is None else slope
    bins = n // 2 + 1
    hertz = np.maximum(np.arange(bins) * RATE / n, 20)
    shape = hertz ** (-slope / 2) * bumps(random, hertz)
    return level(np.fft.irfft((random.standard_normal(bins) + 1j * random.standard_normal(bins)) * shape, n))


def bumps(random: Random, hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A smooth random filter of +-8 dB."""
    at = np.linspace(np.log(20), np.log(8000), 7)
    return 10 ** (np.interp(np.log(np.maximum(hertz, 20)), at, random.uniform(-8, 8, 7)) / 20)


def fan(random: Random, n: int) -> Sound:
    """A ventilator and the mains."""
    t = np.arange(n) / RATE
    blades = random.uniform(60, 320)
    drift = np.cumsum(random.standard_normal(n)) * 2e-5
    out = coloured(random, n, random.uniform(0.8, 1.9)) * (1 + 0.15 * np.sin(2 * np.pi * random.uniform(0.3, 30) * t))
    for k in range(1, 6):
        out = out + random.uniform(0, 0.06) / k * np.sin(2 * np.pi * blades * k * t + drift)
    mains = random.choice([50.0, 60.0])
    for k in range(1, 24):
        out = out + random.uniform(0, 0.08) / k ** random.uniform(0.5, 1.5) * np.sin(2 * np.pi * mains * k * t + k)
    return level(out)


def wandering(random: Random, n: int) -> Sound:
    """Noise in bursts, whose colour changes: paper, breath, cars, whatever is not steady."""
    out = np.zeros(n, np.float32)
    for _ in range(3):
        knots = np.sort(random.uniform(0, n, int(n / RATE * random.choice([0.5, 2, 6]))))
        heights = 10 ** (random.uniform(-30, 0, len(knots)) / 20)
        out += coloured(random, n) * np.interp(np.arange(n), knots, heights)
    return level(out)


def keyboard(random: Random, n: int) -> Sound:
    """Strokes: a tick, a thud when the key lands, and again when it lets go; each excites a few resonances."""
    out = np.zeros(n + 3 * RATE, np.float32)
    bodies = [
        (random.uniform(150, 6500, 6), random.uniform(0.002, 0.025, 6), random.uniform(0.1, 1, 6)) for _ in range(24)
    ]
    t = np.arange(int(0.08 * RATE)) / RATE
    at, pace = 0.0, random.uniform(0.06, 0.25)
    hiss = random.uniform(0.3, 2.5)
    while at < n / RATE:
        if random.random() < 0.08:
            at += random.uniform(0.3, 1.2)
        pitch, decay, weight = bodies[int(random.integers(len(bodies)))]
        for later, loud in (
            (0.0, random.uniform(0.1, 0.7)),
            (random.uniform(0.004, 0.03), 1.0),
            (random.uniform(0.06, 0.14), random.uniform(0.2, 0.9)),
        ):
            jitter = pitch * random.uniform(0.95, 1.05, 6)
            stroke = (
                weight[:, None]
                * np.sin(2 * np.pi * jitter[:, None] * t + random.uniform(0, 6, (6, 1)))
                * np.exp(-t / decay[:, None])
            ).sum(axis=0)
            stroke += hiss * random.standard_normal(len(t)) * np.exp(-t / random.uniform(0.001, 0.006))
            start = int((at + later) * RATE)
            out[start : start + len(t)] += stroke * loud * random.uniform(0.5, 1.2)
        at += random.exponential(pace) + 0.06
    out = convolved(out, room(random, 0.15, 2.0))[:n]
    return level(level(out) + random.uniform(0, 0.15) * coloured(random, n, 1.0))


def clatter(random: Random, n: int) -> Sound:
    """Hard short sounds: springs, doors, cutlery. Bursts of coloured noise, in twos and threes, that ring a little."""
    out = np.zeros(n + 3 * RATE, np.float32)
    size = int(0.25 * RATE)
    t = np.arange(size) / RATE
    kinds = []
    for _ in range(int(random.integers(4, 16))):
        body = coloured(random, size, random.uniform(-1.0, 1.5)) * np.exp(-t / 10 ** random.uniform(-2.6, -1.3))
        pitch = random.uniform(400, 7000, 4)
        ring = np.sin(2 * np.pi * pitch[:, None] * t) * np.exp(-t / 10 ** random.uniform(-2.3, -1.2, (4, 1)))
        attack = np.minimum(t / random.uniform(0.0001, 0.004), 1)
        kinds.append(level(body * attack) + level(ring.sum(axis=0)) * random.uniform(0, 0.7))
    at, pace = 0.0, 10 ** random.uniform(-1.1, 0.1)
    while at < n / RATE:
        one = kinds[int(random.integers(len(kinds)))]
        for later in np.cumsum(random.uniform(0.01, 0.13, int(random.integers(1, 4)))):
            start = int((at + later) * RATE)
            out[start : start + size] += one * random.uniform(0.2, 1.2)
        at += random.exponential(pace) + 0.05
    out = convolved(out, room(random, random.uniform(0.08, 0.3), 2.0))[:n]
    return level(level(out) + random.uniform(0, 0.12) * coloured(random, n))


def street(random: Random, n: int) -> Sound:
    """Cars that come and go over a far roar."""
    t = np.arange(n) / RATE
    out = coloured(random, n, random.uniform(1.2, 2.2))
    for _ in range(int(random.integers(2, 7))):
        passing = np.exp(-(((t - random.uniform(0, n / RATE)) / random.uniform(0.5, 3)) ** 2))
        engine = sum(np.sin(2 * np.pi * random.uniform(40, 120) * k * t + k) / k for k in range(1, 6))
        out = out + passing * (coloured(random, n, random.uniform(0.3, 1.5)) * random.uniform(0.5, 3) + 0.05 * engine)
    return level(out)


def tune(random: Random, n: int) -> Sound:
    """Notes of a few partials over drums of noise."""
    out = np.zeros(n + 2 * RATE, np.float32)
    t = np.arange(int(1.5 * RATE)) / RATE
    beat, at = random.uniform(0.15, 0.5), 0.0
    partials = random.uniform(0, 1, 8) / np.arange(1, 9) ** random.uniform(0.5, 1.5)
    while at < n / RATE:
        start = int(at * RATE)
        for _ in range(int(random.integers(1, 4))):
            pitch = 110 * 2 ** (random.integers(0, 36) / 12)
            note = sum(
                p * np.sin(2 * np.pi * pitch * (k + 1) * t) for k, p in enumerate(partials) if pitch * (k + 1) < 7800
            )
            out[start : start + len(t)] += note * np.exp(-t / random.uniform(0.1, 1)) * np.minimum(t / 0.01, 1)
        if random.random() < 0.5:
            out[start : start + len(t)] += (
                random.uniform(0.1, 1) * random.standard_normal(len(t)) * np.exp(-t / random.uniform(0.01, 0.08))
            )
        at += beat
    return level(out[:n])
