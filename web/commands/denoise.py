"""``takeover denoise in.wav out.wav``: the voice chain on a recording, for those who want to hear what it does."""

import wave
from argparse import Namespace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from media import pipeline
from media.frame import RATE, SAMPLES, to_frame
from media.level import decibels
from media.pipeline import DELAY, Voice

from .outcome import CommandFailed, Outcome

_RATES = (8000, 192_000)
_FRAME_S = SAMPLES / RATE

Samples = npt.NDArray[np.float64]


def denoise(options: Namespace) -> Outcome:
    """Writes ``options.output``, 16 kHz mono, as long as the input. Raises `CommandFailed`."""
    source, target = Path(options.input), Path(options.output)
    if target.exists() and target.samefile(source):
        raise CommandFailed(f"{target}: the output would overwrite the input; name another file")
    sound = _at_16_khz(*_read(source))
    voice = Voice()
    cleaned = _through(voice, sound)
    _write(target, cleaned)
    before, after = _quiet_db(sound), _quiet_db(cleaned)
    facts = {
        "suppressor": voice.suppressor.kind,
        "seconds": round(len(sound) / RATE, 2),
        "background_before_dbfs": round(before, 1),
        "background_after_dbfs": round(after, 1),
        "gain_db": round(voice.gain, 1),
        "output": str(target),
    }
    change = "louder" if voice.gain >= 0 else "softer"
    lines = [
        f"{target}: {facts['seconds']} s, 16 kHz mono, by the {voice.suppressor.kind} suppressor.",
        f"Background: {before:.1f} dBFS before, {after:.1f} after. Voice: {abs(voice.gain):.1f} dB {change}.",
    ]
    return Outcome(lines, facts)


def _read(path: Path) -> tuple[Samples, int]:
    """Mono, full scale 1.0, and the rate."""
    try:
        with path.open("rb") as raw, wave.open(raw, "rb") as file:
            width, rate, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    except (wave.Error, EOFError) as error:
        why = str(error) or "it ends before its sound begins"
        raise CommandFailed(f"{path}: not a PCM WAV file ({why}); make one with: ffmpeg -i {path} in.wav") from None
    if width != 2:
        raise CommandFailed(f"{path}: {8 * width} bits per sample; 16 are read: ffmpeg -i {path} -c:a pcm_s16le in.wav")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise CommandFailed(f"{path}: {rate} samples per second; {_RATES[0]} to {_RATES[1]} are read")
    samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2")
    if len(samples) < channels * rate * _FRAME_S:
        raise CommandFailed(f"{path}: shorter than {_FRAME_S * 1000:.0f} ms; nothing to clean")
    mono: Samples = samples.reshape(-1, channels).mean(axis=1) / 32768
    return mono, rate


def _at_16_khz(sound: Samples, rate: int) -> Samples:
    """By one transform of the whole; a second of silence at the end keeps its ends apart."""
    if rate == RATE:
        return sound
    whole = np.concatenate((sound, np.zeros(rate)))
    size = round(len(whole) * RATE / rate)
    spectrum = np.fft.rfft(whole)[: size // 2 + 1]
    wanted = round(len(sound) * RATE / rate)
    return np.fft.irfft(spectrum, size)[:wanted] * (size / len(whole))


def _through(voice: Voice, sound: Samples) -> Samples:
    """The chain frame by frame as in a call; its delay is taken out."""
    padded = np.concatenate((sound, np.zeros(DELAY + SAMPLES)))
    frames = to_frame(padded[: len(padded) // SAMPLES * SAMPLES].astype(np.float32)).reshape(-1, SAMPLES)
    heard = np.concatenate([pipeline.process([voice], [frame])[0] for frame in frames])
    return heard[DELAY : DELAY + len(sound)] / 32768


def _write(path: Path, sound: Samples) -> None:
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(to_frame(sound.astype(np.float32)).astype("<i2").tobytes())
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None


def _quiet_db(sound: Samples) -> float:
    """dBFS of the quietest tenth, the first half second aside, in which the suppressor learns."""
    settled = sound[RATE // 2 :] if len(sound) > RATE else sound
    count = len(settled) // SAMPLES
    power = np.sort(np.mean(settled[: count * SAMPLES].reshape(count, SAMPLES) ** 2, axis=1)) if count else np.zeros(1)
    return decibels(float(np.mean(power[: max(1, len(power) // 10)])))
