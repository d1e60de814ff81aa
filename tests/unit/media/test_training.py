"""What the voice net learns from, made of a small folder of tones: shapes, levels, and that nothing of DEV comes in."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media.denoise.analysis import BANDS, SIZE
from media.denoise.training import corpus, noises, synthesis, voices
from media.denoise.training.sound import convolved, level, read, resampled, room, stretched
from media.frame import HOP, RATE, Sound
from tests.unit.media.synthetic import speech

SUPPORT = Path(__file__).parents[2] / "support"
OURS, DEV = 2500.0, 700.0
"Hertz of what may be learnt from, and of what may not."
FLITE = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
cp "$(dirname "$0")/said.wav" "$2"
"""


def tone(hertz: float, seconds: float) -> Sound:
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def said(hertz: float, seconds: float = 2.0) -> Sound:
    """A tone with silence around it, which counts as a clean voice."""
    out = tone(hertz, seconds)
    out[: RATE // 4] *= 1e-4
    out[-RATE // 4 :] *= 1e-4
    return out


def keep(path: Path, sound: Sound) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    narrow = path.suffix == ".g722"
    with av.open(str(path), "w", format="g722" if narrow else "wav") as file:
        stream = file.add_stream("g722" if narrow else "pcm_s16le", rate=RATE, layout="mono")
        for at in range(0, len(sound) - 319, 320):
            pcm = (sound[at : at + 320] * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that `corpus` wants, in seconds, and DEV's own beside it."""
    x = tmp_path / "x"
    for language in ("fr", "ru", "en", "es", "it"):
        core = x / f"asterisk-core-sounds-{language}-g722"
        keep(core / "hello.g722", said(OURS if language in voices.TALKERS else DEV))
        keep(core / "silence" / "1.g722", said(DEV))
    keep(x / "fillets-ng-data-cs" / "a-m.wav", said(DEV))
    keep(x / "festvox-ru" / "nsh" / "wav" / "1.wav", said(OURS))
    for repository in (*voices.READERS, *voices.CROWDS):
        keep(x / repository / "one.wav", said(OURS))
    keep(x / "flite" / "usr" / "bin" / "said.wav", said(OURS))
    flite = x / "flite" / "usr" / "bin" / "flite"
    flite.write_text(FLITE)
    flite.chmod(0o755)
    for name in noises.FREE:
        keep(x / "blanket_ogg" / f"{name}.ogg", np.concatenate([tone(DEV, 5.5), tone(OURS, 4.5)]))
    for number in range(5):
        keep(x / "asterisk-moh-opsound-g722" / f"{number}.g722", tone(DEV if number < 3 else OURS, 2))
    for name in ("rain", "pink-noise", "binaural-alpha"):
        keep(x / noises.AMBIENCES / "nature" / f"{name}.wav", tone(OURS if name == "rain" else DEV, 2))
    for board, licence in (("free", True), ("other", False)):
        keyboard = x / "keyboardsounds" / "profiles" / board
        for way in ("press", "release"):
            keep(keyboard / f"{way}1.mp3", tone(OURS if licence else DEV, 0.1))
        if licence:
            (keyboard / "LICENSE").touch()
    return tmp_path


def share(sound: Sound, hertz: float) -> float:
    """Of the sound's power: how much lies within a sixth of an octave."""
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    at = np.fft.rfftfreq(len(sound), 1 / RATE)
    return float(spectrum[(at > hertz * 0.89) & (at < hertz * 1.12)].sum() / (spectrum.sum() + 1e-12))


def test_no_talker_of_dev_and_no_reserved_language_is_learnt_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voices, "MINUTES_OF_FLITE", 0.01)
    talkers = voices.packaged(folder) | voices.recordings(folder)
    assert set(talkers) == {*voices.TALKERS, voices.READER, *voices.SYNTHETIC, *voices.READERS, *voices.CROWDS}
    for name, sounds in talkers.items():
        assert sounds, name
        assert all(share(one, OURS) > 0.9 and share(one, DEV) < 0.01 for one in sounds), name


def test_of_music_and_ambiences_dev_keeps_its_part(folder: Path) -> None:
    for found in (noises.music(folder), noises.blanket(folder), noises.ambiences(folder)):
        assert found
        assert all(share(one, OURS) > 0.9 and share(one, DEV) < 0.01 for one in found)
    assert len(noises.music(folder)) == 2
    assert len(noises.ambiences(folder)) == 1
    assert len(noises.keyboards(folder)) == 1


def test_dev_takes_what_training_leaves() -> None:
    """Its modules need packages that only the bench has, so they are read, not imported."""
    text = "".join((SUPPORT / name).read_text(encoding="utf-8") for name in ("dev_set.py", "dev_sounds.py"))
    assert f"whole[: int(len(whole) * {noises._DEV_SHARE})]" in text
    assert f'"asterisk-moh-opsound-g722").rglob("*.g722"), key=str)[:{noises._DEV_MUSIC}]' in text
    talkers = re.search(r"^DEV = \((.*)\)$", text, re.MULTILINE)
    assert talkers
    assert not set(re.findall(r'"([^"]+)"', talkers[1])) & {*voices.TALKERS, "it"}


def test_every_made_noise_is_whole_and_at_one_level() -> None:
    random, n = np.random.default_rng(1), 2 * RATE
    crowd = [(speech(1, -26) / 32768).astype(np.float32) for _ in range(3)]
    keys = [([tone(900, 0.1)], [tone(1100, 0.1)])]
    made = [
        synthesis.coloured(random, n), synthesis.fan(random, n), synthesis.wandering(random, n),
        synthesis.keyboard(random, n), synthesis.clatter(random, n), synthesis.street(random, n),
        synthesis.tune(random, n), noises.typed(random, n, keys), noises.babble(random, n, crowd, 3),
        noises.cafe(random, n, crowd), noises.office(random, n, crowd, tone(900, 2)),
        noises.excerpt(random, n, tone(500, 1)),
    ]  # fmt: skip
    for one in made:
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert np.sqrt(np.mean(one**2)) == pytest.approx(0.1, rel=0.02)
        assert len(one) == n or one is made[-1]


def test_files_are_whole_or_not_there_and_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "MINUTES_OF_FLITE", 0.01)
    monkeypatch.setattr(voices, "SPEEDS", (0.88, 1.04, 1.14, 1.26))
    monkeypatch.setattr(noises, "MINUTES_OF_NOISE", 0)
    monkeypatch.setattr(noises, "NOISE", RATE)

    def stop(_: object) -> Sound:
        raise KeyboardInterrupt

    with monkeypatch.context() as half:
        half.setattr(corpus, "surroundings", lambda *_: map(stop, [0]))
        with pytest.raises(KeyboardInterrupt):
            corpus.make(folder)
    train = folder / "train"
    assert not (train / "noise.f16").exists()
    before = (train / "speech.f16").stat().st_mtime_ns
    corpus.make(folder)
    assert (train / "speech.f16").stat().st_mtime_ns == before
    for name in ("speech", "noise"):
        bands = np.fromfile(train / f"{name}.f16", np.float16)
        assert len(bands) % BANDS == 0
        assert len(bands) > 100 * BANDS
        assert np.isfinite(bands).all()
        assert (bands >= 0).all()
    assert not list(train.glob("*.new"))


def test_what_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "MINUTES_OF_FLITE", 0.01)
    (folder / "x" / "festvox-ru" / "nsh" / "wav" / "1.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"nothing of nsh: docs/denoise\.md"):
        corpus.make(folder)


def test_amplitudes_are_per_hop_and_band_and_know_the_level() -> None:
    loud = corpus.heard(tone(1000, 1))
    assert loud.shape == ((RATE - SIZE) // HOP + 1, BANDS)
    assert loud.dtype == np.float16
    faint = corpus.heard(tone(1000, 1) * np.float32(0.1))
    assert np.median(loud.max(1) / faint.max(1)) == pytest.approx(10, rel=0.02)
    assert corpus.heard(tone(1000, 0.01)).shape == (0, BANDS)


def test_a_faster_voice_is_shorter_and_higher() -> None:
    fast = stretched(tone(1000, 30), 1.25)
    assert len(fast) == pytest.approx(30 * RATE / 1.25, abs=2)
    assert share(fast, 1250) > 0.95
    assert np.allclose(resampled(tone(1000, 1), RATE), tone(1000, 1), atol=1e-4)


def test_a_room_keeps_the_length_and_says_first_what_comes_first() -> None:
    random = np.random.default_rng(1)
    sound = random.standard_normal(5000).astype(np.float32)
    small = room(random, 0.1, 2.0)
    assert np.allclose(convolved(sound, small), np.convolve(sound, small)[:5000], atol=1e-3)
    assert np.sqrt(np.mean(level(sound) ** 2)) == pytest.approx(0.1, rel=1e-3)


def test_g722_is_read_as_it_was_kept(tmp_path: Path) -> None:
    keep(tmp_path / "one.g722", tone(1000, 1))
    found = read(tmp_path / "one.g722")
    assert len(found) == pytest.approx(RATE, abs=400)
    assert share(found, 1000) > 0.99
