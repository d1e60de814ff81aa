"""What a piece of sound is in this package: 20 ms of 16 kHz mono, 320 int16 samples."""

import numpy as np
import numpy.typing as npt

RATE = 16_000
"Samples per second of every frame inside the worker; the edges convert."
TICK = 0.02
"Seconds that one frame lasts."
SAMPLES = 320
"Samples in a frame: `RATE * TICK`."
HOP = 160
"Samples in the 10 ms that the voice chain works on."

Frame = npt.NDArray[np.int16]
Sound = npt.NDArray[np.float32]
"Samples as float32, full scale is -1..1."

SILENCE: Frame = np.zeros(SAMPLES, dtype=np.int16)
SILENCE.setflags(write=False)


def to_sound(frame: Frame) -> Sound:
    """int16 samples of any length -> float32, full scale 1.0."""
    return frame.astype(np.float32) * np.float32(1 / 32768)


def to_frame(sound: Sound) -> Frame:
    """float32 samples of any length -> int16; what lies outside full scale is clipped."""
    return rounded(sound * np.float32(32768))


def rounded(sound: Sound) -> Frame:
    """float32 in units of int16, which is overwritten -> int16, clipped. Twice as fast as `np.clip`."""
    np.rint(sound, out=sound)
    np.maximum(sound, np.float32(-32768), out=sound)
    np.minimum(sound, np.float32(32767), out=sound)
    return sound.astype(np.int16)
