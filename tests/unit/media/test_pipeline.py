"""The voice chain on synthetic sound: what it must take away, and what it must leave alone."""

import numpy as np
import pytest

from media import pipeline
from media.denoise import Classical, Suppressor, shipped
from media.frame import RATE, SAMPLES, to_frame
from media.hold import Music, comfort_noise
from media.level import decibels, mean_square, mean_squares
from media.pipeline import Voice
from media.resample import Doubler, Halver, halved
from tests.unit.media.synthetic import Samples, noise, speech

SUPPRESSORS: list[Suppressor] = [shipped(), Classical()]


def run(voice: Voice, sound: Samples) -> Samples:
    frames = [
        pipeline.process([voice], [to_frame(sound[i : i + SAMPLES].astype(np.float32))])[0]
        for i in range(0, len(sound) - SAMPLES + 1, SAMPLES)
    ]
    return np.concatenate(frames) / 32768


def level(sound: Samples) -> float:
    return decibels(float(np.mean(sound**2)))


def test_noise_alone_is_taken_down_by_12_db_or_more() -> None:
    sound = noise(6, -40)
    assert level(run(Voice(), sound)[RATE * 2 :]) < level(sound) - 12


def test_speech_like_sound_keeps_its_shape_and_stands_out_more_than_before() -> None:
    clean, dirt = speech(10, -20), noise(10, -40)
    voice = Voice()
    out = run(voice, clean + dirt)
    delay = 160
    late = slice(RATE * 3, RATE * 9)
    talk = np.convolve(np.abs(clean) > 0.02, np.ones(800), mode="same")[late] > 0
    pause = np.convolve(np.abs(clean) > 0, np.ones(4000), mode="same")[late] == 0
    heard = out[RATE * 3 + delay : RATE * 9 + delay]
    before = level((clean + dirt)[late][talk]) - level((clean + dirt)[late][pause])
    after = level(heard[talk]) - level(heard[pause])
    assert after > before + 8
    likeness = np.corrcoef(heard[talk], clean[late][talk])[0, 1]
    assert likeness > 0.9
    assert voice.gain > -12


def test_the_switch_off_is_bit_exact() -> None:
    voice = Voice(enabled=False)
    frames = [to_frame(noise(0.02, -3, seed).astype(np.float32)) for seed in range(50)]
    for frame in frames:
        assert np.array_equal(pipeline.process([voice], [frame])[0], frame)


def test_speaking_is_said_of_speech_not_of_noise() -> None:
    loud, hiss = Voice(), Voice()
    run(loud, speech(1, -20))
    run(hiss, noise(4, -40))
    assert loud.speaking
    assert not hiss.speaking


def test_flush_drops_the_sound_that_is_still_inside() -> None:
    voice = Voice()
    run(voice, speech(2, -20))
    voice.flush()
    assert np.max(np.abs(run(voice, np.zeros(SAMPLES)))) < 1e-3


@pytest.mark.parametrize("suppressor", SUPPRESSORS, ids=lambda one: one.kind)
def test_a_batch_does_what_each_voice_alone_would_have_had(suppressor: Suppressor) -> None:
    sounds = [speech(3, -30 + 4 * seed) + noise(3, -45 - seed, seed) for seed in range(5)]
    together = [Voice(suppressor=suppressor) for _ in sounds]
    apart = [Voice(suppressor=suppressor) for _ in sounds]
    frames = [to_frame(sound.astype(np.float32)).reshape(-1, SAMPLES) for sound in sounds]
    for tick in range(len(frames[0])):
        # Not all of them have a frame in every tick, nor the same neighbours.
        here = [at for at in range(len(sounds)) if (tick + at) % 7]
        out = pipeline.process([together[at] for at in here], [frames[at][tick] for at in here])
        for at, cleaned in zip(here, out, strict=True):
            alone = pipeline.process([apart[at]], [frames[at][tick]])[0]
            assert np.max(np.abs(cleaned.astype(np.int32) - alone)) <= 1  # of 32768: a rounding
    for one, other in zip(together, apart, strict=True):
        assert one.speaking == other.speaking
        assert one.gain == pytest.approx(other.gain, abs=1e-3)


