"""The suppressor that needs no weights: a Wiener gain over a noise spectrum tracked by speech presence.

Noise: unbiased MMSE with a fixed prior SNR (Gerkmann and Hendriks 2012).
Gain: decision-directed (Ephraim and Malah 1984).
"""

import numpy as np

from ..frame import Sound
from ..layout import Layout
from . import stream
from .analysis import BINS, power

_FLOOR = np.float32(10 ** (-18 / 20))
"What is left of pure noise: less sounds like a dead line and brings musical tones."
_PRIOR = np.float32(10 ** (15 / 10))
_TINY = np.float32(1e-10)
_START = 8
"Hops whose mean is the first guess of the noise."
_FASTEST = np.float32(3.0)
"A hop may raise the noise estimate by this factor at most."

_LAYOUT = Layout(**stream.PARTS, noise=BINS, presence=BINS, speech=BINS, hops=1)


class Classical:
    """See `Suppressor`."""

    kind = "classical"

    def fresh(self) -> Sound:
        row = np.zeros(_LAYOUT.size, np.float32)
        row[_LAYOUT["noise"]] = _TINY
        row[_LAYOUT["presence"]] = 0.5
        return row

    def flush(self, row: Sound) -> None:
        stream.flush(_LAYOUT, row)

    def process(self, rows: Sound, sound: Sound) -> Sound:
        spectra = stream.spectra(_LAYOUT, rows, sound)
        for one in spectra:
            seen = power(one)
            _learn(rows, seen)
            one *= _gain(rows, seen)
        return stream.sound(_LAYOUT, rows, spectra)


def _learn(rows: Sound, power: Sound) -> None:
    noise, usual, hops = rows[:, _LAYOUT["noise"]], rows[:, _LAYOUT["presence"]], rows[:, _LAYOUT["hops"]]
    posterior = np.minimum(power / (noise + _TINY), np.float32(200))
    presence = 1 / (1 + (1 + _PRIOR) * np.exp(-posterior * (_PRIOR / (1 + _PRIOR))))
    early = hops < _START
    usual += np.where(early, 0, np.float32(0.1) * (presence - usual))
    # A bin that looks like speech for seconds is noise that has grown: let a little of it in.
    presence = np.where(usual > 0.99, np.minimum(presence, np.float32(0.99)), presence)
    heard = np.minimum(power, noise * _FASTEST + _TINY)
    noise += np.where(early, (power - noise) / (hops + 1), np.float32(0.2) * (1 - presence) * (heard - noise))
    hops += early


def _gain(rows: Sound, power: Sound) -> Sound:
    noise = rows[:, _LAYOUT["noise"]] * np.float32(1.5) + _TINY
    prior = np.float32(0.97) * rows[:, _LAYOUT["speech"]] / noise + np.float32(0.03) * np.maximum(power / noise - 1, 0)
    gain: Sound = np.maximum(prior / (1 + prior), _FLOOR)
    rows[:, _LAYOUT["speech"]] = gain * gain * power
    return gain
