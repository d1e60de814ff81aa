"""What the microphone goes through before the PBX hears it: suppression, voice detection, gain, limiter.

`process` takes the frames of all legs that tick together and works on them as one batch: most of the cost of numpy is
per call. What comes out for a leg does not depend on who else is in the batch (to 1e-6).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from . import denoise, gain
from .denoise import Suppressor
from .frame import HOP, Frame, Sound, to_frame, to_sound
from .level import Meter
from .vad import Vad

Sample = TypeVar("Sample", bound=np.generic)

DELAY = HOP
"Samples by which the chain is late, beyond the frame itself."
_HANGOVER = 10
"Frames (of 20 ms) that `speaking` outlasts the last speech: word gaps do not flicker."
_LARGEST = 64
"Sessions in one batch; beyond that the matrices leave the cache."


@dataclass(eq=False)
class Voice:
    """One leg's state in the chain. With `enabled` off the frames pass bit for bit."""

    enabled: bool = True
    suppressor: Suppressor = field(default_factory=denoise.shipped)
    before: Meter = field(default_factory=Meter)
    after: Meter = field(default_factory=Meter)
    vad: Vad = field(default_factory=Vad)
    state: Sound = field(init=False)
    "Of the suppressor; once cleaned, the voice's row in `batch`, as is `loudness`."
    loudness: Sound = field(default_factory=gain.fresh)
    "Of gain and limiter."
    batch: "Batch | None" = None
    "Who was cleaned together with it the last time."
    _hang: int = 0

    def __post_init__(self) -> None:
        self.state = self.suppressor.fresh()

    @property
    def speaking(self) -> bool:
        return self._hang > 0

    @property
    def gain(self) -> float:
        """dB that the automatic gain would give, were it not for the background."""
        return float(self.loudness[gain.LAYOUT["gain"]][0])

    def flush(self) -> None:
        """Drop sound that is still inside the chain; what was learnt about line and speaker stays."""
        self.suppressor.flush(self.state)

    def heard(self, speech: bool) -> None:
        self._hang = _HANGOVER if speech else max(0, self._hang - 1)


@dataclass(eq=False)
class Batch:
    """Voices that are cleaned together, and their states as matrices, one row each.

    Legs that tick together mostly stay together, so nothing is copied from one tick to the next: to gather the states
    and to put them back took 7 us per session and tick, as they fit no cache (measured).
    """

    voices: list[Voice]
    states: Sound = field(init=False)
    loudness: Sound = field(init=False)

    def __post_init__(self) -> None:
        self.states = _rows([voice.state for voice in self.voices])
        self.loudness = _rows([voice.loudness for voice in self.voices])
        for voice, state, loudness in zip(self.voices, self.states, self.loudness, strict=True):
            voice.state, voice.loudness, voice.batch = state, loudness, self

    @classmethod
    def of(cls, voices: list[Voice]) -> "Batch":
        """The one they were in the last time, all of them and no one else, or a new one."""
        last = voices[0].batch
        if last is not None and last.voices == voices and all(voice.batch is last for voice in voices):
            return last
        return cls(voices)


def process(voices: Sequence[Voice], frames: Sequence[Frame]) -> list[Frame]:
    """One frame (320 samples) per voice -> what the PBX is to hear, in the same order."""
    if len(voices) != len(frames):
        raise ValueError(f"{len(frames)} frames for {len(voices)} voices: one each")
    out = list(frames)
    plain: list[int] = []
    by_kind: dict[Suppressor, list[int]] = {}
    for at, voice in enumerate(voices):
        if voice.enabled:
            by_kind.setdefault(voice.suppressor, []).append(at)
        else:
            plain.append(at)
            voice.heard(voice.vad(frames[at]))
    for places in by_kind.values():
        for start in range(0, len(places), _LARGEST):
            batch = places[start : start + _LARGEST]
            together, sound = [voices[at] for at in batch], to_sound(_rows([frames[at] for at in batch]))
            cleaned = _clean(together, sound)
            _measure(together, _powers(sound), _powers(cleaned))
            for at, frame in zip(batch, to_frame(cleaned), strict=True):
                out[at] = frame
    if plain:
        powers = _powers(to_sound(_rows([frames[at] for at in plain])))
        _measure([voices[at] for at in plain], powers, powers)
    return out


def _clean(voices: list[Voice], frames: Sound) -> Sound:
    """(sessions, 320) -> (sessions, 320)."""
    batch = Batch.of(voices)
    sound = voices[0].suppressor.process(batch.states, frames)
    heard = [voice.vad.hops(frame) for voice, frame in zip(voices, to_frame(sound), strict=True)]
    speech = np.array(heard)
    for hop in range(speech.shape[1]):
        piece = slice(hop * HOP, (hop + 1) * HOP)
        sound[:, piece] = gain.control(batch.loudness, sound[:, piece], speech[:, hop])
    for voice, speech_of_it in zip(voices, heard, strict=True):
        voice.heard(any(speech_of_it))
    return gain.limit(batch.loudness, sound)


def _measure(voices: list[Voice], before: list[float], after: list[float]) -> None:
    for voice, came, went in zip(voices, before, after, strict=True):
        voice.before.add(came)
        voice.after.add(went)


def _rows(rows: "Sequence[npt.NDArray[Sample]]") -> "npt.NDArray[Sample]":
    """Rows of one length -> a matrix: `np.stack`, which for many short ones costs three times as much."""
    return np.concatenate(rows).reshape(len(rows), -1)


def _powers(sound: Sound) -> list[float]:
    """Mean power of each row, full scale 1.0."""
    powers: list[float] = (np.einsum("ij,ij->i", sound, sound) / sound.shape[1]).tolist()
    return powers
