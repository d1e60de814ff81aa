"""libopus through ctypes: both directions, FEC, concealment, and packets that are none."""

from collections.abc import Callable

import numpy as np
import pytest

from media import opus
from media.frame import SAMPLES, SILENCE, Frame
from tests.support.browser_leg import power_at, tone
from tests.unit.media.synthetic import speech


def test_a_tone_survives_both_encoders() -> None:
    for loss in (0.0, 0.1):
        encoder, decoder = opus.Encoder(), opus.Decoder()
        encoder.protect(loss)
        source = tone(1000)
        sound = np.concatenate([decoder.decode(encoder.encode(source(n))) for n in range(50)])
        assert power_at(sound[4000:], 1000) == pytest.approx(10 * np.log10(0.2**2 / 2), abs=1.0)
        assert power_at(sound[4000:], 1700) < -40


def test_a_lost_frame_comes_back_from_the_following_packet_better_than_by_guessing() -> None:
    encoder = opus.Encoder()
    encoder.protect(0.1)
    talk = speech(6, -20)
    packets = [encoder.encode((talk[i : i + SAMPLES] * 32767).astype(np.int16)) for i in range(0, len(talk), SAMPLES)]

    def error(lost: int, *, fec: bool) -> float:
        whole, holed = opus.Decoder(), opus.Decoder()
        for n in range(lost):
            whole.decode(packets[n])
            holed.decode(packets[n])
        truth = whole.decode(packets[lost]).astype(float)
        guess = holed.recover(packets[lost + 1]) if fec else holed.conceal()
        return float(np.mean((truth - guess.astype(float)) ** 2))

    errors = [(error(n, fec=True), error(n, fec=False)) for n in range(20, 280, 7)]
    assert sum(fec for fec, _ in errors) < 0.5 * sum(plc for _, plc in errors)


def test_concealment_fades() -> None:
    decoder, encoder, source = opus.Decoder(), opus.Encoder(), tone(500)
    for n in range(20):
        decoder.decode(encoder.encode(source(n)))
    guesses = [np.abs(decoder.conceal().astype(int)).max() for _ in range(20)]
    assert guesses[0] > 1000
    assert guesses[-1] < guesses[0] / 4


@pytest.mark.parametrize("packet", [b"", b"\xff" * 1275, b"\x03", b"\xfb\xff" * 100])
def test_what_is_no_packet_is_concealed_and_counted(packet: bytes) -> None:
    decoder = opus.Decoder()
    sound = decoder.decode(packet)
    assert len(sound) > 0
    assert decoder.unreadable in (0, 1)


def test_length_agrees_with_what_is_decoded() -> None:
    encoder, decoder = opus.Encoder(), opus.Decoder()
    packet = encoder.encode(tone(500)(0))
    assert opus.length(packet) == 960
    assert len(decoder.decode(packet)) == 320
    assert opus.length(b"") == 0
    assert opus.length(bytes([0x03])) == 0


def test_the_setting_does_not_flap_at_the_edge() -> None:
    encoder = opus.Encoder()
    encoder.protect(0.03)
    lossy = encoder._application
    encoder.protect(0.02)
    assert encoder._application == lossy
    encoder.protect(0.0)
    assert encoder._application != lossy


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_silence_that_is_repeated_instead_of_encoded_leaves_no_trace_in_what_follows(loss: float) -> None:
    def play(repeat: bool) -> list[Frame]:
        encoder, decoder = opus.Encoder(), opus.Decoder()
        encoder.protect(loss)
        frames = [tone(440)(n) for n in range(20)] + [SILENCE] * 60 + [tone(440)(n) for n in range(20)]
        return [decoder.decode(encoder.encode(frame if repeat else frame.copy())) for frame in frames]

    def off(sound: list[Frame]) -> float:
        """From what was spoken after the silence, at the codec's own delay."""
        heard = np.concatenate(sound[80:]).astype(float)
        spoken = np.concatenate([tone(440)(n) for n in range(20)]).astype(float)
        return min(float(np.sqrt(np.mean((heard[lag:] - spoken[: len(heard) - lag]) ** 2))) for lag in range(SAMPLES))

    repeated, encoded = play(repeat=True), play(repeat=False)
    assert all(np.abs(frame).max() < 20 for frame in repeated[40:80])
    # A fraction of a sample of delay makes 100 of it; an onset that is missing or an echo of before makes 1000.
    assert max(off(repeated), off(encoded)) < 200, "of 4634"


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_sound_of_8_khz_is_taken_as_it_is(loss: float) -> None:
    encoder, decoder = opus.Encoder(), opus.Decoder()
    encoder.protect(loss)
    source = tone(1000)
    sound = np.concatenate([decoder.decode(encoder.encode(tone_8k(source, n))) for n in range(50)])
    assert power_at(sound[4000:], 1000) == pytest.approx(10 * np.log10(0.2**2 / 2), abs=1.0)
    assert power_at(sound[4000:], 7000) < -40, "no image above 4 kHz"


def tone_8k(source: Callable[[int], Frame], number: int) -> Frame:
    return source(number)[::2].copy()


def test_a_call_of_another_rate_begins_without_a_click() -> None:
    encoder, decoder = opus.Encoder(), opus.Decoder()
    soft = tone(440, 0.01)
    for frames in (
        [tone(440)(n) for n in range(20)],
        [tone_8k(soft, n) for n in range(20)],
        [soft(n) for n in range(20)],
    ):
        heard = [decoder.decode(encoder.encode(frame)) for frame in [*frames, *[SILENCE] * 4]]
        loudest = max(np.abs(frame.astype(int)).max() for frame in heard)
        spoken = max(np.abs(frame.astype(int)).max() for frame in frames)
        assert loudest < 1.3 * spoken
