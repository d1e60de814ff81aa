"""The voices that the net learns from, all at one loudness. None of DEV (`tests/support/dev_sounds.py`), no Italian."""

import os
import pydoc_data.topics
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...frame import HOP, RATE, Sound
from .sound import Random, convolved, level, read, room, stretched

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
SPEEDS = (0.80, 0.88, 0.96, 1.04, 1.14, 1.26)
"Played slower or faster a voice is another talker: pitch and formants move."
MINUTES_OF_FLITE = 6


def packaged(root: Path) -> dict[str, list[Sound]]:
    """By talker: those of Debian's packages."""
    talkers = {one: prompts(root, one) for one in TALKERS}
    return talkers | {READER: sentences(root), **{one: synthetic(root, one) for one in SYNTHETIC}}


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
            for at in random.permutation(len(talker))[: -(-len(talker) // share)]:
                one = talker[at] * np.float32(10 ** (random.uniform(-3, 3) / 20))
                pieces += [one, np.zeros(int(random.uniform(0.1, 0.9) ** 1.5 * RATE), np.float32)]
            whole = np.concatenate(pieces)
            whole = stretched(whole, speed * random.uniform(0.97, 1.03))
            if random.random() < 0.25:
                whole = level(convolved(whole, room(random, random.uniform(0.12, 0.35), 1.5)), 0.08)
            yield whole.astype(np.float32)
