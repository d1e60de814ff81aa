"""RTP: parsing, the report, and two sessions that hear each other."""

import asyncio
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.demo.rtp import L16, PCMA, PCMU, Codec, Packet, RtpSession, parse, report
from web.demo.voice import Tone


def packets(*numbers: tuple[float, int, int]) -> list[Packet]:
    return [Packet(at, sequence, 0, ssrc, 0, marker=False) for at, sequence, ssrc in numbers]


def test_report_counts_loss_changes_and_gaps() -> None:
    seen = packets((0.00, 65534, 1), (0.02, 65535, 1), (0.06, 1, 1), (0.08, 7, 2), (0.10, 8, 2))
    told = report(seen)
    assert (told.packets, told.lost, told.ssrc_changes) == (5, 1, 1)
    assert told.max_gap_ms == pytest.approx(40)


def test_what_comes_late_is_not_lost() -> None:
    assert report(packets((0.00, 1, 1), (0.02, 3, 1), (0.03, 2, 1), (0.04, 4, 1))).lost <= 1


def test_silence_at_the_edges_is_a_gap() -> None:
    told = report(packets((1.0, 1, 1), (1.02, 2, 1)), since=0.9, until=1.3)
    assert told.max_gap_ms == pytest.approx(280)
    assert report([], since=0.0, until=0.5).max_gap_ms == pytest.approx(500)


@given(st.binary(max_size=60))
def test_parse_never_fails(data: bytes) -> None:
    parse(data)


def test_parse_reads_extension_and_padding() -> None:
    header = struct.pack("!BBHII", 0x80 | 0x10 | 0x20, 0x80 | 8, 5, 6, 7)
    data = header + struct.pack("!HH", 0xBEDE, 1) + b"extn" + b"voice" + b"\0\0\x03"
    assert parse(data) == (8, True, 5, 6, 7, b"voice")


@pytest.mark.parametrize("codec", [PCMU, PCMA, L16], ids=lambda codec: codec.name)
async def test_two_sessions_hear_each_other(codec: Codec) -> None:
    async with RtpSession(codec=codec, source=Tone(400)) as one, RtpSession(codec=codec, source=Tone(900)) as other:
        one.remote, other.remote = ("127.0.0.1", other.port), ("127.0.0.1", one.port)
        started = time.monotonic()
        one.start()
        other.start()
        await asyncio.sleep(0.3)
        until = time.monotonic()
        assert one.port % 2 == 0
        assert one.recording.trace(900, started, until).share() > 0.9
        assert other.recording.trace(400, started, until).share() > 0.9
        assert one.recording.trace(400, started, until).share() == 0
        assert one.report().lost == 0
        assert all(started <= packet.at <= time.monotonic() for packet in one.packets)


async def test_digits_come_through_once() -> None:
    async with RtpSession(source=Tone(400)) as one, RtpSession() as other:
        one.remote = ("127.0.0.1", other.port)
        one.start()
        for digit in "15#":
            one.send_dtmf(digit, 60)
        await asyncio.sleep(0.5)
        assert other.digits == "15#"
        assert other.report().lost == 0


async def test_speaking_to_a_closed_port_goes_on() -> None:
    async with RtpSession(source=Tone(400)) as one:
        async with RtpSession() as gone:
            port = gone.port
        one.remote = ("127.0.0.1", port)
        one.start()
        await asyncio.sleep(0.1)
        async with RtpSession() as other:
            one.remote = ("127.0.0.1", other.port)
            await asyncio.sleep(0.2)
            assert len(other.packets) > 3
