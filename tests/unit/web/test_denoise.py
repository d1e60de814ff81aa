"""`takeover denoise`: what it writes, and what it says of files that it cannot read."""

import json
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.media.synthetic import noise, speech
from web.cli import main

Samples = npt.NDArray[np.float64]


def write(path: Path, sound: Samples, rate: int = 16000, channels: int = 1, width: int = 2) -> Path:
    whole = np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.repeat(whole, channels).tobytes())
    return path


def read(path: Path) -> tuple[Samples, int, int]:
    with wave.open(str(path), "rb") as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        return sound, file.getframerate(), file.getnchannels()


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 1), (44100, 2), (48000, 1)])
def test_it_writes_16_khz_mono_of_the_same_length_with_less_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: int, channels: int
) -> None:
    white = np.random.default_rng(3).standard_normal(rate * 4) * 10 ** (-40 / 20)
    source = write(tmp_path / "in.wav", white, rate, channels)
    assert main(["denoise", str(source), str(tmp_path / "out.wav"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    sound, out_rate, out_channels = read(tmp_path / "out.wav")
    assert (out_rate, out_channels, len(sound)) == (16000, 1, 16000 * 4)
    assert facts["seconds"] == 4
    assert facts["background_before_dbfs"] == pytest.approx(-40, abs=6)  # less what was above 8 kHz
    assert facts["background_after_dbfs"] < facts["background_before_dbfs"] - 8


def test_its_delay_is_taken_out(tmp_path: Path) -> None:
    voice = speech(4, -20)
    source = write(tmp_path / "in.wav", voice + noise(4, -60))
    assert main(["denoise", str(source), str(tmp_path / "out.wav")]) == 0
    sound, _, _ = read(tmp_path / "out.wav")
    both = np.correlate(sound, voice, "full")
    assert abs(int(np.argmax(both)) - (len(voice) - 1)) <= 2


def test_it_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.wav", noise(2, -40))
    assert main(["denoise", str(source), str(tmp_path / "out.wav")]) == 0
    said = capsys.readouterr().out
    assert "16 kHz mono" in said
    assert "Background: " in said


def test_unusable_files_are_named_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.wav"
    (tmp_path / "song.mp3").write_bytes(b"ID3 not a wave file at all")
    (tmp_path / "empty.wav").touch()
    wide = write(tmp_path / "wide.wav", noise(1, -40), width=4)
    slow = write(tmp_path / "slow.wav", noise(1, -40), rate=4000)
    short = write(tmp_path / "short.wav", noise(0.005, -40))
    good = write(tmp_path / "good.wav", noise(1, -40))
    cases: list[tuple[list[Path], str]] = [
        ([tmp_path / "none.wav", target], "No such file"),
        ([tmp_path / "song.mp3", target], "not a PCM WAV file"),
        ([tmp_path / "empty.wav", target], "ends before its sound begins"),
        ([wide, target], "32 bits per sample; 16 are read"),
        ([slow, target], "4000 samples per second; 8000 to 192000 are read"),
        ([short, target], "shorter than 20 ms"),
        ([good, good], "would overwrite the input"),
        ([good, tmp_path / "no" / "out.wav"], "No such file"),
    ]
    for arguments, why in cases:
        assert main(["denoise", *map(str, arguments)]) == 1
        assert why in capsys.readouterr().err
    assert not target.exists()
