"""The sound the net learns from, as band amplitudes on disk.

    python -m media.denoise.training.corpus FOLDER

FOLDER/x holds unpacked packages and cloned repositories (`docs/denoise.md` tells which); FOLDER/train gets
`speech.f16`, `noise.f16`, float16 (frames, BANDS). Training mixes these with random phases, so any talker, noise,
level and filter costs an addition and not a transform. Free material only (`WEIGHTS.md`); no DEV talker, no reserved
language.
"""

import argparse
import itertools
import os
import pydoc_data.topics
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, lfilter, resample

from ...frame import HOP, RATE, Sound
from ..analysis import ANALYSIS, SIZE, WEIGHTS, power

Random = np.random.Generator
Amplitudes = npt.NDArray[np.float16]

TALKERS = ("fr", "ru")
"Asterisk core sounds, CC-BY-SA-3.0: real voices."
READER = "nsh"
"Who read 620 Russian sentences for the Festival voice of Debian's `festvox-ru`: real, and silent between words."
SYNTHETIC = ("slt", "rms", "awb", "kal16")
"Flite voices."
READERS = ("dataset-voice-kathleen", "dataset-voice-kerstin", "dataset-voice-nathalie", "dataset-voice-flemishguy")
"Repositories of one talker's sentences each (English, German, Dutch, Flemish), CC0."
CROWDS = (
    "Resemblyzer/audio_data/librispeech_train-clean-100",
    "Resemblyzer/audio_data/librispeech_test-other",
    "autovc/wavs",
)
"Folders of sentences of many talkers: LibriSpeech and VCTK, CC-BY-4.0."
AMBIENCES = "moodist/public/sounds"
LEFT_OUT = ("pink-noise", "silence", "binaural-*")
"Of the ambiences: the first is in DEV too, the others are not noise."
SPEEDS = (0.80, 0.88, 0.96, 1.04, 1.14, 1.26)
"Played slower or faster a voice is another talker: pitch and formants move."
FREE = ("coffee-shop", "wind", "boat", "birds", "stream", "fireplace", "summer-night")
"Ambiences of the package `blanket` that are CC0 or in the public domain; only their last 45 % (DEV has the rest)."
MINUTES_OF_FLITE = 6
MINUTES_OF_NOISE = 8


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    root: Path = options.parse_args().folder
    (root / "train").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    talkers = {one: prompts(root, one) for one in TALKERS}
    talkers |= {READER: sentences(root), **{one: synthetic(root, one) for one in SYNTHETIC}}
    crowd = recordings(root)
    print({name: round(sum(map(len, one)) / RATE / 60, 1) for name, one in (talkers | crowd).items()})
    write(root / "train" / "speech.f16", speech(random, talkers))
    made = noises(random, root, [one for some in talkers.values() for one in some])
    found = surroundings(random, ambiences(root), [one for some in crowd.values() for one in some])
    write(root / "train" / "noise.f16", itertools.chain(made, found))


