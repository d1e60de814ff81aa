"""From sound to spectra and back, for all sessions of a tick and any number of hops."""

import numpy as np
import numpy.typing as npt

from ..frame import HOP, Sound
from ..layout import Layout
from .analysis import ANALYSIS, KEPT, OVERLAP, SIZE, SYNTHESIS

Spectra = npt.NDArray[np.complex64]

_WINDOW = ANALYSIS * np.float32(SIZE)
"""The transform is asked to divide by `SIZE`, a power of two: numpy's `rfft` works in float32 only if it has a factor
of that type, and without one it takes twice as long, in float64 (numpy 2.0 to 2.4)."""

PARTS = {"past": KEPT, "tail": HOP}
"What a suppressor's layout must have for these functions."


def spectra(layout: Layout, rows: Sound, sound: Sound) -> Spectra:
    """(sessions, hops * HOP) samples -> (hops, sessions, BINS)."""
    whole = np.concatenate((rows[:, layout["past"]], sound), axis=1)
    rows[:, layout["past"]] = whole[:, -KEPT:]
    hops = sound.shape[1] // HOP
    windows = np.empty((hops, len(rows), SIZE), np.float32)
    for hop in range(hops):
        np.multiply(whole[:, hop * HOP : hop * HOP + SIZE], _WINDOW, out=windows[hop])
    return np.fft.rfft(windows, norm="forward").astype(np.complex64, copy=False)


def sound(layout: Layout, rows: Sound, spectra: Spectra) -> Sound:
    """(hops, sessions, BINS) -> (sessions, hops * HOP) samples, one hop later than they came in."""
    pieces = np.fft.irfft(spectra, SIZE)[:, :, -OVERLAP:] * SYNTHESIS
    tail = rows[:, layout["tail"]]
    out = np.empty((len(rows), len(pieces) * HOP), np.float32)
    for hop, piece in enumerate(pieces):
        np.add(tail if hop == 0 else pieces[hop - 1][:, HOP:], piece[:, :HOP], out=out[:, hop * HOP : (hop + 1) * HOP])
    tail[:] = pieces[-1][:, HOP:]
    return out


def flush(layout: Layout, row: Sound) -> None:
    """Drop the sound that is still inside one session's row; what was learnt about it stays."""
    row[layout["past"]] = 0
    row[layout["tail"]] = 0
