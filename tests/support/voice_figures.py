"""How good is a cleaned voice? PESQ, STOI, SI-SDR, DNSMOS, attenuation in pauses and delay."""

import statistics
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

FS = 16000
Samples = npt.NDArray[np.float64]


class Figures(TypedDict):
    """Of one clip, or means of many; None where it cannot be said (no pause, no speech found)."""

    pesq_wb: float | None
    pesq_nb: float | None
    estoi: float | None
    sisdr: float | None
    sig: float | None
    bak: float | None
    ovr: float | None
    p808: float | None
    na: float | None


def delay(reference: Samples, heard: Samples, most: int = 2000) -> int:
    """Samples by which `heard` lags, by cross-correlation."""
    size = 1 << (2 * len(reference)).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size)), size)
    lags = np.concatenate([np.arange(most), np.arange(-most, 0)])
    return int(lags[np.argmax(np.concatenate([both[:most], both[-most:]]))])


def aligned(sound: Samples, lag: int, n: int) -> Samples:
    sound = sound[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag), sound])
    sound = sound[:n]
    return np.concatenate([sound, np.zeros(n - len(sound))])


def figures(clean: Samples, noisy: Samples, heard: Samples) -> Figures:
    """All three aligned and equally long, 16 kHz."""
    from pystoi import stoi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sig, bak, ovr, p808 = _dnsmos()(heard)
        return Figures(
            pesq_wb=_pesq(clean, heard, FS),
            pesq_nb=_pesq(resample_poly(clean, 1, 2), resample_poly(heard, 1, 2), FS // 2),
            estoi=float(stoi(clean, heard, FS, extended=True)),
            sisdr=_si_sdr(clean, heard),
            sig=sig,
            bak=bak,
            ovr=ovr,
            p808=p808,
            na=_pause_attenuation(clean, noisy, heard),
        )


def means(of: Sequence[Figures]) -> Figures:
    """Of the clips for which a figure could be said."""
    return cast(
        "Figures",
        {
            name: _mean([one[name] for one in cast("list[dict[str, float | None]]", of)])
            for name in Figures.__annotations__
        },
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 3) if known else None


def _pesq(clean: Samples, heard: Samples, rate: int) -> float:
    from pesq import NoUtterancesError, pesq

    try:
        return float(pesq(rate, clean, heard, "wb" if rate == FS else "nb"))
    except NoUtterancesError:  # nothing of the voice is left: the scale's end
        return 1.0


def _si_sdr(clean: Samples, heard: Samples) -> float:
    scale = np.dot(heard, clean) / np.dot(clean, clean)
    wrong = heard - scale * clean
    return float(10 * np.log10(np.sum((scale * clean) ** 2) / (np.sum(wrong**2) + 1e-12)))


def _power_db(sound: Samples) -> Samples:
    count = len(sound) // 320
    out: Samples = 10 * np.log10(np.mean(sound[: count * 320].reshape(count, 320) ** 2, 1) + 1e-12)
    return out


def _pause_attenuation(clean: Samples, noisy: Samples, heard: Samples) -> float | None:
    """dB, 40 ms away from speech and after 0.3 s."""
    level = _power_db(clean)
    silent = level < np.percentile(level, 95) - 50
    pause = silent & np.roll(silent, 2) & np.roll(silent, -2)
    pause[:15] = False
    if pause.sum() <= 5:
        return None
    before, after = (np.mean(10 ** (_power_db(one)[pause] / 10)) for one in (noisy, heard))
    return float(10 * np.log10(before / after))


class _Dnsmos:
    """Microsoft's P.835 and P.808 estimators, run as its own script does: 9.01 s, repeated if shorter."""

    def __init__(self) -> None:
        import onnxruntime
        import speechmos

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        folder = Path(speechmos.__file__).parent / "dnsmos_models"
        self._p835 = onnxruntime.InferenceSession(str(folder / "sig_bak_ovr.onnx"), options)
        self._p808 = onnxruntime.InferenceSession(str(folder / "model_v8.onnx"), options)

    def __call__(self, heard: Samples) -> tuple[float, float, float, float]:
        import librosa

        sound = np.clip(heard, -1, 1).astype(np.float32)
        size = int(9.01 * FS)
        while len(sound) < size:
            sound = np.append(sound, sound)
        sound = sound[:size]
        mel = librosa.feature.melspectrogram(y=sound[:-160], sr=FS, n_fft=321, hop_length=160, n_mels=120)
        mel = ((librosa.power_to_db(mel, ref=np.max) + 40) / 40).T[None].astype(np.float32)
        p808 = self._p808.run(None, {self._p808.get_inputs()[0].name: mel})[0][0][0]
        sig, bak, ovr = self._p835.run(None, {"input_1": sound[None]})[0][0]
        return (
            float(np.polyval([-0.08397278, 1.22083953, 0.0052439], sig)),
            float(np.polyval([-0.13166888, 1.60915514, -0.39604546], bak)),
            float(np.polyval([-0.06766283, 1.11546468, 0.04602535], ovr)),
            float(p808),
        )


@cache
def _dnsmos() -> _Dnsmos:
    return _Dnsmos()
