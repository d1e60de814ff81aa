"""Even loudness: automatic gain that moves only in speech, and a limiter that looks ahead inside the frame.

Both work on all sessions at once; a session's state is a row of its layout.
"""

import numpy as np
import numpy.typing as npt

from .frame import HOP, RATE, Sound
from .layout import Layout

_TARGET = -20.0
_UP = 8.0 * HOP / RATE
_DOWN = 24.0 * HOP / RATE
_LOUDEST_FLOOR = -45.0
_MOST = 30.0
_ABOVE_FLOOR = 9.0
_RUN = 3
_MEMORY = 150
"Hops of speech that the measured loudness averages over: shorter, and it follows the words; longer, and the talker."
_QUIET = 10 ** (-20 / 10)
"Speech this far below the talker's loudness says nothing about it: ends of words."
_FAINT = 80
"Such hops in a row after which the loudness is measured anew: the talker has turned away, or is another one."
_PEAK = np.float32(10 ** (-1 / 20))
_PIECE = 16
_RELEASE = np.float32(0.02)
_TINY = np.float32(1e-10)

LAYOUT = Layout(gain=1, applied=1, floor=1, run=1, power=1, count=1, faint=1, limit=1)


def fresh() -> Sound:
    """A session's row."""
    row = np.zeros(LAYOUT.size, np.float32)
    row[LAYOUT["floor"]] = -60.0
    row[LAYOUT["limit"]] = 1.0
    return row


def control(rows: Sound, hop: Sound, speech: npt.NDArray[np.bool_]) -> Sound:
    """Brings speech to -20 dBFS, at most 8 dB/s up and 24 dB/s down, and never the background above -45 dBFS.

    (sessions, 160) samples; `speech` is the voice detector's word on each session.
    """
    gain, applied, floor = (LAYOUT.column(rows, name) for name in ("gain", "applied", "floor"))
    run, mean, count, faint = (LAYOUT.column(rows, name) for name in ("run", "power", "count", "faint"))
    power = np.einsum("ij,ij->i", hop, hop) / np.float32(hop.shape[1]) + _TINY
    level = 10 * np.log10(power)
    # The floor follows pauses down quickly and rises slowly, so a long sentence does not become the floor.
    floor += (level - floor) * np.where(level < floor, np.float32(0.1), np.float32(0.001))
    run[:] = np.where(speech & (level > floor + _ABOVE_FLOOR), run + 1, 0)
    heard = run >= _RUN
    loud = heard & (power > mean * _QUIET)
    count[:] = np.minimum(count + loud, _MEMORY)
    mean += np.where(loud, (power - mean) / np.maximum(count, 1), 0)
    faint[:] = np.where(loud, 0, faint + heard)
    anew = faint > _FAINT
    mean[anew] = count[anew] = faint[anew] = 0
    wanted = _TARGET - 10 * np.log10(mean + _TINY)
    gain += np.where(loud, np.clip(wanted - gain, -_DOWN, _UP), 0)
    before = np.float32(10) ** (applied / 20)
    applied[:] = np.minimum(np.minimum(gain, _MOST), np.maximum(0, _LOUDEST_FLOOR - floor))
    step = (np.float32(10) ** (applied / 20) - before) / np.float32(hop.shape[1])
    ramp = before[:, None] + step[:, None] * np.arange(1, hop.shape[1] + 1, dtype=np.float32)
    return np.multiply(hop, ramp, dtype=np.float32)


def limit(rows: Sound, sound: Sound) -> Sound:
    """Keeps every sample below -1 dBFS, by pieces of 1 ms; the gain is already down when the peak comes.

    (sessions, a multiple of 16) samples. What needs no limiting passes untouched.
    """
    gain = LAYOUT.column(rows, "limit")
    busy = np.flatnonzero((gain < 1) | (np.abs(sound).max(axis=1) > _PEAK))
    if len(busy):
        sound = sound.copy()
        sound[busy], gain[busy] = _limited(gain[busy], sound[busy])
    return sound


def _limited(gain: Sound, sound: Sound) -> tuple[Sound, Sound]:
    peaks = np.abs(sound).reshape(len(sound), -1, _PIECE).max(axis=2)
    allowed = np.minimum(1, _PEAK / np.maximum(peaks, np.float32(1e-9))).T
    nodes = [np.minimum(gain, allowed[0])]
    for here, following in zip(allowed, [*allowed[1:], allowed[-1]], strict=True):
        last = nodes[-1]
        nodes.append(np.minimum(np.minimum(here, following), last + _RELEASE * (1 - last)))
    edges = np.stack(nodes, axis=1)
    share = np.arange(_PIECE, dtype=np.float32) / _PIECE
    curve = edges[:, :-1, None] + (edges[:, 1:] - edges[:, :-1])[:, :, None] * share
    left = np.where(nodes[-1] < 0.9999, nodes[-1], np.float32(1))
    return sound * curve.reshape(sound.shape), left
