"""Real speech for the demo: recorded sentences from Asterisk's sounds, and a local synthesiser for free text."""

import asyncio
import io
import shutil
import tempfile
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import packages
from .packages import NotProvided, PackageSet, Progress
from .tones import Samples

FLITE = PackageSet("speech", ("flite",), disk_mb=250)
LEVEL_DBOV = -20.0  # speech level both sides speak at (RMS), as on an ordinary line
PAUSE = 0.03  # what is this far below the peak is a pause and says nothing about how loud somebody speaks
LONGEST = 600  # characters of one utterance: a pasted page must not block the line for minutes

# Role in the demo -> voice of the program; two voices that nobody confuses.
FLITE_VOICES = {"ai": "slt", "caller": "rms"}
ESPEAK_VOICES = {"ai": "en+f3", "caller": "en+m3"}


@dataclass
class Speech:
    """A synthesiser: `await say("Hello", "ai")` gives samples at `rate`. What was said once is kept."""

    command: tuple[str, ...]
    kind: Literal["flite", "espeak-ng"]
    rate: int = 8000
    _said: dict[tuple[str, str], Samples] = field(default_factory=dict)

    async def say(self, text: str, voice: str = "ai") -> Samples:
        """Samples of a sentence, spoken by `ai`, `caller` or a voice of the program's own.

        Raises NotProvided when the program fails.
        """
        plain = " ".join(text.split())[:LONGEST]
        if not plain:
            return np.empty(0, np.int16)
        key = (plain, voice)
        if key not in self._said:
            self._said[key] = await self._speak(plain, voice)
        return self._said[key]

    async def _speak(self, text: str, voice: str) -> Samples:
        with tempfile.TemporaryDirectory(prefix="takeover-speech-") as folder:
            path = Path(folder) / "said.wav"
            process = await asyncio.create_subprocess_exec(
                *self.command,
                *self._options(text, voice, path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, told = await process.communicate()
            if process.returncode != 0 or not path.is_file():
                raise NotProvided(f"{self.kind} did not speak ({process.returncode}): {told.decode(errors='replace')}")
            return level(read_wav(path.read_bytes(), self.rate))

    def _options(self, text: str, voice: str, path: Path) -> tuple[str, ...]:
        if self.kind == "flite":
            return ("-voice", FLITE_VOICES.get(voice, voice), "-t", text, "-o", str(path))
        return ("-v", ESPEAK_VOICES.get(voice, voice), "-w", str(path), "--", text)


async def provide(progress: Progress, rate: int = 8000) -> Speech:
    """flite or espeak-ng from PATH, else flite as private package, fetched when it is not there yet.

    Raises NotProvided with the reason and the remedy.
    """
    for kind in ("flite", "espeak-ng"):
        program = shutil.which(kind)
        if program:
            return Speech((program,), kind, rate)
    unpacked = await packages.provide(FLITE, progress)
    return Speech(unpacked.command("usr/bin/flite"), "flite", rate)


def remove() -> bool:
    """Removes the synthesiser we unpacked. True if there was one."""
    return packages.remove(FLITE)


def recorded(sounds: Path, name: str, rate: int = 8000) -> Samples:
    """A sentence of Asterisk's English core sounds (`Installation.sounds`), such as `hello-world`."""
    return level(read_wav((sounds / f"{name}.wav").read_bytes(), rate))


def read_wav(data: bytes, rate: int) -> Samples:
    """Mono 16-bit samples of a WAV file, brought to `rate`. Raises ValueError for anything else."""
    with wave.open(io.BytesIO(data)) as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise ValueError(f"not mono 16 bit: {file.getnchannels()} channels of {file.getsampwidth()} bytes")
        samples: Samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        return resample(samples, file.getframerate(), rate)


def resample(samples: Samples, given: int, wanted: int) -> Samples:
    """A whole clip at another rate, band-limited (in the frequency domain: clips are short and nobody waits)."""
    if given == wanted or not len(samples):
        return samples
    count = round(len(samples) * wanted / given)
    spectrum = np.fft.rfft(samples.astype(np.float64))
    changed = np.fft.irfft(spectrum[: count // 2 + 1], count) * (count / len(samples))
    return _whole(changed)


def level(samples: Samples, dbov: float = LEVEL_DBOV) -> Samples:
    """The clip at a set speech level, so that nobody is louder than the other; peaks are kept below clipping."""
    loudness = np.abs(samples.astype(np.float64))
    peak = loudness.max(initial=0.0)
    if not peak:
        return samples
    spoken = loudness[loudness > peak * PAUSE]
    gain = 32768 * 10 ** (dbov / 20) / np.sqrt(np.mean(spoken**2))
    return _whole(samples * min(gain, 30000 / peak))


def _whole(values: NDArray[np.float64]) -> Samples:
    whole: Samples = np.clip(np.rint(values), -32768, 32767).astype(np.int16)
    return whole
