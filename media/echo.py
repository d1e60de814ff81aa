"""Does the caller's voice come back through the agent's microphone? The browser cancels echo, until it does not.

Compares how loud we played with how loud the microphone was a little later, over some seconds of 20 ms: the two curves
of an echo have the same shape, those of two people who talk in turn do not.
"""

from collections import deque

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

WINDOW = 250
"Ticks that are looked at: 5 s."
_LATEST = 30
"An echo comes back within so many ticks: 600 ms, network and both buffers included."
_ALIKE = 0.75
"Correlation of the two curves (of decibels) from which it is an echo; two people in turn stay below 0.4 (tests)."
_AUDIBLE = -50.0
"dBFS: softer echo is not worth a warning, and softer play makes none."
_SOFTEST = 10 ** ((_AUDIBLE - 10) / 10)
_SPOKEN = 0.2
"Share of the window in which something must have been played."
_EVERY = 150
"Ticks between two looks, each of which costs as much as 20 ms of the whole leg."


class EchoWatch:
    """One leg's. `add` each tick, `returning` about once a second: it costs one product of 30 by 250 numbers."""

    def __init__(self) -> None:
        self._played: deque[float] = deque(maxlen=WINDOW + _LATEST)
        self._heard: deque[float] = deque(maxlen=WINDOW)
        self._since = 0
        self._found = False

    def add(self, played: float, heard: float) -> None:
        """Power (full scale 1.0) of the 20 ms that went to the browser, and of those that came from its microphone."""
        self._played.append(played)
        self._heard.append(heard)
        self._since += 1

    def clear(self) -> None:
        """Another call, or another microphone."""
        self._played.clear()
        self._heard.clear()
        self._since, self._found = 0, False

    @property
    def returning(self) -> bool:
        """Whether what was played in the last seconds is heard again; looked at anew every 3 s."""
        if self._since >= _EVERY and len(self._played) == WINDOW + _LATEST:
            self._since, self._found = 0, self._look()
        return self._found

    def _look(self) -> bool:
        played, heard = _loudness(self._played), _loudness(self._heard)
        if np.mean(played[:WINDOW] > _AUDIBLE) < _SPOKEN or np.max(heard) < _AUDIBLE:
            return False
        earlier = sliding_window_view(played, WINDOW)[1:]
        return bool(np.max(_likeness(earlier, heard)) > _ALIKE)


def _loudness(powers: deque[float]) -> npt.NDArray[np.float64]:
    """dBFS; what is not audible is all the same."""
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(np.array(powers), _SOFTEST))
    return levels


def _likeness(some: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pearson's correlation of each row with `other`; 0 where one of them does not move."""
    a, b = some - some.mean(axis=1, keepdims=True), other - other.mean()
    size = np.sqrt(np.einsum("ij,ij->i", a, a) * np.dot(b, b))
    alike: npt.NDArray[np.float64] = np.divide(a @ b, size, out=np.zeros_like(size), where=size > 1e-6)
    return alike
