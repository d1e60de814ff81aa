"""Pictures for docs/denoise.md: `python -m tests.support.spectrograms FOLDER`; a row each for noisy, ours and clean.

0 to 8 kHz, 80 dB from black to white, 10 ms a pixel. Written as PNG here: no drawing package is needed for that.
"""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.support.extras import run_with

CLIPS = ("babble_05dB_cs-v", "keyboard_00dB_en", "fan_hum_05dB_cs-m", "street_15dB_cs-v")
_STOPS = np.array([[0, 0, 4], [60, 15, 110], [150, 40, 100], [225, 90, 45], [250, 180, 60], [252, 255, 200]], float)
_GAP = 4
_SHADES = 32

Pixels = npt.NDArray[np.uint8]


def main() -> int:
    run_with("bench")
    from media.denoise import shipped
    from media.frame import HOP, SAMPLES
    from tests.support import dev_set, dev_sounds

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    dev_sounds.fetch()
    suppressor = shipped()
    for clip in dev_set.clips():
        if clip.name not in CLIPS:
            continue
        rows = suppressor.fresh()[None]
        frames = np.pad(clip.noisy, (0, -len(clip.noisy) % SAMPLES + SAMPLES)).reshape(-1, 1, SAMPLES)
        ours = np.concatenate([suppressor.process(rows, frame) for frame in frames], axis=1)[0]
        strips = [picture(one) for one in (clip.noisy, ours[HOP:][: len(clip.noisy)], clip.clean)]
        gap = np.full((_GAP, strips[0].shape[1]), _SHADES - 1, np.uint8)
        (folder / f"{clip.name}.png").write_bytes(png(np.concatenate([strips[0], gap, strips[1], gap, strips[2]])))
    return 0


def picture(sound: npt.NDArray[np.float32]) -> Pixels:
    """(128, 10 ms each) shades."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames))[:, :256].reshape(len(frames), 128, 2).max(axis=2)
    shade: Pixels = np.rint(np.clip((20 * np.log10(power + 1e-9) + 50) / 80, 0, 1) * (_SHADES - 1)).astype(np.uint8)
    return shade[:, ::-1].T


def png(shades: Pixels) -> bytes:
    """8-bit indexed colour, every line unfiltered (PNG specification, 11.2 and 9.2)."""
    height, width = shades.shape
    lines = np.concatenate((np.zeros((height, 1), np.uint8), shades), axis=1).tobytes()
    at, places = np.linspace(0, 1, _SHADES), np.linspace(0, 1, len(_STOPS))
    palette = np.stack([np.interp(at, places, _STOPS[:, one]) for one in range(3)], axis=-1).astype(np.uint8)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


if __name__ == "__main__":
    sys.exit(main())
