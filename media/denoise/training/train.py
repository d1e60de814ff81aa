"""Trains the net: `python -m media.denoise.training.train FOLDER WEIGHTS.npz --minutes 60`.

FOLDER/train is what `corpus` made; with `--taught` the net goes on with what `teacher` made there, and imitates it.
One thread, resumable: the state is written every two minutes and taken up again. The loss is in the band domain, on
amplitudes to the power of 1/3.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..analysis import ANALYSIS, BANDS, BINS, WEIGHTS, features
from ..neural import HOPS
from .recurrent import Gru

FRAMES = 300
BATCH = 128
HIDDEN = 192
_GAINS = 0.3
"What a gain counts for where there is nothing to hear: pauses weigh little in the sound, but people notice them."
_FLICKER = 0.3
"What counts besides an error: its change from hop to hop, which is what makes a voice rough."
_WARM_UP = 40
"Frames at the start of a crop that do not count: the net has heard nothing yet."
_AGAIN = 120
"Seconds after which the state is written, and new lessons are looked for."

Array = npt.NDArray[np.float32]


class Net(torch.nn.Module):  # type: ignore[misc]  # torch is not in the locked environment
    """As `neural.Net`: FC tanh -> GRU -> GRU -> sigmoid(W (h1 + h2)), the cube root of a gain per band."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.inlet = torch.nn.Linear(HOPS * BANDS, hidden)
        self.first = Gru(hidden, hidden)
        self.second = Gru(hidden, hidden)
        self.outlet = torch.nn.Linear(hidden, HOPS * BANDS)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(n, hops, BANDS) -> the same."""
        by_step = seen.reshape(len(seen), -1, HOPS * BANDS).transpose(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            one = self.first(torch.tanh(self.inlet(by_step)))
            two = self.second(one)
            roots = self.outlet(one + two)
        return torch.sigmoid(roots.float()).transpose(0, 1).reshape(seen.shape)


@dataclass
class Batch:
    """(BATCH, FRAMES, BANDS) each; amplitudes as cube roots."""

    features: Array
    noisy: Array
    wanted: Array


class Lessons:
    """Draws from what `teacher` wrote: at another level, through another equaliser, most of it with more noise."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._folder = folder
        self._noise = _opened(folder / "noise.f16")
        self._turn = _turning(self._random)
        self._files: dict[Path, tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]] = {}
        self.look()

    def look(self) -> None:
        """For files that have come since."""
        for path in sorted(self._folder.glob("taught*.npz")):
            if path not in self._files:
                with np.load(path) as file:
                    self._files[path] = (file["noisy"], np.minimum(file["taught"], file["noisy"]))
        self._pieces = [(one, at) for one in self._files.values() for at in range(len(one[0]))]

    def batch(self) -> Batch:
        random = self._random
        noisy, wanted = np.empty((2, BATCH, FRAMES, BANDS), np.float32)
        for i in range(BATCH):
            (heard, taught), piece = self._pieces[int(random.integers(len(self._pieces)))]
            hop = int(random.integers(heard.shape[1] - FRAMES))
            gain = 10 ** (random.uniform(-10, 6) / 20) * equaliser(random)
            noisy[i], wanted[i] = (_wide(one[piece, hop : hop + FRAMES]) * gain for one in (heard, taught))
            if random.random() < 0.7:
                start = int(random.integers(0, len(self._noise) - FRAMES))
                more = _wide(self._noise[start : start + FRAMES]) * equaliser(random)
                if random.random() < 0.3:
                    more *= bursts(random)
                said = np.sqrt(np.mean(wanted[i] ** 2) + 0.05 * np.mean(noisy[i] ** 2))
                more *= said / (np.sqrt(np.mean(more**2)) + 1e-6) * 10 ** (-random.uniform(-2, 20) / 20)
                turn = self._turn[int(random.integers(len(self._turn) - FRAMES)) :][:FRAMES]
                noisy[i] = np.sqrt(np.maximum(noisy[i] ** 2 + more**2 + 2 * turn * noisy[i] * more, 0))
        np.minimum(wanted, noisy, out=wanted)
        return _weighed(noisy, wanted)


