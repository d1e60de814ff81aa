"""Does the caller's voice come back through the agent's microphone? The browser cancels echo, until it does not.

Compares how loud we played with how loud the microphone was a little later, over some seconds of 20 ms: the two curves
of an echo have the same shape, those of two people who talk in turn do not.
"""

from collections import deque

import numpy as np
import numpy.typing as npt

WINDOW = 250
"Ticks that are looked at: 5 s."
_LATEST = 30
"An echo comes back within so many ticks: 600 ms, network and both buffers included."
_ALIKE = 0.75
"Correlation of the two curves (of decibels) from which it is an echo; two people in turn stay below 0.4 (tests)."
_AUDIBLE = -50.0
"dBFS: softer echo is not worth a warning, and softer play makes none."
_SPOKEN = 0.2
"Share of the window in which something must have been played."


class EchoWatch:
    """One leg's. `add` each tick, `returning` about once a second: it costs 30 products of 250 numbers."""

    def __init__(self) -> None:
        self._played: deque[float] = deque(maxlen=WINDOW + _LATEST)
        self._heard: deque[float] = deque(maxlen=WINDOW)

    def add(self, played: float, heard: float) -> None:
        """dBFS of the 20 ms that went to the browser, and of those that came from its microphone."""
        self._played.append(max(played, _AUDIBLE - 10))
        self._heard.append(max(heard, _AUDIBLE - 10))

    def clear(self) -> None:
        """Another call, or another microphone."""
        self._played.clear()
        self._heard.clear()

    @property
    def returning(self) -> bool:
        """Whether what was played in the last seconds is heard again."""
        if len(self._played) < WINDOW + _LATEST:
            return False
        played, heard = np.array(self._played), np.array(self._heard)
        if np.mean(played[:WINDOW] > _AUDIBLE) < _SPOKEN or np.max(heard) < _AUDIBLE:
            return False
        return max(_likeness(played[_LATEST - lag :][:WINDOW], heard) for lag in range(_LATEST)) > _ALIKE


def _likeness(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Pearson's correlation; 0 where one of them does not move."""
    a, b = one - one.mean(), other - other.mean()
    size = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return float(np.dot(a, b)) / size if size > 1e-6 else 0.0
