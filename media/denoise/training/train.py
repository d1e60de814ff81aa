"""Trains the net: `python -m media.denoise.training.train FOLDER WEIGHTS.npz --minutes 60`.

FOLDER/train is what `corpus` made; with `--taught` the net goes on with what `teacher` made, and imitates it.
One thread, resumable: the state is written every two minutes and taken up again. bfloat16 in the recurrences, which
takes a quarter of the time off where the processor knows it. Loss in the band domain, on magnitudes compressed by 0.35:
against the clean voice, where taking away speech costs more than leaving noise, and against the teacher's.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..analysis import ANALYSIS, BANDS, BINS, WEIGHTS, features

FRAMES = 300
BATCH = 64
HIDDEN = 128
_COMPRESSION = 0.35
_TAUGHT = 0.8
"What the teacher's sound counts for, beside the clean one."
_WARM_UP = 40
"Frames at the start of a crop that do not count: the net has heard nothing yet."

Array = npt.NDArray[np.float32]


class Net(torch.nn.Module):  # type: ignore[misc]  # torch is not in the locked environment
    """FC tanh -> GRU -> GRU -> sigmoid(W (h1 + h2)): a gain per band."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.inlet = torch.nn.Linear(BANDS, hidden)
        self.first = torch.nn.GRU(hidden, hidden, batch_first=True)
        self.second = torch.nn.GRU(hidden, hidden, batch_first=True)
        self.outlet = torch.nn.Linear(hidden, BANDS)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            one = self.first(torch.tanh(self.inlet(seen)))[0]
            two = self.second(one)[0]
        return torch.sigmoid(self.outlet(one.float() + two.float()))


@dataclass
class Batch:
    """(BATCH, FRAMES, BANDS) each."""

    features: Array
    noisy: Array
    clean: Array
    likeness: Array
    taught: Array | None = None


class Lessons:
    """Draws from what `teacher` wrote: at another level, through another equaliser."""

    def __init__(self, path: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        with np.load(path) as file:
            self._pieces = [file[name] for name in ("noisy", "clean", "taught", "likeness")]

    def batch(self) -> Batch:
        random = self._random
        count, hops = self._pieces[0].shape[:2]
        at = [(int(random.integers(count)), int(random.integers(hops - FRAMES))) for _ in range(BATCH)]
        noisy, clean, taught, likeness = (
            np.stack([one[piece, hop : hop + FRAMES] for piece, hop in at]).astype(np.float32) for one in self._pieces
        )
        gain = np.stack([10 ** (random.uniform(-10, 6) / 20) * equaliser(random) for _ in at])[:, None]
        scale = (gain * scaled((clean * gain) ** 2, (noisy * gain) ** 2)).astype(np.float32)
        seen = features((noisy * gain) ** 2).astype(np.float32)
        return Batch(seen, noisy * scale, clean * scale, likeness, np.minimum(taught, noisy) * scale)


class Mixer:
    """Makes noisy speech out of what `corpus` wrote."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._speech = _opened(folder / "speech.f16")
        self._noise = _opened(folder / "noise.f16")

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
        # Re(S N*) of a band: as good as random, steady over about two frames, the smaller the more bins the band has.
        phase = random.standard_normal((2, BATCH, FRAMES + 1, BANDS), dtype=np.float32)
        phase = phase[:, :, 1:] + 0.6 * phase[:, :, :-1]
        turn = phase[0] / np.sqrt(phase[0] ** 2 + phase[1] ** 2 + 1e-9) * _SPREAD
        said, cross = clean**2, turn * clean * noise
        heard = np.maximum(said + noise**2 + 2 * cross, 0)  # rounding may leave a little less than nothing
        scale = scaled(said, heard)
        return Batch(
            features(heard).astype(np.float32),
            (np.sqrt(heard) * scale).astype(np.float32),
            (clean * scale).astype(np.float32),
            ((said + cross) / np.sqrt(heard * said + 1e-12)).astype(np.float32),
        )

    def _crop(self, source: npt.NDArray[np.float16], level: float) -> Array:
        start = int(self._random.integers(0, len(source) - FRAMES))
        out: Array = source[start : start + FRAMES].astype(np.float32) * (level * equaliser(self._random))
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


def scaled(said: Array, heard: Array) -> Array:
    """(BATCH, 1, 1) factors, from the powers: quiet talkers weigh as much as loud ones."""
    power = np.maximum(said.mean(axis=(1, 2)), heard.mean(axis=(1, 2)) * 0.05)
    out: Array = 1 / np.sqrt(power + 1e-12)[:, None, None]
    return out


def loss(gain: torch.Tensor, batch: Batch) -> torch.Tensor:
    noisy, clean = torch.from_numpy(batch.noisy), torch.from_numpy(batch.clean)
    likeness = torch.from_numpy(batch.likeness)
    guess = (gain * noisy + 1e-4) ** _COMPRESSION
    truth = (clean + 1e-4) ** _COMPRESSION
    off = guess - truth
    terms = 0.9 * off**2 + 0.5 * torch.relu(-off) ** 2
    terms = terms + 0.15 * (guess**2 + truth**2 - 2 * guess * truth * likeness)
    if batch.taught is not None:
        taught = torch.from_numpy(batch.taught)
        wanted = torch.clamp(taught / (noisy + 1e-6), max=1)
        like = (guess - (taught + 1e-4) ** _COMPRESSION) ** 2
        pauses = ((gain + 1e-3) ** 0.5 - (wanted + 1e-3) ** 0.5) ** 2  # which weigh little in the sound
        terms = (1 - _TAUGHT) * terms + _TAUGHT * like + 0.1 * pauses
    return terms[:, _WARM_UP:].mean()


def save(path: Path, weights: dict[str, torch.Tensor]) -> None:
    np.savez(path, **{name: one.numpy().astype(np.float16) for name, one in weights.items()})


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("weights", type=Path)
    options.add_argument("--minutes", type=float, default=60, help="of this process's CPU time, over all runs")
    options.add_argument("--hidden", type=int, default=HIDDEN)
    options.add_argument("--start", type=Path, help="weights to begin with")
    options.add_argument("--taught", type=Path, help="what `teacher` wrote, to imitate")
    options.add_argument("--rate", type=float, default=1.5e-3)
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
    source = Lessons(chosen.taught, step) if chosen.taught else Mixer(chosen.folder / "train", step)
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
        if time.monotonic() - saved > 120:
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