class Mixer:
    """Makes noisy speech out of what `corpus` wrote."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._speech = _opened(folder / "speech.f16")
        self._noise = _opened(folder / "noise.f16")
        self._turn = _turning(self._random)

    def batch(self) -> Batch:
        random = self._random
        shape = (BATCH, FRAMES, BANDS)
        clean, noise = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for i in range(BATCH):
            speechless, noiseless = random.random() < 0.06, random.random() < 0.05
            level = 10 ** (random.uniform(-25, 8) / 20)  # of speech at -20 dBFS
            if not speechless:
                clean[i] = self._crop(self._speech, level)
                if random.random() < 0.3:
                    clean[i] *= self._jump(12)
            if speechless or not noiseless:
                snr = random.uniform(-5, 25)
                noise[i] = self._crop(self._noise, level * 10 ** (-snr / 20))
                if random.random() < 0.35:
                    other = self._crop(self._noise, level * 10 ** (-(snr + random.uniform(0, 12)) / 20))
                    noise[i] = np.sqrt(noise[i] ** 2 + other**2)
                if random.random() < 0.3:
                    noise[i] *= self._jump(10)
            noise[i] += 10 ** (random.uniform(-95, -70) / 20) * _HISS  # the microphone's own
            if random.random() < 0.25:  # what a cheap headset or a phone line lets through
                line = _low_pass(random.uniform(3000, 8000)) * _high_pass(random.uniform(0, 300))
                clean[i] *= line
                noise[i] *= line
        starts = random.integers(0, len(self._turn) - FRAMES, BATCH)
        turn = np.stack([self._turn[at : at + FRAMES] for at in starts])
        heard = np.sqrt(np.maximum(clean**2 + noise**2 + 2 * turn * clean * noise, 0))
        return _weighed(heard, np.minimum(clean, heard))

    def _crop(self, source: npt.NDArray[np.float16], level: float) -> Array:
        start = int(self._random.integers(0, len(source) - FRAMES))
        out: Array = _wide(source[start : start + FRAMES]) * (level * equaliser(self._random))
        return out

    def _jump(self, most: float) -> Array:
        """Somebody comes nearer, or turns a fan up: (FRAMES, 1)."""
        at = int(self._random.integers(20, FRAMES - 20))
        gain = np.ones((FRAMES, 1), np.float32)
        gain[at:] = 10 ** (self._random.uniform(-most, most) / 20)
        return gain


_HERTZ = (WEIGHTS / WEIGHTS.sum(axis=1, keepdims=True)) @ (np.arange(BINS) * 31.25)
_HISS = np.sqrt(WEIGHTS.sum(axis=1) * (ANALYSIS**2).sum())
_SPREAD = (1 / np.sqrt(np.maximum(1, WEIGHTS.sum(axis=1)))).astype(np.float32)


def _opened(path: Path) -> npt.NDArray[np.float16]:
    return np.fromfile(path, np.float16).reshape(-1, BANDS)


def _low_pass(hertz: float) -> Array:
    out: Array = (1 / np.sqrt(1 + (_HERTZ / hertz) ** 12)).astype(np.float32)
    return out


def _high_pass(hertz: float) -> Array:
    out: Array = (1 / np.sqrt(1 + (hertz / (_HERTZ + 10)) ** 4)).astype(np.float32)
    return out


def equaliser(random: np.random.Generator) -> Array:
    """A smooth random one of a few dB."""
    knots = random.normal(0, 3.0, 6)
    curve = np.interp(np.sqrt(_HERTZ / 31.25), np.linspace(0, 16, 6), knots)
    out: Array = (10 ** (curve / 20)).astype(np.float32)
    return out


def bursts(random: np.random.Generator) -> Array:
    """Strokes and knocks of any noise, (FRAMES, 1): each sudden, dying away within a hop or fifteen."""
    struck = (random.random(FRAMES) < random.uniform(0.01, 0.12)) * 10 ** (random.uniform(-20, 6, FRAMES) / 20)
    dying = np.exp(-np.arange(60) / np.exp(random.uniform(np.log(0.4), np.log(5))))
    envelope = 3 * np.convolve(struck, dying)[:FRAMES] + 10 ** (random.uniform(-40, -5) / 20)
    out: Array = envelope[:, None].astype(np.float32)
    return out


def _turning(random: np.random.Generator) -> Array:
    """Re(S N*) of a band over |S N|: as good as random, steady over about two frames, the smaller the more bins."""
    phase = random.standard_normal((2, 60 * FRAMES + 1, BANDS), dtype=np.float32)
    phase = phase[:, 1:] + np.float32(0.6) * phase[:, :-1]
    out: Array = phase[0] / np.sqrt(phase[0] ** 2 + phase[1] ** 2 + np.float32(1e-9)) * _SPREAD
    return out


def _weighed(noisy: Array, wanted: Array) -> Batch:
    """Quiet talkers weigh as much as loud ones."""
    said, heard = ((one**2).mean(axis=(1, 2)) for one in (wanted, noisy))
    scale = (1 / np.sqrt(np.maximum(said, 0.05 * heard) + 1e-12)).astype(np.float32)[:, None, None]
    return Batch(features(noisy**2), np.cbrt(noisy * scale), np.cbrt(wanted * scale))


def _wide(half: npt.NDArray[np.float16]) -> Array:
    """PyTorch's conversion, which takes a fraction of numpy's time."""
    out: Array = torch.from_numpy(half).float().numpy()
    return out


def loss(roots: torch.Tensor, batch: Batch) -> torch.Tensor:
    noisy, wanted = (torch.from_numpy(one[:, _WARM_UP:]) for one in (batch.noisy, batch.wanted))
    off = roots[:, _WARM_UP:] - wanted / (noisy + 1e-4)
    weight = noisy**2 + _GAINS
    steps = off[:, 1:] - off[:, :-1]
    return (off**2 * weight).mean() + _FLICKER * (steps**2 * weight[:, 1:]).mean()


def save(path: Path, weights: dict[str, torch.Tensor]) -> None:
    np.savez(path, **{name: one.numpy().astype(np.float16) for name, one in weights.items()})


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("weights", type=Path)
    options.add_argument("--minutes", type=float, default=60, help="of this process's CPU time, over all runs")
    options.add_argument("--hidden", type=int, default=HIDDEN)
    options.add_argument("--start", type=Path, help="weights to begin with")
    options.add_argument("--taught", action="store_true", help="imitate what `teacher` wrote")
    options.add_argument("--rate", type=float, default=1.5e-3)
    options.add_argument("--seed", type=int, default=0, help="another one for each run, or it draws the same again")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net = Net(chosen.hidden)
    print(sum(p.numel() for p in net.parameters()), "weights", flush=True)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    mean = {name: one.detach().clone() for name, one in net.state_dict().items()}
    spent, step = 0.0, 0
    kept = chosen.weights.with_suffix(".pt")
    if chosen.start and not kept.exists():
        with np.load(chosen.start) as file:
            net.load_state_dict({name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files})
        mean = {name: one.detach().clone() for name, one in net.state_dict().items()}
    if kept.exists():
        state = torch.load(kept)
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        mean, spent, step = state["mean"], state["spent"], state["step"]
    source = (Lessons if chosen.taught else Mixer)(chosen.folder / "train", chosen.seed + step)
    began, saved, recent = time.process_time() - spent, time.monotonic(), []
    while (spent := time.process_time() - began) < chosen.minutes * 60:
        done = spent / (chosen.minutes * 60)
        for group in optimiser.param_groups:
            group["lr"] = float(
                chosen.rate * min(1, (step + 10) / 200) * (0.005 + 0.995 * (1 + np.cos(np.pi * done)) / 2)
            )
        batch = source.batch()
        error = loss(net(torch.from_numpy(batch.features)), batch)
        optimiser.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        rate = min(0.998, step / (step + 10))
        for name, one in net.state_dict().items():
            mean[name] += (1 - rate) * (one - mean[name])
        recent.append(float(error.detach()))
        if step % 50 == 0:
            print(f"{step} {spent / 60:.1f} min {np.mean(recent):.5f}", flush=True)
            recent = []
        if time.monotonic() - saved > _AGAIN:
            if isinstance(source, Lessons):
                source.look()
            saved = time.monotonic()
            fresh = kept.with_suffix(".new")
            torch.save(
                {
                    "net": net.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "mean": mean,
                    "spent": spent,
                    "step": step,
                },
                fresh,
            )
            fresh.replace(kept)
            save(chosen.weights, mean)
    save(chosen.weights, mean)


if __name__ == "__main__":
    main()
