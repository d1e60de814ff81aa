"""Speech: WAV in, samples out, at the right rate and level; the synthesiser is a real one."""

import io
import wave

import numpy as np
import pytest

from web.demo import speech, tones
from web.demo.packages import NotProvided


def wav(samples: tones.Samples, rate: int, channels: int = 1) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return data.getvalue()


@pytest.mark.parametrize("given", [8000, 11025, 16000, 22050, 48000])
def test_resampling_keeps_tone_and_length(given: int) -> None:
    changed = speech.read_wav(wav(tones.tone(400, given, given), given), 8000)
    assert len(changed) == 8000
    assert tones.levels(changed, 400, 8000)[5:-5].mean() == pytest.approx(-12, abs=0.3)


def test_what_is_too_high_for_the_rate_is_gone() -> None:
    high = tones.tone(6000, 16000, 16000)
    assert np.abs(speech.resample(high, 16000, 8000)).max() < 100


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="2 channels"):
        speech.read_wav(wav(np.zeros(100, np.int16), 8000, channels=2), 8000)


@pytest.mark.parametrize("loudness", [-40, -3])
def test_everybody_is_equally_loud(loudness: float) -> None:
    clip = speech.level(tones.tone(400, 8000, 8000, level_dbov=loudness))
    rms = 20 * np.log10(np.sqrt(np.mean(clip.astype(float) ** 2)) / 32768)
    assert rms == pytest.approx(speech.LEVEL_DBOV, abs=0.5)


def test_silence_stays_silent() -> None:
    assert not speech.level(np.zeros(100, np.int16)).any()


async def test_a_real_voice_says_a_note_and_keeps_it() -> None:
    voice = await speech.provide(print)
    said = await voice.say("Anna told me that your parcel comes tomorrow.", "ai")
    assert 1.5 < len(said) / voice.rate < 6
    assert await voice.say("Anna  told me that your parcel comes tomorrow.", "ai") is said
    other = await voice.say("Anna told me that your parcel comes tomorrow.", "caller")
    assert len(other) != len(said)
    assert len(await voice.say("  ", "ai")) == 0


async def test_a_note_is_text_and_nothing_else() -> None:
    voice = await speech.provide(print)
    assert len(await voice.say('-o /tmp/x; $(reboot) `id` "quoted" \N{SNOWMAN}', "ai")) > 1000


async def test_a_broken_synthesiser_says_so() -> None:
    with pytest.raises(NotProvided, match="flite did not speak"):
        await speech.Speech(("false",), "flite").say("Hello")
