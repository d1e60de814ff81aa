"""Tones, companding and "who hears which tone when": pure functions on int16 sample arrays.

Frequencies must be multiples of 100 Hz: in a window of 10 ms such tones are orthogonal, so one party's tone does
not leak into the measured power of another's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

CALLER_HZ = 400
AI_HZ = 900
AGENT_HZ = 1500

WINDOW_S = 0.010
HEARD_DBOV = -40.0  # a tone at -12 dBov is heard; after two codecs it is still above -20, leakage stays below -55
_SCALE = 32768.0


def tone(hz: float, samples: int, rate: int, *, start: int = 0, level_dbov: float = -12.0) -> Samples:
    """A sine wave; `start` is the index of the first sample, so that pieces join without a click."""
    amplitude = _SCALE * 10 ** (level_dbov / 20)
    phase = 2 * np.pi * hz / rate * np.arange(start, start + samples)
    wave: Samples = np.rint(amplitude * np.sin(phase)).astype(np.int16)
    return wave


def levels(samples: Samples, hz: float, rate: int) -> NDArray[np.float64]:
    """Level of one frequency in each whole window of 10 ms, in dBov (0 is a full-scale sine)."""
    width = round(rate * WINDOW_S)
    count = len(samples) // width
    windows = samples[: count * width].reshape(count, width).astype(np.float64) / _SCALE
    probe = np.exp(-2j * np.pi * hz / rate * np.arange(width)) * 2 / width
    dbov: NDArray[np.float64] = 20 * np.log10(np.abs(windows @ probe) + 1e-6)
    return dbov


def others(samples: Samples, hz: float, rate: int) -> NDArray[np.float64]:
    """Level of all that is not this frequency in each whole window of 10 ms, in dBov."""
    width = round(rate * WINDOW_S)
    count = len(samples) // width
    windows = samples[: count * width].reshape(count, width).astype(np.float64) / _SCALE
    turns = np.exp(2j * np.pi * hz / rate * np.arange(width))
    amplitudes = windows @ turns.conj() * 2 / width
    rest = windows - np.real(amplitudes[:, None] * turns)
    dbov: NDArray[np.float64] = 20 * np.log10(np.sqrt(2 * np.mean(rest**2, axis=1)) + 1e-6)
    return dbov


def _ulaw_decode_table() -> Samples:
    code = ~np.arange(256, dtype=np.int32) & 0xFF  # ITU-T G.711: all bits are inverted on the line
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_decode_table() -> Samples:
    code = np.arange(256, dtype=np.int32) ^ 0x55  # ITU-T G.711: even bits are inverted on the line
    segment, step = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, (step + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encode_table(decode: Samples) -> NDArray[np.uint8]:
    """For each 16-bit value the code whose decoded value is nearest."""
    order = np.argsort(decode, kind="stable")
    values = decode[order].astype(np.int32)
    borders = (values[1:] + values[:-1]) // 2
    every = np.arange(-32768, 32768, dtype=np.int32)
    table = order[np.searchsorted(borders, every, side="left")].astype(np.uint8)
    return np.roll(table, 32768)  # index by the value as uint16: negative values lie in the upper half


_ULAW_DECODE, _ALAW_DECODE = _ulaw_decode_table(), _alaw_decode_table()
_ULAW_ENCODE, _ALAW_ENCODE = _encode_table(_ULAW_DECODE), _encode_table(_ALAW_DECODE)


def ulaw_encode(samples: Samples) -> bytes:
    return _ULAW_ENCODE[samples.view(np.uint16)].tobytes()


def ulaw_decode(data: bytes) -> Samples:
    return _ULAW_DECODE[np.frombuffer(data, np.uint8)]


def alaw_encode(samples: Samples) -> bytes:
    return _ALAW_ENCODE[samples.view(np.uint16)].tobytes()


def alaw_decode(data: bytes) -> Samples:
    return _ALAW_DECODE[np.frombuffer(data, np.uint8)]


@dataclass(frozen=True)
class Trace:
    """When which window of 10 ms arrived at a party, and how loud one tone was in it."""

    times: NDArray[np.float64]  # seconds on the monotonic clock, ascending
    levels: NDArray[np.float64]  # dBov

    @property
    def heard(self) -> NDArray[np.bool_]:
        return self.levels > HEARD_DBOV

    def between(self, since: float, until: float) -> "Trace":
        chosen = (self.times >= since) & (self.times < until)
        return Trace(self.times[chosen], self.levels[chosen])

    def first(self, after: float = -np.inf) -> float | None:
        """Time of the first window at or after `after` in which the tone is heard."""
        hits = self.times[self.heard & (self.times >= after)]
        return float(hits[0]) if len(hits) else None

    def last(self, before: float = np.inf) -> float | None:
        """Time of the last window before `before` in which the tone is heard."""
        hits = self.times[self.heard & (self.times < before)]
        return float(hits[-1]) if len(hits) else None

    def share(self) -> float:
        """Part of the windows in which the tone is heard, 0 to 1; 0 if nothing arrived at all."""
        return float(self.heard.mean()) if len(self.times) else 0.0

    def hole_ms(self, since: float, until: float) -> float:
        """Longest stretch in [since, until) without the tone, in ms: what a listener misses."""
        heard = self.times[self.heard & (self.times >= since) & (self.times < until)]
        edges = np.concatenate(([since], heard, [until]))
        gaps = np.diff(edges)
        gaps[1:] -= WINDOW_S  # a heard window lasts 10 ms
        return max(0.0, float(gaps.max()) * 1000)


def either(*traces: Trace) -> Trace:
    """The louder of several tones of one recording, window by window: for "no tone at all"."""
    return Trace(traces[0].times, np.max([trace.levels for trace in traces], axis=0))
