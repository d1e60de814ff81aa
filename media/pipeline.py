"""What the microphone goes through before the PBX hears it: suppression, voice detection, gain, limiter.

`process` takes the frames of all legs that tick together, so that the inside can work on them as one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .denoise import Denoiser
from .frame import HOP, Frame, to_frame, to_sound
from .gain import Agc, Limiter
from .level import Meter, mean_square
from .vad import Vad

_HANGOVER = 10
"Frames (of 20 ms) that `speaking` outlasts the last speech: word gaps do not flicker."


@dataclass
class Voice:
    """One leg's state in the chain. With `enabled` off the frames pass bit for bit."""

    enabled: bool = True
    before: Meter = field(default_factory=Meter)
    after: Meter = field(default_factory=Meter)
    denoiser: Denoiser = field(default_factory=Denoiser)
    agc: Agc = field(default_factory=Agc)
    limiter: Limiter = field(default_factory=Limiter)
    vad: Vad = field(default_factory=Vad)
    _hang: int = 0

    @property
    def speaking(self) -> bool:
        return self._hang > 0

    def flush(self) -> None:
        """Drop sound that is still inside the chain; what was learnt about line and speaker stays."""
        self.denoiser.flush()

    def heard(self, speech: bool) -> None:
        self._hang = _HANGOVER if speech else max(0, self._hang - 1)


def process(voices: Sequence[Voice], frames: Sequence[Frame]) -> list[Frame]:
    """One frame (320 samples) per voice -> what the PBX is to hear, in the same order."""
    return [_one(voice, frame) for voice, frame in zip(voices, frames, strict=True)]


def _one(voice: Voice, frame: Frame) -> Frame:
    voice.before.add(mean_square(frame))
    if voice.enabled:
        frame = _clean(voice, frame)
    else:
        voice.heard(voice.vad(frame))
    voice.after.add(mean_square(frame))
    return frame


def _clean(voice: Voice, frame: Frame) -> Frame:
    sound = to_sound(frame)
    hops = []
    spoken = False
    for start in range(0, len(sound), HOP):
        hop = voice.denoiser.process(sound[start : start + HOP])
        speech = voice.vad(to_frame(hop))
        spoken |= speech
        hops.append(voice.agc.process(hop, speech=speech))
    voice.heard(spoken)
    return to_frame(voice.limiter.process(np.concatenate(hops)))
