"""What a band is too coarse for: a Wiener filter per bin under the net's gains, and a gate for pauses.

The constants were found on noise and talkers outside the set that judges; how much ESTOI they may
cost, with a look at it.
"""

import numpy as np

from ..frame import Sound
from ..layout import Layout
from .analysis import BANDS, BINS, in_bins

PARTS = {"noise": BINS, "speech": BINS, "last": BINS, "gate": 1, "known": 1}

_F = np.float32
_SOFTER = _F(0.9)
"Exponent of the net's gains: the filter below takes its share of the work, and two full gains in a row eat speech."
_SLOW = _F(0.025)
"Share of a hop in the noise spectrum where there is no speech."
_SETTLED = 200
_EARLY = 16
"Hops after which a burst no longer counts in full."
_BURST = _F(2)
"Times the noise: what is louder counts as this much. The strokes of a keyboard are not the noise between them."
_DECISION = _F(0.85)
_LEAST_PRIOR = _F(0.03)
_FLOOR = _F(10 ** (-60 / 20))
_GATE = _F(50 / 20 * np.log(10))
"Pauses are taken down by this much more (nepers)."
_GATE_CLOSES = _F(0.95)
_OPEN = _F(6)
_VOICE = (slice(4, 20), slice(20, 48), slice(48, 80))
"Of these parts (125 to 600, to 1500, to 4900 Hz) the one with the most speech tells whether somebody speaks."
_FALLS = _F(0.35)
"""Share of the way from the last gain of a bin down to its new one: gains that flicker make a voice sound rough. Up it
goes at once, or the beginnings of words would be lost."""
_STAYS = _F(0.98)
"""Of its last gain a bin keeps as much where no more is heard than there was of speech in the hop before: so fades a
voice in its room, and nothing that begins."""
_TINY = _F(1e-9)


def _means() -> Sound:
    """(BANDS, parts of `_VOICE`): `gains @ _MEANS` are the mean gains of the parts."""
    columns = np.zeros((len(_VOICE), BANDS), np.float32)
    for column, part in zip(columns, _VOICE, strict=True):
        column[part] = 1 / len(column[part])
    return np.ascontiguousarray(columns.T)


_MEANS = _means()


def refined(layout: Layout, rows: Sound, power: Sound, gains: Sound) -> Sound:
    """(hops, sessions, BINS) power and (hops, sessions, BANDS) gains of the net -> gains per bin."""
    noise, speech = rows[:, layout["noise"]], rows[:, layout["speech"]]
    last, known, gate = (rows[:, layout[name]] for name in ("last", "known", "gate"))
    softer = np.exp(_SOFTER * np.log(gains + _F(1e-6)))
    # One product for both: a matrix of few rows costs nearly as much as one of many.
    both = in_bins(np.stack((softer, gains)))
    coarse: Sound = both[0]
    absent = np.maximum(1 - both[1], 0)  # how surely there is no speech; the rest is rounding
    heard = (gains @ _MEANS).max(axis=2, keepdims=True)
    opened = np.minimum(1, heard * _OPEN)
    for hop, seen in enumerate(power):
        # A running mean at first, which turns into a slow one.
        rate = np.maximum(_SLOW, 1 / (known + 1))
        known += known < _SETTLED
        steady = np.minimum(seen, _BURST * noise)
        if (early := known[:, 0] < _EARLY).any():
            steady[early] = seen[early]
        noise += rate * absent[hop] * (steady - noise) + _TINY
        prior = (_DECISION * speech + (1 - _DECISION) * np.maximum(seen - noise, 0)) / noise
        np.maximum(prior, _LEAST_PRIOR, out=prior)
        fine = coarse[hop]
        fine *= np.sqrt(prior / (1 + prior))
        np.maximum(fine, _FLOOR, out=fine)
        fading = np.sqrt(speech / (seen + _TINY))
        np.multiply(fine * fine, seen, out=speech)
        np.maximum(opened[hop], gate * _GATE_CLOSES, out=gate)
        fine *= np.exp((gate - 1) * _GATE)
        np.minimum(fading, _STAYS * last, out=fading)
        fine -= last
        last += np.maximum(fine, _FALLS * fine)
        np.maximum(last, fading, out=last)
        fine[:] = last
    return coarse
