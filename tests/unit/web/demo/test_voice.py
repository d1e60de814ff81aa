"""Sources, recordings and the beat."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from web.demo import tones, voice
from web.demo.voice import Clip, Recording, Silence, Tone


def test_a_tone_goes_on_without_a_click() -> None:
    source = Tone(400)
    pieces = np.concatenate([source.take(160, 8000) for _ in range(10)])
    assert np.array_equal(pieces, tones.tone(400, 1600, 8000))


async def test_a_clip_ends_in_silence() -> None:
    clip = Clip(np.arange(1, 201, dtype=np.int16))
    assert not clip.done.is_set()
    first, second, third = (clip.take(160, 8000) for _ in range(3))
    assert clip.done.is_set()
    assert first[0] == 1
    assert second[39] == 200
    assert not second[40:].any()
    assert not third.any()


def test_silence_is_silent() -> None:
    assert not Silence().take(160, 8000).any()


def test_a_recording_places_windows_at_their_arrival() -> None:
    recording = Recording(8000)
    recording.add(10.00, tones.tone(400, 160, 8000))
    recording.add(10.02, np.zeros(160, np.int16))
    recording.add(10.05, tones.tone(400, 160, 8000))
    seen = recording.trace(400)
    assert seen.times.tolist() == pytest.approx([10.00, 10.01, 10.02, 10.03, 10.05, 10.06])
    assert seen.heard.tolist() == [True, True, False, False, True, True]
    assert seen.hole_ms(10.0, 10.07) == pytest.approx(30)
    assert recording.trace(400, 10.01, 10.05).times.tolist() == pytest.approx([10.01, 10.02, 10.03])


def test_a_recording_of_nothing() -> None:
    assert Recording(8000).trace(400).share() == 0
    assert len(Recording(8000).samples()) == 0


class Clock:
    """Virtual time; every sleep lasts 3 ms too long, as on a busy machine."""

    def __init__(self, sends: int) -> None:
        self.now, self.times, self._sends = 100.0, list[float](), sends

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if len(self.times) >= self._sends:
            raise asyncio.CancelledError
        self.now += seconds + 0.003

    def send(self) -> None:
        self.times.append(self.now)


async def run(clock: Clock, send: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.demo.voice.time.monotonic", clock.monotonic)
    monkeypatch.setattr("web.demo.voice.asyncio.sleep", clock.sleep)
    with pytest.raises(asyncio.CancelledError):
        await voice.beat(send, 0.02)


async def test_the_beat_does_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(sends=1000)
    await run(clock, clock.send, monkeypatch)
    assert clock.times[-1] - clock.times[0] == pytest.approx(999 * 0.02, abs=0.004)


async def test_a_long_standstill_is_not_burst_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(sends=20)

    def send() -> None:
        clock.send()
        if len(clock.times) == 10:
            clock.now += 0.4  # the process was frozen

    await run(clock, send, monkeypatch)
    assert min(later - earlier for earlier, later in pairwise(clock.times[10:])) > 0.015
