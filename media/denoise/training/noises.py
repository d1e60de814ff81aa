"""The noises that the net learns from: recorded, synthesised, and crowds of its own voices. Nothing that DEV has."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ...frame import RATE, Sound
from .sound import Random, convolved, level, read, room, stretched
from .synthesis import bumps, clatter, coloured, fan, keyboard, street, tune, wandering

AMBIENCES = "moodist/public/sounds"
LEFT_OUT = ("pink-noise", "silence", "binaural-*")
"Of the ambiences: the first is in DEV too, the others are not noise."
FREE = ("coffee-shop", "wind", "boat", "birds", "stream", "fireplace", "summer-night")
"Ambiences of the package `blanket` that are CC0 or in the public domain; only their last 45 % (DEV has the rest)."
MINUTES_OF_NOISE = 8
PIECE = 20
"Seconds of one noise."
NOISE = PIECE * RATE
_DEV_MUSIC = 3
"Pieces, the first by name, that DEV has."
_DEV_SHARE = 0.55
"Of each ambience of `blanket`, from its beginning, that DEV has."

Keys = tuple[list[Sound], list[Sound]]
"Recorded: going down, and up again."


def noises(random: Random, root: Path, voices: list[Sound]) -> Iterator[Sound]:
    played, places, boards = music(root), blanket(root), keyboards(root)
    n = NOISE
    kinds: list[tuple[float, Callable[[], Sound]]] = [
        (1.5, lambda: coloured(random, n)),
        (1.0, lambda: fan(random, n)),
        (1.5, lambda: wandering(random, n)),
        (1.5, lambda: keyboard(random, n)),
        (2.0, lambda: typed(random, n, boards)),
        (2.5, lambda: clatter(random, n)),
        (3.5, lambda: babble(random, n, voices, int(random.integers(4, 12)))),
        (1.5, lambda: cafe(random, n, voices)),
        (1.0, lambda: street(random, n)),
        (1.0, lambda: tune(random, n)),
        (1.5, lambda: excerpt(random, n, played[int(random.integers(len(played)))])),
        (1.0, lambda: excerpt(random, n, places[0])),
        (1.5, lambda: excerpt(random, n, places[int(random.integers(len(places)))])),
        (1.0, lambda: office(random, n, voices, keyboard(random, n))),
        (1.0, lambda: office(random, n, voices, typed(random, n, boards))),
    ]
    for share, make in kinds:
        for _ in range(int(share * MINUTES_OF_NOISE * 60 / PIECE)):
            yield level(make())


def surroundings(random: Random, places: list[Sound], voices: list[Sound]) -> Iterator[Sound]:
    """Recorded ones, and many talkers at once."""
    for place in places:
        for _ in range(6 if len(place) > 2 * NOISE else 3):
            yield level(excerpt(random, NOISE, place))
    for _ in range(90):
        yield level(babble(random, NOISE, voices, int(random.integers(2, 14))))
    for _ in range(30):
        yield level(cafe(random, NOISE, voices))


def music(root: Path) -> list[Sound]:
    """What DEV leaves of it."""
    paths = sorted((root / "x" / "asterisk-moh-opsound-g722").rglob("*.g722"), key=str)
    return [read(path) for path in paths[_DEV_MUSIC:]]


def blanket(root: Path) -> list[Sound]:
    """What DEV leaves of each."""
    whole = [read(root / "x" / "blanket_ogg" / f"{name}.ogg") for name in FREE]
    return [sound[int(len(sound) * _DEV_SHARE) :] for sound in whole]


def ambiences(root: Path) -> list[Sound]:
    paths = [one for one in sorted((root / "x" / AMBIENCES).rglob("*")) if one.suffix in (".mp3", ".wav")]
    chosen = [one for one in paths if not any(one.match(f"{name}.*") for name in LEFT_OUT)]
    return [level(sound) for path in chosen if len(sound := read(path)) > RATE]


def keyboards(root: Path) -> list[Keys]:
    """Those of the package `keyboardsounds` that carry a licence of their own (MIT)."""
    folders = [one.parent for one in sorted((root / "x" / "keyboardsounds").rglob("profiles/*/LICENSE"))]
    return [(recorded(folder, "press*.mp3"), recorded(folder, "release*.mp3")) for folder in folders]


def recorded(folder: Path, names: str) -> list[Sound]:
    return [read(path) for path in sorted(folder.glob(names))]


def typed(random: Random, n: int, boards: list[Keys]) -> Sound:
    """Somebody types on one of the recorded keyboards, larger or smaller, in some room."""
    speed, loud = random.uniform(0.75, 1.35), random.uniform(0.2, 1)
    down, up = (
        [stretched(one, speed * random.uniform(0.94, 1.06)) for one in way for _ in range(3)]
        for way in boards[int(random.integers(len(boards)))]
    )
    out = np.zeros(n + 3 * RATE, np.float32)
    at, pace = 0.0, random.uniform(0.04, 0.2)
    while at < n / RATE:
        if random.random() < 0.08:
            at += random.uniform(0.3, 1.2)
        for later, way, most in ((0.0, down, 1.0), (random.uniform(0.06, 0.14), up, loud)):
            start = int((at + later) * RATE)
            one = way[int(random.integers(len(way)))][: len(out) - start]
            out[start : start + len(one)] += one * np.float32(most * random.uniform(0.4, 1.2))
        at += random.exponential(pace) + 0.06
    hertz = np.arange(len(out) // 2 + 1) * RATE / len(out)
    shaped = np.fft.irfft(np.fft.rfft(out) * bumps(random, hertz), len(out))
    placed = convolved(shaped, room(random, random.uniform(0.08, 0.3), random.uniform(0.7, 3)))[:n]
    return level(level(placed) + random.uniform(0, 0.15) * coloured(random, n, 1.0))


def office(random: Random, n: int, voices: list[Sound], typing: Sound) -> Sound:
    people = level(babble(random, n, voices, 8)) * 0.8
    return level(people + level(typing) * random.uniform(0.4, 0.8) + level(fan(random, n)) * 0.5)


def babble(random: Random, n: int, voices: list[Sound], count: int) -> Sound:
    out = np.zeros(n, np.float32)
    for _ in range(count):
        one = np.zeros(n, np.float32)
        at, speed = -int(random.integers(0, RATE)), random.uniform(0.85, 1.18)
        while at < n:
            said = voices[int(random.integers(len(voices)))]
            said = np.interp(np.arange(int(len(said) / speed)) * speed, np.arange(len(said)), said)
            first, last = max(at, 0), min(at + len(said), n)
            if last > first:
                one[first:last] += said[first - at : last - at]
            at += len(said) + int(random.uniform(0, 0.5) * RATE)
        placed = convolved(one, room(random, random.uniform(0.2, 0.6), random.uniform(0.3, 1.2)))
        out += placed * np.float32(random.uniform(0.4, 1))
    return level(out)


def cafe(random: Random, n: int, voices: list[Sound]) -> Sound:
    """Many far voices, cups and chairs."""
    far = convolved(babble(random, n, voices, 12), 0.4 * np.float32(0.6) ** np.arange(32, dtype=np.float32))
    t = np.arange(int(0.3 * RATE)) / RATE
    clinks = np.zeros(n + RATE, np.float32)
    for _ in range(int(n / RATE * random.uniform(0.5, 3))):
        pitch = random.uniform(1200, 7000, 4)
        ring = (np.sin(2 * np.pi * pitch[:, None] * t) * np.exp(-t / random.uniform(0.01, 0.08, (4, 1)))).sum(axis=0)
        start = int(random.integers(0, n))
        clinks[start : start + len(t)] += ring * random.uniform(0.1, 1)
    cups = convolved(clinks, room(random, 0.3, 1.0))[:n]
    return level(
        level(far) + random.uniform(0.2, 0.9) * level(cups) + random.uniform(0.1, 0.6) * coloured(random, n, 1.2)
    )


def excerpt(random: Random, n: int, sound: Sound) -> Sound:
    """Somewhere in it, at another speed; looped where it is short."""
    need = int(n * 1.3)
    whole = np.tile(sound, -(-need // len(sound))) if len(sound) < need else sound
    for _ in range(20):
        start = int(random.integers(0, len(whole) - need + 1))
        piece = whole[start : start + need]
        if np.sqrt(np.mean(piece**2)) > 0.01:
            break
    return level(stretched(piece, random.uniform(0.85, 1.18))[:n])
