"""The voice chain on synthetic sound: what it must take away, and what it must leave alone."""

import numpy as np
import pytest

from media import pipeline
from media.frame import RATE, SAMPLES, to_frame, to_sound
from media.gain import Limiter
from media.hold import Music, comfort_noise
from media.level import decibels, mean_square
from media.pipeline import Voice
from media.resample import Doubler, Halver
from tests.unit.media.synthetic import Samples, noise, speech


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
    assert voice.agc.gain > -12


def test_the_switch_off_is_bit_exact() -> None:
    voice = Voice(enabled=False)
    frames = [to_frame(noise(0.02, -3, seed).astype(np.float32)) for seed in range(50)]
    for frame in frames:
        assert np.array_equal(pipeline.process([voice], [frame])[0], frame)


@pytest.mark.parametrize("level_db", [-40, -20, -6, 0, 10])
def test_no_sample_reaches_full_scale(level_db: float) -> None:
    sound = np.clip(speech(6, level_db) + noise(6, level_db - 30), -1, 1)
    assert np.max(np.abs(run(Voice(), sound))) < 0.999


def test_the_limiter_alone_holds_minus_1_db_against_steps_and_clicks() -> None:
    chance = np.random.default_rng(5)
    limiter = Limiter()
    for _ in range(300):
        sound = (chance.standard_normal(SAMPLES) * 10 ** chance.uniform(-2, 1)).astype(np.float32)
        assert np.max(np.abs(limiter.process(sound))) <= 10 ** (-1 / 20) + 1e-4


def test_the_limiter_lets_go_slowly_enough_not_to_be_heard() -> None:
    limiter = Limiter()
    limiter.process(np.full(SAMPLES, 2.0, dtype=np.float32))
    after = np.concatenate([limiter.process(np.full(SAMPLES, 0.1, dtype=np.float32)) for _ in range(20)])
    assert after[0] < 0.06
    assert np.max(np.abs(np.diff(after))) < 0.1 * 0.002
    assert after[-1] == pytest.approx(0.1, rel=0.01)


def test_the_limiter_lets_quiet_sound_through_untouched() -> None:
    sound = to_sound(to_frame(speech(0.02, -20).astype(np.float32)))
    assert np.array_equal(Limiter().process(sound), sound)


def test_talkers_far_apart_end_close_together() -> None:
    levels = []
    for start in (-36, -26, -12):
        out = run(Voice(), speech(12, start) + noise(12, -75))
        tail = out[RATE * 8 :]
        levels.append(level(tail[np.abs(tail) > 0.01]))
    assert max(levels) - min(levels) < 10


def test_gain_does_not_lift_the_background() -> None:
    out = run(Voice(), noise(10, -55))
    assert level(out[RATE * 4 :]) < -45


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


def test_voices_of_a_batch_do_not_touch_one_another() -> None:
    a, b, alone = Voice(), Voice(), Voice()
    quiet = to_frame(np.zeros(SAMPLES, dtype=np.float32))
    sound = speech(2, -20)
    for i in range(0, len(sound) - SAMPLES, SAMPLES):
        frame = to_frame(sound[i : i + SAMPLES].astype(np.float32))
        out = pipeline.process([a, b], [frame, quiet])
        assert np.array_equal(out[0], pipeline.process([alone], [frame])[0])
        assert not out[1].any()


def test_resampling_there_and_back_keeps_the_telephone_band() -> None:
    up, down = Doubler(), Halver()
    for hertz in (300, 1000, 3000):
        t = np.arange(8000) / 8000
        tone = to_frame((0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32))
        back = np.concatenate([down(up(tone[i : i + 160])) for i in range(0, 8000, 160)])
        assert decibels(mean_square(back[800:])) == pytest.approx(decibels(mean_square(tone[800:])), abs=0.5)


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
