"""G.722 for the lab's phone: its RTP clock is 8 kHz by an old mistake (RFC 3551 section 4.5.2), its sound has 16."""

from dataclasses import dataclass

import av
import numpy as np

from web.demo.rtp import Codec
from web.demo.tones import Samples

CLOCK, RATE = 8_000, 16_000


@dataclass(frozen=True)
class _Wide(Codec):
    @property
    def clock(self) -> int:
        return CLOCK


def g722_wide() -> Codec:
    """The codec of one phone with one call: both directions remember."""
    encoder, decoder = av.CodecContext.create("g722", "w"), av.CodecContext.create("g722", "r")
    for context in (encoder, decoder):
        context.sample_rate, context.format, context.layout = RATE, "s16", "mono"

    def encode(samples: Samples) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = RATE
        return b"".join(bytes(packet) for packet in encoder.encode(frame))

    def decode(data: bytes) -> Samples:
        sound = [frame.to_ndarray().reshape(-1) for frame in decoder.decode(av.Packet(data))]
        return np.concatenate([np.zeros(0, np.int16), *sound]).astype(np.int16)

    return _Wide(9, "G722", RATE, encode, decode)
