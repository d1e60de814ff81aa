"""G.711 mu-law, by tables: one byte per sample of 8 kHz. Pure."""

import numpy as np
import numpy.typing as npt

from .frame import Frame

_BIAS = 0x84


def _table() -> Frame:
    code = ~np.arange(256, dtype=np.int32) & 0xFF  # all bits are inverted on the line
    magnitude = ((((code & 0x0F) << 3) + _BIAS) << ((code & 0x70) >> 4)) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


_DECODED = _table()


def _nearest() -> npt.NDArray[np.uint8]:
    """The code whose value is nearest, for every int16, indexed by it as uint16."""
    order = np.argsort(_DECODED, kind="stable")
    values = _DECODED[order].astype(np.int32)
    borders = (values[1:] + values[:-1]) // 2
    codes = order[np.searchsorted(borders, np.arange(-32768, 32768), side="left")].astype(np.uint8)
    rolled: npt.NDArray[np.uint8] = np.roll(codes, 32768)
    return rolled


_ENCODED = _nearest()


def encode(sound: Frame) -> bytes:
    """n samples -> n bytes."""
    return _ENCODED[sound.view(np.uint16)].tobytes()


def decode(data: bytes) -> Frame:
    """n bytes -> n samples."""
    return _DECODED[np.frombuffer(data, np.uint8)]
