"""Both suppressors: the same for a batch as alone, late by 10 ms, and what happens when the weights are of no use."""

import logging
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from media import denoise
from media.denoise import WEIGHTS, BadWeights, Classical, Neural, Suppressor, load, refine
from media.denoise.analysis import BANDS, BINS, features
from media.denoise.analysis import WEIGHTS as BAND_WEIGHTS
from media.denoise.neural import HOPS, Gru, Net
from media.denoise.stream import PARTS, sound, spectra
from media.frame import HOP, RATE, SAMPLES
from media.layout import Layout
from media.level import decibels
from tests.unit.media.synthetic import noise, speech

Rows = npt.NDArray[np.float32]
BOTH: list[Suppressor] = [load(WEIGHTS), Classical()]
each = pytest.mark.parametrize("suppressor", BOTH, ids=lambda one: one.kind)


def through(suppressor: Suppressor, sounds: Rows, size: int = SAMPLES) -> Rows:
    """(sessions, n) at once, `size` samples at a time."""
    rows = np.stack([suppressor.fresh() for _ in sounds])
    starts = range(0, sounds.shape[1] - size + 1, size)
    return np.concatenate([suppressor.process(rows, sounds[:, at : at + size]) for at in starts], axis=1)


def dirty(count: int, seconds: float = 3) -> Rows:
    return np.stack([speech(seconds, -20 - at) + noise(seconds, -40, at) for at in range(count)]).astype(np.float32)


