"""What the whole voice chain costs."""

import time

import numpy as np

from media import pipeline
from media.frame import SAMPLES, to_frame
from media.pipeline import Voice


def chain_us(sessions: int, ticks: int = 100) -> float:
    """Microseconds of CPU per session and 10 ms of sound, `sessions` together; the median tick."""
    random = np.random.default_rng(1)
    voices = [Voice() for _ in range(sessions)]
    frames = to_frame((random.standard_normal((ticks, sessions, SAMPLES)) * 0.05).astype(np.float32))
    spent = []
    for frame in frames:
        began = time.process_time()
        pipeline.process(voices, list(frame))
        spent.append(time.process_time() - began)
    return float(np.median(spent)) / sessions / 2 * 1e6