def heard(sound: Sound) -> Amplitudes:
    """Any length -> (hops, BANDS): how strong each band is."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, SIZE)[::HOP]
    pieces = []
    for start in range(0, len(frames), 4096):
        one = np.fft.rfft(frames[start : start + 4096] * ANALYSIS).astype(np.complex64)
        pieces.append(np.sqrt(power(one) @ WEIGHTS.T).astype(np.float16))
    return np.concatenate(pieces)


def write(path: Path, sounds: Iterator[Sound]) -> None:
    """One file of all."""
    total = 0
    with path.open("wb") as file:
        for sound in sounds:
            one = heard(sound)
            one.tofile(file)
            total += len(one)
            print(path.name, f"{total / 6000:.1f} min", file=sys.stderr, flush=True)


def level(sound: Sound | npt.NDArray[np.float64], rms: float = 0.1) -> Sound:
    out: Sound = (sound * (rms / (np.sqrt(np.mean(sound**2)) + 1e-9))).astype(np.float32)
    return out


# Speech


def read(path: Path) -> Sound:
    """Mono at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as file:
        pieces = [out.to_ndarray()[0] for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def trimmed(sound: Sound) -> Sound | None:
    """Without the silence around it; None for what is too short or too noisy to learn from."""
    power = 10 * np.log10(np.mean(sound[: len(sound) // HOP * HOP].reshape(-1, HOP) ** 2, axis=1) + 1e-10)
    if len(power) < 60:
        return None
    loud = np.percentile(power, 95)
    if loud - np.percentile(power, 5) < 28 or loud < -40:
        return None
    spoken = np.flatnonzero(power > loud - 38)
    out = sound[max(spoken[0] - 4, 0) * HOP : (spoken[-1] + 5) * HOP].copy()
    fade = np.linspace(0, 1, HOP, dtype=np.float32)
    out[:HOP] *= fade
    out[-HOP:] *= fade[::-1]
    active = power > loud - 25
    scaled: Sound = (out * (0.1 / np.sqrt(np.mean(10 ** (power[active] / 10))))).astype(np.float32)
    return scaled


def prompts(root: Path, language: str) -> list[Sound]:
    folder = root / "x" / f"asterisk-core-sounds-{language}-g722"
    paths = [
        p
        for p in sorted(folder.rglob("*.g722"))
        if not re.search(r"silence|beep|tt-|ring|monkey", str(p.relative_to(folder)))
    ]
    return [one for path in paths if (one := trimmed(read(path))) is not None]


def sentences(root: Path) -> list[Sound]:
    paths = sorted((root / "x" / "festvox-ru").rglob("wav/*.wav"))
    return [one for path in paths if (one := trimmed(read(path))) is not None]


def recordings(root: Path) -> dict[str, list[Sound]]:
    """Of the cloned repositories, as they are, at one loudness; a crowd counts as one talker."""
    return {
        name: [
            one
            for path in sorted((root / "x" / name).rglob("*"))
            if path.suffix in (".wav", ".flac") and (one := spoken(read(path))) is not None
        ]
        for name in (*READERS, *CROWDS)
    }


def spoken(sound: Sound) -> Sound | None:
    """As loud as all others where it is loud; None for what is short or faint."""
    if len(sound) < RATE:
        return None
    power = 10 * np.log10(np.mean(sound[: len(sound) // HOP * HOP].reshape(-1, HOP) ** 2, axis=1) + 1e-10)
    loud = np.percentile(power, 95)
    if loud < -45:
        return None
    active = power > loud - 25
    scaled: Sound = (sound * (0.1 / np.sqrt(np.mean(10 ** (power[active] / 10))))).astype(np.float32)
    return scaled


def ambiences(root: Path) -> list[Sound]:
    paths = [one for one in sorted((root / "x" / AMBIENCES).rglob("*")) if one.suffix in (".mp3", ".wav")]
    chosen = [one for one in paths if not any(one.match(f"{name}.*") for name in LEFT_OUT)]
    return [level(sound) for path in chosen if len(sound := read(path)) > RATE]


def synthetic(root: Path, voice: str) -> list[Sound]:
    """Flite reads the documentation of Python."""
    text = " ".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    lines = [s.strip() for s in re.split(r"(?<=[a-z][.?!])\s+", re.sub(r"\s+", " ", text))]
    lines = [s for s in lines if re.fullmatch(r"[A-Z][A-Za-z ,'-]{30,140}[.?!]", s)]
    chance = np.random.default_rng(len(voice) + ord(voice[0]))
    flite = root / "x" / "flite" / "usr" / "bin" / "flite"
    library = root / "x" / "libflite1" / "usr" / "lib" / "x86_64-linux-gnu"
    out: list[Sound] = []
    spoken = root / "spoken.wav"
    for at in chance.permutation(len(lines)):
        pace = f"duration_stretch={chance.uniform(0.85, 1.15):.2f}"
        subprocess.run(  # noqa: S603 - our own arguments
            [flite, "-voice", voice, "--setf", pace, "-t", lines[at], "-o", spoken],
            check=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(library)},
        )
        if (one := trimmed(read(spoken))) is not None:
            out.append(one)
        if sum(map(len, out)) > MINUTES_OF_FLITE * 60 * RATE:
            break
    return out


def speech(random: Random, talkers: dict[str, list[Sound]]) -> Iterator[Sound]:
    """Each talker at each speed, sentences in random order with pauses; one in four in a small room."""
    for name, talker in talkers.items():
        share = 3 if name == READER else 1  # he alone has read for longer than all others together
        for speed in SPEEDS[1:5:3] if name in SYNTHETIC else SPEEDS:
            pieces: list[Sound] = []
            for at in random.permutation(len(talker))[: len(talker) // share]:
                one = talker[at] * np.float32(10 ** (random.uniform(-3, 3) / 20))
                pieces += [one, np.zeros(int(random.uniform(0.1, 0.9) ** 1.5 * RATE), np.float32)]
            whole = np.concatenate(pieces)
            whole = stretched(whole, speed * random.uniform(0.97, 1.03))
            if random.random() < 0.25:
                whole = level(fftconvolve(whole, room(random, random.uniform(0.12, 0.35), 1.5))[: len(whole)], 0.08)
            yield whole.astype(np.float32)


def stretched(sound: Sound, speed: float) -> Sound:
    """By pieces of a second, as one transform of an hour would take long."""
    size = RATE * 20
    pieces = [sound[i : i + size] for i in range(0, len(sound), size)]
    return np.concatenate([resample(one, max(1, int(len(one) / speed))) for one in pieces]).astype(np.float32)


def room(random: Random, seconds: float, direct: float) -> Sound:
    """Decaying noise after a direct sound that is `direct` times as strong in total."""
    n = int(seconds * RATE)
    tail = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[: int(0.002 * RATE)] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = direct
    return tail.astype(np.float32)


# Noise

PIECE = 20
"Seconds of one noise."
NOISE = PIECE * RATE


def noises(random: Random, root: Path, voices: list[Sound]) -> Iterator[Sound]:
    music = [read(path) for path in sorted((root / "x" / "asterisk-moh-opsound-g722").rglob("*.g722"))[3:]]
    ambiences = [(sound := read(root / "x" / "blanket_ogg" / f"{name}.ogg"))[int(len(sound) * 0.55) :] for name in FREE]
    boards = keyboards(root)
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
        (1.5, lambda: excerpt(random, n, music[int(random.integers(len(music)))])),
        (1.0, lambda: excerpt(random, n, ambiences[0])),
        (1.5, lambda: excerpt(random, n, ambiences[int(random.integers(len(ambiences)))])),
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
    out = fftconvolve(out, room(random, 0.15, 2.0))[:n]
    return level(level(out) + random.uniform(0, 0.15) * coloured(random, n, 1.0))


Keys = tuple[list[Sound], list[Sound]]
"Recorded: going down, and up again."


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
    placed = fftconvolve(shaped, room(random, random.uniform(0.08, 0.3), random.uniform(0.7, 3)))[:n]
    return level(level(placed) + random.uniform(0, 0.15) * coloured(random, n, 1.0))


def office(random: Random, n: int, voices: list[Sound], typing: Sound) -> Sound:
    people = level(babble(random, n, voices, 8)) * 0.8
    return level(people + level(typing) * random.uniform(0.4, 0.8) + level(fan(random, n)) * 0.5)


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
    out = fftconvolve(out, room(random, random.uniform(0.08, 0.3), 2.0))[:n]
    return level(level(out) + random.uniform(0, 0.12) * coloured(random, n))


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
        out += fftconvolve(one, room(random, random.uniform(0.2, 0.6), random.uniform(0.3, 1.2)))[:n] * random.uniform(
            0.4, 1
        )
    return level(out)


def cafe(random: Random, n: int, voices: list[Sound]) -> Sound:
    """Many far voices, cups and chairs."""
    far = lfilter([0.4], [1, -0.6], babble(random, n, voices, 12))
    t = np.arange(int(0.3 * RATE)) / RATE
    clinks = np.zeros(n + RATE, np.float32)
    for _ in range(int(n / RATE * random.uniform(0.5, 3))):
        pitch = random.uniform(1200, 7000, 4)
        ring = (np.sin(2 * np.pi * pitch[:, None] * t) * np.exp(-t / random.uniform(0.01, 0.08, (4, 1)))).sum(axis=0)
        start = int(random.integers(0, n))
        clinks[start : start + len(t)] += ring * random.uniform(0.1, 1)
    cups = fftconvolve(clinks, room(random, 0.3, 1.0))[:n]
    return level(
        level(far) + random.uniform(0.2, 0.9) * level(cups) + random.uniform(0.1, 0.6) * coloured(random, n, 1.2)
    )


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


if __name__ == "__main__":
    main()