@each
@pytest.mark.parametrize("count", [2, 7, 32])
def test_a_batch_gives_each_session_what_it_would_have_had_alone(suppressor: Suppressor, count: int) -> None:
    sounds = dirty(count, 1.5)
    together = through(suppressor, sounds)
    for at in (0, count // 2, count - 1):
        alone = through(suppressor, sounds[at : at + 1])[0]
        assert np.max(np.abs(together[at] - alone)) < 1e-6


@each
def test_five_frames_at_once_are_five_frames_one_after_the_other(suppressor: Suppressor) -> None:
    sounds = dirty(3)
    assert np.max(np.abs(through(suppressor, sounds) - through(suppressor, sounds, 5 * SAMPLES))) < 1e-6


def test_the_net_knows_both_hops_of_a_frame_and_nothing_of_the_next() -> None:
    with np.load(WEIGHTS) as file:
        net = Net({name: file[name].astype(np.float32) for name in file.files})
    given = np.random.default_rng(3).standard_normal((6, 1, BANDS)).astype(np.float32)

    def told(changed: int) -> list[bool]:
        other = given.copy()
        other[changed] += 1
        moved = np.abs(net(other, *states()) - net(given, *states())).max(axis=(1, 2))
        return [bool(one > 0) for one in moved]

    def states() -> tuple[Rows, Rows]:
        return np.zeros((1, net.hidden), np.float32), np.zeros((1, net.hidden), np.float32)

    assert told(3) == [False, False, True, True, True, True]
    assert told(4) == [False, False, False, False, True, True]


@each
def test_everything_stays_float32(suppressor: Suppressor) -> None:
    rows = np.stack([suppressor.fresh() for _ in range(2)])
    assert rows.dtype == np.float32
    assert suppressor.process(rows, dirty(2)[:, :SAMPLES]).dtype == np.float32


@each
def test_silence_loudness_and_what_comes_after_them_give_finite_sound(suppressor: Suppressor) -> None:
    parts = [np.zeros(RATE), np.ones(RATE), np.sin(np.arange(RATE)), np.full(RATE, 1e-6), noise(1, 0), np.zeros(RATE)]
    out = through(suppressor, np.concatenate(parts)[None].astype(np.float32))
    assert np.isfinite(out).all()
    assert np.max(np.abs(out)) < 8


@each
def test_noise_alone_is_taken_down_by_12_db_or_more(suppressor: Suppressor) -> None:
    given = noise(4, -35)
    out = through(suppressor, given[None].astype(np.float32))[0, RATE * 2 :]
    assert decibels(float(np.mean(out**2))) < -35 - 12


@each
def test_flush_drops_the_sound_inside_and_keeps_what_was_learnt(suppressor: Suppressor) -> None:
    rows = suppressor.fresh()[None]
    for frame in noise(2, -30).astype(np.float32).reshape(-1, 1, SAMPLES):
        suppressor.process(rows, frame)
    learnt = rows.copy()
    suppressor.flush(rows[0])
    assert np.any(rows != learnt)
    assert np.mean(rows == learnt) > 0.4
    assert not suppressor.process(rows, np.zeros((1, SAMPLES), np.float32)).any()


def test_spectra_and_back_are_the_sound_one_hop_later() -> None:
    layout = Layout(**PARTS)
    rows = np.zeros((2, layout.size), np.float32)
    given = noise(1, -20)[: 2 * SAMPLES * 20].reshape(2, -1).astype(np.float32)
    out = [
        sound(layout, rows, spectra(layout, rows, given[:, at : at + SAMPLES]))
        for at in range(0, given.shape[1], SAMPLES)
    ]
    assert np.max(np.abs(np.concatenate(out, axis=1)[:, HOP:] - given[:, :-HOP])) < 1e-6


def test_the_gain_of_a_bin_rises_at_once_and_falls_by_steps() -> None:
    layout = Layout(**refine.PARTS)
    rows = np.zeros((1, layout.size), np.float32)
    power = np.ones((8, 1, BINS), np.float32)
    voice = np.repeat([1.0, 0.0], 4)[:, None, None] * np.ones((1, 1, BANDS))
    out = refine.refined(layout, rows, power, voice.astype(np.float32))[:, 0, 40]
    fall = np.diff(out[3:])
    assert out[:4] == pytest.approx(1, abs=1e-2)
    assert (fall < 0).all()
    assert abs(fall[0]) < 0.5


def test_what_is_left_of_a_voice_fades_and_what_begins_behind_it_is_cut_off() -> None:
    layout = Layout(**refine.PARTS)
    voice = np.repeat([1.0, 0.0], 4)[:, None, None] * np.ones((1, 1, BANDS))

    def gain(*after: float) -> float:
        """In the hop behind the voice; `after`: power, the voice had 1."""
        power = np.array([1.0] * 4 + list(after))[:, None, None] * np.ones((1, 1, BINS))
        rows = np.zeros((1, layout.size), np.float32)
        gains = voice[: len(power)].astype(np.float32)
        return float(refine.refined(layout, rows, power.astype(np.float32), gains)[-1, 0, 40])

    assert gain(0.5) > 0.9
    assert gain(4.0) < 0.7
    assert gain(0.5, 0.5, 0.5, 0.5) < 0.3


def test_bands_share_each_bin_among_them() -> None:
    assert BAND_WEIGHTS.shape == (BANDS, BINS)
    assert np.allclose(BAND_WEIGHTS.sum(axis=0), 1, atol=1e-6)
    assert (BAND_WEIGHTS.sum(axis=1) > 0.9).all()


def test_features_of_silence_and_of_full_scale_are_of_the_size_that_the_net_learnt() -> None:
    assert features(np.zeros((1, BANDS), np.float32)).min() == pytest.approx(-2.5)
    assert features(np.full((1, BANDS), 1e4, np.float32)).max() == pytest.approx(3)


def test_the_recurrence_is_the_one_of_the_textbook() -> None:
    random = np.random.default_rng(2)
    hidden, inputs = 5, 4
    weights = {
        "g.weight_ih_l0": random.standard_normal((3 * hidden, inputs)),
        "g.weight_hh_l0": random.standard_normal((3 * hidden, hidden)),
        "g.bias_ih_l0": random.standard_normal(3 * hidden),
        "g.bias_hh_l0": random.standard_normal(3 * hidden),
    }
    x, h = random.standard_normal(inputs), random.standard_normal(hidden)
    given = weights["g.weight_ih_l0"] @ x + weights["g.bias_ih_l0"]
    past = weights["g.weight_hh_l0"] @ h + weights["g.bias_hh_l0"]
    reset, update = (1 / (1 + np.exp(-(given[s] + past[s]))) for s in (slice(0, 5), slice(5, 10)))
    expected = (1 - update) * np.tanh(given[10:] + reset * past[10:]) + update * h
    state = h[None].astype(np.float32)
    out = Gru({name: one.astype(np.float32) for name, one in weights.items()}, "g")(
        x[None, None].astype(np.float32), state
    )
    assert np.allclose(out[0, 0], expected, atol=1e-6)
    assert np.allclose(state[0], expected, atol=1e-6)


def test_the_shipped_weights_are_small_and_usable() -> None:
    assert isinstance(denoise.shipped(), Neural)
    assert WEIGHTS.stat().st_size < 1_200_000
    assert WEIGHTS.with_name("WEIGHTS.md").is_file()  # sources, licences, attribution


def broken(path: Path, fault: str) -> Path:
    """A copy of the weights with something wrong."""
    target = path / "weights.npz"
    if fault == "missing":
        return target
    if fault in ("truncated", "garbage", "empty"):
        whole = WEIGHTS.read_bytes()
        target.write_bytes({"truncated": whole[: len(whole) // 2], "garbage": b"\x93NUMPY???", "empty": b""}[fault])
        return target
    with np.load(WEIGHTS) as file:
        weights = {name: file[name] for name in file.files}
    match fault:
        case "no such part":
            del weights["outlet.bias"]
        case "other shape":
            weights["second.weight_hh_l0"] = weights["second.weight_hh_l0"][:, 1:]
        case "not finite":
            weights["inlet.weight"][0, 0] = np.nan
        case "one array":
            np.save(target.with_suffix(".npy"), weights["inlet.bias"])
            shutil.move(target.with_suffix(".npy"), target)
            return target
    np.savez(target, **weights)
    return target


@pytest.mark.parametrize(
    "fault",
    ["missing", "truncated", "garbage", "empty", "no such part", "other shape", "not finite", "one array"],
)
def test_unusable_weights_give_the_classical_filter_and_a_word_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    path = broken(tmp_path, fault)
    with pytest.raises(BadWeights, match=r"weights\.npz: "):
        load(path)
    with caplog.at_level(logging.WARNING, logger="media.denoise"):
        assert denoise.best(path).kind == "classical"
    assert "noise suppression is the classical one" in caplog.text
    assert "install the package again" in caplog.text


def test_a_net_of_another_size_loads_too(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    small = {
        "inlet.weight": (6, HOPS * BANDS),
        "inlet.bias": (6,),
        "outlet.weight": (HOPS * BANDS, 6),
        "outlet.bias": (HOPS * BANDS,),
        **{f"{name}.weight_{side}_l0": (18, 6) for name in ("first", "second") for side in ("ih", "hh")},
        **{f"{name}.bias_{side}_l0": (18,) for name in ("first", "second") for side in ("ih", "hh")},
    }
    weights = {name: random.standard_normal(shape).astype(np.float16) for name, shape in small.items()}
    np.savez(tmp_path / "small.npz", **weights)  # type: ignore[arg-type]
    assert through(load(tmp_path / "small.npz"), dirty(2, 0.2)).shape == (2, 3200)
    assert Net({name: one.astype(np.float32) for name, one in weights.items()}).hidden == 6
