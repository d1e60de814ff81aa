"""Opus for the lab's phone (RFC 7587): its RTP clock is 48 kHz, its sound here wideband, as a phone app sends it."""

from dataclasses import dataclass

import numpy as np

from media.opus import Decoder, Encoder
from web.demo.rtp import Codec
from web.demo.tones import Samples

CLOCK, UP = 48_000, 3
"""Times of the sound's 16 kHz."""


@dataclass(frozen=True)
class _Opus(Codec):
    @property
    def rtpmap(self) -> str:
        return f"{self.payload_type} {self.name}/{self.rate}/2"  # RFC 7587 section 7: always two channels


def opus() -> Codec:
    """The codec of one phone with one call: both directions remember."""
    encoder, decoder = Encoder(), Decoder()

    def encode(samples: Samples) -> bytes:
        return encoder.encode(np.ascontiguousarray(samples[::UP]))  # tones: there is nothing above 8 kHz to fold down

    def decode(data: bytes) -> Samples:
        sound = decoder.decode(data)
        places = np.arange(len(sound) * UP) / UP
        return np.interp(places, np.arange(len(sound)), sound).astype(np.int16)

    return _Opus(111, "opus", CLOCK, encode, decode)
