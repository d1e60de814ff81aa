"""The suppressor that was taught: a small recurrent net gives a gain per band, a Wiener filter refines it per bin.

The net takes a step per frame of the engine: it hears both hops at once and answers for both, so that it costs half
as much and the first hop's gains know of the second, which is there anyway. It hears which bands are speech; the filter
takes what is left between the harmonics of one band.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..frame import Sound
from ..layout import Layout
from . import refine, stream
from .analysis import BANDS, features, in_bands, power

_F = np.float32
HOPS = 2
"In a step of the net."


class BadWeights(Exception):
    """The file is missing or is not what this code was written for; the text says which."""


class Net:
    """FC tanh -> GRU -> GRU -> sigmoid(W (h1 + h2))^3, as `training.train.Net`, with float32 weights."""

    def __init__(self, weights: Mapping[str, Sound]) -> None:
        self.hidden = len(weights["inlet.bias"])
        self._inlet = _linear(weights, "inlet.weight", "inlet.bias")
        self._first = Gru(weights, "first")
        self._second = Gru(weights, "second")
        self._outlet = _linear(weights, "outlet.weight", "outlet.bias")

    def __call__(self, seen: Sound, first: Sound, second: Sound) -> Sound:
        """(hops, sessions, BANDS) features -> gains of the same shape. The two states (sessions, hidden) move on."""
        one = self._first(np.tanh(_times(_by_step(seen), self._inlet)), first)
        two = self._second(one, second)
        roots = _by_hop(_sigmoid(_times(one + two, self._outlet)))
        return roots * roots * roots


class Gru:
    """Gates in the order reset, update, new (as in PyTorch)."""

    def __init__(self, weights: Mapping[str, Sound], name: str) -> None:
        self._from_input = _linear(weights, f"{name}.weight_ih_l0", f"{name}.bias_ih_l0")
        self._from_past = _linear(weights, f"{name}.weight_hh_l0", f"{name}.bias_hh_l0")

    def __call__(self, inputs: Sound, state: Sound) -> Sound:
        """(steps, sessions, n) -> (steps, sessions, hidden); `state` is left at the last."""
        size = state.shape[1]
        given = _times(inputs, self._from_input)
        out = np.empty((*given.shape[:2], size), np.float32)
        now = np.ascontiguousarray(state)
        for step, fresh in enumerate(given):
            past = _times(now, self._from_past)
            gates = _sigmoid(fresh[:, : 2 * size] + past[:, : 2 * size])
            new = np.tanh(fresh[:, 2 * size :] + gates[:, :size] * past[:, 2 * size :])
            now = np.add(new, gates[:, size:] * (now - new), out=out[step])
        state[:] = now
        return out


def _by_step(hops: Sound) -> Sound:
    """(hops, sessions, BANDS) -> (steps, sessions, HOPS * BANDS)"""
    _, sessions, bands = hops.shape
    return hops.reshape(-1, HOPS, sessions, bands).transpose(0, 2, 1, 3).reshape(-1, sessions, HOPS * bands)


def _by_hop(steps: Sound) -> Sound:
    """The way back."""
    _, sessions, width = steps.shape
    return steps.reshape(-1, sessions, HOPS, width // HOPS).transpose(0, 2, 1, 3).reshape(-1, sessions, width // HOPS)


Linear = tuple[Sound, Sound]


def _linear(weights: Mapping[str, Sound], matrix: str, bias: str) -> Linear:
    return np.ascontiguousarray(weights[matrix].T, np.float32), weights[bias].astype(np.float32)


def _times(x: Sound, by: Linear) -> Sound:
    """One product for all steps and sessions."""
    out: Sound = x.reshape(-1, x.shape[-1]) @ by[0]
    out += by[1]
    return out.reshape(*x.shape[:-1], -1)


def _sigmoid(x: Sound) -> Sound:
    out: Sound = _F(0.5) * np.tanh(_F(0.5) * x) + _F(0.5)
    return out


class Neural:
    """See `Suppressor`."""

    kind = "neural"

    def __init__(self, net: Net) -> None:
        self._net = net
        self._layout = Layout(**stream.PARTS, first=net.hidden, second=net.hidden, **refine.PARTS)

    def fresh(self) -> Sound:
        return np.zeros(self._layout.size, np.float32)

    def flush(self, row: Sound) -> None:
        stream.flush(self._layout, row)

    def process(self, rows: Sound, sound: Sound) -> Sound:
        layout = self._layout
        spectra = stream.spectra(layout, rows, sound)
        seen = power(spectra)
        gains = self._net(features(in_bands(seen)), rows[:, layout["first"]], rows[:, layout["second"]])
        spectra *= refine.refined(layout, rows, seen, gains)
        return stream.sound(layout, rows, spectra)


def load(path: Path) -> Neural:
    """The net of a file of weights (float16); raises BadWeights."""
    try:
        with zipfile.ZipFile(path):  # np.load takes other kinds of files too
            pass
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name].astype(np.float32) for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as fault:
        raise BadWeights(f"{path.name}: {fault}") from None
    wanted = _shapes(len(weights.get("inlet.bias", ())))
    for name, shape in wanted.items():
        if name not in weights:
            raise BadWeights(f"{path.name}: {name} is missing")
        if weights[name].shape != shape:
            raise BadWeights(f"{path.name}: {name} is {weights[name].shape}, not {shape}")
        if not np.isfinite(weights[name]).all():
            raise BadWeights(f"{path.name}: {name} is not finite")
    return Neural(Net(weights))


def _shapes(hidden: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "inlet.weight": (hidden, HOPS * BANDS),
        "inlet.bias": (hidden,),
        "outlet.weight": (HOPS * BANDS, hidden),
        "outlet.bias": (HOPS * BANDS,),
    }
    for name in ("first", "second"):
        for side in ("ih", "hh"):
            shapes[f"{name}.weight_{side}_l0"] = (3 * hidden, hidden)
            shapes[f"{name}.bias_{side}_l0"] = (3 * hidden,)
    return shapes
