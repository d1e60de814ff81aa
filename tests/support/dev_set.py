"""The DEV set: 40 clips, 8 kinds of noise at 0 to 20 dB under talkers whom no net of ours has learnt from."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .dev_sounds import FS, Sound, active_rms, files, number, read, root, utterance

SEED = 20261122
KINDS = ("white_pink", "fan_hum", "babble", "keyboard", "street", "cafe", "music", "office")
DIGEST = "2581cb7b6521fc06"
"Of the whole set: another one means that other sounds were judged."
_SNRS = (0, 5, 10, 15, 20)
_TALKERS = ("en", "cs-v", "es", "en", "cs-m", "cs-v", "en", "es")
_BABBLE = ("fr", "ru", "cs-m", "cs-v")

Random = np.random.Generator
Any64 = npt.NDArray[np.float64] | Sound


@dataclass(frozen=True, slots=True)
class Clip:
    """`noisy` is `clean` with noise, 5 to 7 s at 16 kHz, as 16-bit files would hold them."""

    name: str
    kind: str
    snr: int
    clean: Sound
    noisy: Sound


def clips() -> Iterator[Clip]:
    """All 40; `dev_sounds.fetch` first."""
    for at_kind, kind in enumerate(KINDS):
        for at_snr, snr in enumerate(_SNRS):
            random = np.random.default_rng([SEED, at_kind, at_snr])
            talker = _TALKERS[(at_kind + 3 * at_snr) % len(_TALKERS)]
            n = int(random.uniform(5.0, 7.0) * FS)
            clean: Any64 = talk(random, talker, n)
            dirt: Any64 = noise(random, n, kind, talker)
            level = 10 ** (random.uniform(-30, -22) / 20)
            clean, dirt = clean * level, dirt * level * 10 ** (-snr / 20)
            fit = min(1.0, 0.97 / np.max(np.abs(clean + dirt)))
            clean, dirt = clean * fit, dirt * fit
            yield Clip(f"{kind}_{snr:02d}dB_{talker}", kind, snr, _stored(clean), _stored(clean + dirt))


def digest(of: list[Clip]) -> str:
    whole = hashlib.sha256()
    for clip in of:
        whole.update(np.round(clip.noisy * 32768).astype("<i2").tobytes())
    return whole.hexdigest()[:16]


def talk(random: Random, talker: str, n: int) -> Sound:
    """Sentences with pauses, `active_rms` 1."""
    paths = files(talker, "dev")
    out = np.zeros(n, np.float32)
    at = int(random.uniform(0.5, 0.9) * FS)
    while at < n - FS:
        said = utterance(paths[int(random.integers(len(paths)))])
        if said is None:
            continue
        said = said / active_rms(said) * 10 ** (random.uniform(-1.5, 1.5) / 20)
        size = min(len(said), n - at)
        if size < len(said):
            said = said[:size].copy()
            said[-320:] *= np.linspace(1, 0, 320)
        out[at : at + size] = said[:size]
        at += size + int(random.uniform(0.25, 0.7) * FS)
    return out / active_rms(out)


def noise(random: Random, n: int, kind: str, talker: str) -> Sound:
    """`talker` is not among the voices of a babble; rms 1."""
    match kind:
        case "white_pink":
            return _even(_coloured(random, n, random.choice([0.0, 1.0, 0.5])))
        case "fan_hum":
            return _even(_fan(random, n) + random.uniform(0.3, 1.0) * _hum(random, n))
        case "babble":
            return _babble(random, n, talker)
        case "keyboard":
            return _keyboard(random, n)
        case "street":
            place = ("city", "train", "city", "wind")[int(random.integers(4))]
            return _even(_ambience(random, n, place) + 0.2 * _ambience(random, n, "rain"))
        case "cafe":
            return _even(_ambience(random, n, "coffee-shop"))
        case "music":
            return _music(random, n)
        case _:
            people = 0.8 * _babble(random, n, talker, 8)
            typing = random.uniform(0.4, 0.8) * _keyboard(random, n)
            return _even(people + typing + 0.5 * _fan(random, n))


def _stored(sound: Any64) -> Sound:
    """What a 16-bit file, written by libsndfile, gives back: it cuts the lower half of 32 bits off."""
    out: Sound = (np.floor(np.rint(np.clip(sound, -1, 1) * 0x7FFFFFFF) / 65536) / 32768).astype(np.float32)
    return out


def _even(sound: Any64) -> Sound:
    out: Sound = (sound / (np.sqrt(np.mean(sound**2)) + 1e-12)).astype(np.float32)
    return out


def _coloured(random: Random, n: int, slope: float) -> Sound:
    bins = np.arange(n // 2 + 1)
    spectrum = random.standard_normal(n // 2 + 1) + 1j * random.standard_normal(n // 2 + 1)
    spectrum *= np.maximum(bins, 20 * n / FS) ** (-slope / 2)
    return np.fft.irfft(spectrum, n).astype(np.float32)


def _hum(random: Random, n: int) -> Sound:
    base = random.choice([50.0, 60.0])
    t = np.arange(n) / FS
    out = np.zeros(n)
    for k in range(1, 24):
        strength = 1 / k ** random.uniform(0.6, 1.6)
        drift = 0.0002 * np.cumsum(random.standard_normal(n)) / FS
        out = out + strength * np.sin(2 * np.pi * base * k * (t + drift) + random.uniform(0, 6.28))
    return _even(out)


def _fan(random: Random, n: int) -> Sound:
    t = np.arange(n) / FS
    turns, blades = random.uniform(14, 40), random.integers(5, 9)
    swell = 1 + 0.15 * np.sin(2 * np.pi * turns * t) + 0.1 * np.sin(2 * np.pi * random.uniform(0.2, 0.8) * t)
    out = _even(_coloured(random, n, random.uniform(1.0, 1.8))) * swell
    for k in range(1, 5):
        out = out + 0.25 / k * np.sin(2 * np.pi * turns * blades * k * t + random.uniform(0, 6.28))
    return _even(out + 0.3 * _even(_coloured(random, n, 0)))


def _room(random: Random, seconds: float, direct: float) -> Sound:
    n = int(seconds * FS)
    out = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    out[0] = 8 * direct
    return out.astype(np.float32)


def _in_room(sound: Sound, room: Sound) -> Sound:
    size = 1 << (len(sound) + len(room) - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(room, size), size)[: len(sound)].astype(np.float32)


def _babble(random: Random, n: int, talker: str, voices: int = 0) -> Sound:
    paths = [one for other in _BABBLE if other != talker for one in files(other, "train")]
    out = np.zeros(n, np.float32)
    for _ in range(voices or int(random.integers(6, 11))):
        voice = np.zeros(n, np.float32)
        at, speed = -int(random.integers(0, FS)), random.uniform(0.88, 1.14)
        while at < n:
            said = utterance(paths[int(random.integers(len(paths)))])
            if said is None:
                continue
            size = int(len(said) / speed)
            said = np.interp(np.arange(size) * speed, np.arange(len(said)), said).astype(np.float32)
            said = said / (active_rms(said) + 1e-9)
            first, last = max(at, 0), min(at + size, n)
            if last > first:
                voice[first:last] += said[first - at : last - at]
            at += size + int(random.uniform(0, 0.4) * FS)
        room = _room(random, random.uniform(0.2, 0.6), random.uniform(0.3, 1.2))
        out += _in_room(voice, room) * random.uniform(0.5, 1)
    return _even(out)


def _keyboard(random: Random, n: int) -> Sound:
    paths = sorted((root() / "x" / "bucklespring-data").rglob("*.wav"), key=str)
    codes = sorted({path.name[:2] for path in paths})
    keys = [sorted(p for p in paths if p.name[:2] == code) for code in codes if number("key" + code) % 2 == 0]
    out = np.zeros(n, np.float32)
    at = random.uniform(0, 0.3)
    while at < n / FS:
        if random.random() < 0.08:
            at += random.uniform(0.3, 1.0)
        for later, path in enumerate(keys[int(random.integers(len(keys)))]):
            start = int((at + later * random.uniform(0.07, 0.12)) * FS)
            stroke = read(path) * random.uniform(0.5, 1.2)
            end = min(start + len(stroke), n)
            if end > start:
                out[start:end] += stroke[: end - start]
        at += random.exponential(0.08) + 0.07
    return _even(_even(_in_room(out, _room(random, 0.15, 2.0))) + 0.1 * _even(_coloured(random, n, 1)))


def _ambience(random: Random, n: int, name: str) -> Sound:
    whole = read(root() / "x" / "blanket_ogg" / f"{name}.ogg")
    sound = whole[: int(len(whole) * 0.55)]
    if len(sound) < n:  # looped, with 50 ms of crossfade
        size = int(0.05 * FS)
        rise = np.linspace(0, 1, size, dtype=np.float32)
        longer = sound.copy()
        while len(longer) < n:
            joint = longer[-size:] * (1 - rise) + sound[:size] * rise
            longer = np.concatenate([longer[:-size], joint, sound[size:]])
        sound = longer
    start = int(random.integers(0, len(sound) - n + 1))
    return _even(sound[start : start + n])


def _music(random: Random, n: int) -> Sound:
    paths = sorted((root() / "x" / "asterisk-moh-opsound-g722").rglob("*.g722"), key=str)[:3]
    sound = read(paths[int(random.integers(len(paths)))])
    piece = sound[:n]
    for _ in range(20):
        start = int(random.integers(0, len(sound) - n))
        piece = sound[start : start + n]
        if np.sqrt(np.mean(piece**2)) > 0.01:
            break
    return _even(piece)