def test_voices_with_and_without_suppression_share_a_batch() -> None:
    on, off = Voice(), Voice(enabled=False)
    frame = to_frame(noise(0.02, -20).astype(np.float32))
    out = pipeline.process([off, on, off], [frame, frame, frame])
    assert np.array_equal(out[0], frame)
    assert np.array_equal(out[2], frame)
    assert not np.array_equal(out[1], frame)


def test_a_frame_is_needed_for_each_voice() -> None:
    with pytest.raises(ValueError, match="1 frames for 2 voices"):
        pipeline.process([Voice(), Voice()], [to_frame(np.zeros(SAMPLES, np.float32))])


def test_no_voices_are_no_work() -> None:
    assert pipeline.process([], []) == []


def test_the_meters_tell_what_the_chain_took_away() -> None:
    voice = Voice()
    run(voice, noise(4, -40))
    assert voice.before.read() == pytest.approx(-40, abs=0.3)
    assert voice.after.read() < -50


def test_powers_of_many_frames_are_those_of_each_whatever_their_length() -> None:
    frames = [to_frame(noise(seconds, level).astype(np.float32)) for seconds in (0.01, 0.02) for level in (-60, -3)]
    frames.insert(2, np.zeros(SAMPLES, np.int16))
    assert mean_squares(frames) == pytest.approx([mean_square(frame) for frame in frames], rel=1e-4)
    assert mean_squares([]) == []


def test_resampling_there_and_back_keeps_the_telephone_band() -> None:
    up, down = Doubler(), Halver()
    for hertz in (300, 1000, 3000):
        t = np.arange(8000) / 8000
        tone = to_frame((0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32))
        back = np.concatenate([down(up(tone[i : i + 160])) for i in range(0, 8000, 160)])
        assert decibels(mean_square(back[800:])) == pytest.approx(decibels(mean_square(tone[800:])), abs=0.5)


def test_many_halved_at_once_are_as_each_by_itself() -> None:
    chance = np.random.default_rng(1)
    together, alone = [Halver() for _ in range(9)], [Halver() for _ in range(9)]
    for _ in range(5):
        frames = [chance.integers(-32768, 32768, SAMPLES).astype(np.int16) for _ in together]
        for one, half, frame in zip(alone, halved(together, frames), frames, strict=True):
            assert np.max(np.abs(half.astype(int) - one(frame))) <= 1, "the last bit is free"


def test_halving_leaves_nothing_above_4_khz() -> None:
    t = np.arange(16000) / 16000
    high = to_frame((0.3 * np.sin(2 * np.pi * 5500 * t)).astype(np.float32))
    down = Halver()
    half = np.concatenate([down(high[at : at + SAMPLES]) for at in range(0, 16000, SAMPLES)])
    assert decibels(mean_square(half[800:])) < decibels(mean_square(high)) - 40


def test_doubling_leaves_no_mirror_image() -> None:
    t = np.arange(8000) / 8000
    wide = Doubler()(to_frame((0.3 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)))
    spectrum = np.abs(np.fft.rfft(wide[1000:] * np.hanning(15000)))
    hertz = np.arange(len(spectrum)) * RATE / 15000
    assert spectrum[hertz > 6000].max() < spectrum.max() * 10 ** (-40 / 20)


def test_hold_music_is_soft_and_has_no_seam() -> None:
    music = Music()
    sound = np.concatenate([music.frame() for _ in range(50 * 30)])
    assert -32 < decibels(mean_square(sound)) < -20
    assert np.max(np.abs(np.diff(sound.astype(np.int32)))) < 4000


def test_comfort_noise_is_there_and_hardly_heard() -> None:
    sound = np.concatenate([comfort_noise(tick) for tick in range(100)])
    assert -66 < decibels(mean_square(sound)) < -58
