"""RTP parsing and the figures of a receiver report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import rtp
from media.rtp import Reception, Rtp


@given(
    st.builds(
        Rtp,
        st.integers(0, 127),
        st.integers(0, 65535),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=200),
    )
)
def test_what_is_built_is_parsed_back(packet: Rtp) -> None:
    assert rtp.parse(rtp.build(packet)) == packet


@given(st.binary(max_size=100))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    packet = rtp.parse(data)
    assert packet is None or len(packet.payload) <= len(data) - 12


def test_extensions_sources_and_padding_are_left_out() -> None:
    head = bytes([0x80 | 0x20 | 0x10 | 2, 96]) + bytes(10)
    wire = head + bytes(8) + b"\xbe\xde\x00\x01\x10\xff\x00\x00" + b"sound" + b"\x00\x00\x03"
    packet = rtp.parse(wire)
    assert packet is not None
    assert packet.payload == b"sound"


def packets(numbers: list[int]) -> Reception:
    reception = Reception(7)
    for number in numbers:
        reception.add(Rtp(96, number % 65536, number * 960, 7, b""), number * 0.02)
    return reception


def test_loss_is_counted_over_the_wrap() -> None:
    numbers = [n for n in range(65500, 65600) if n % 10]
    reception = packets(numbers)
    assert reception.expected == 99
    assert reception.lost == 9
    report = reception.report()
    assert report.packets_lost == 9
    assert report.fraction_lost == 9 * 256 // 99
    assert report.highest == 65599  # one cycle, of which Firefox makes the number of packets


def test_the_fraction_is_since_the_last_report() -> None:
    reception = packets([n for n in range(100) if n % 2])
    reception.report()
    for number in range(100, 200):
        reception.add(Rtp(96, number, number * 960, 7, b""), number * 0.02)
    assert reception.report().fraction_lost == 0
    assert reception.report().fraction_lost == 0


def test_duplicates_and_disorder_do_not_make_loss_look_negative_in_the_fraction() -> None:
    reception = packets([1, 2, 2, 2, 4, 3, 5])
    assert reception.lost == -2
    assert reception.report().fraction_lost == 0


def test_jitter_follows_the_arrivals() -> None:
    reception = Reception(7)
    for number in range(500):
        reception.add(Rtp(96, number, number * 960, 7, b""), number * 0.02 + (0.010 if number % 2 else 0.0))
    assert reception.jitter_ms == pytest.approx(10, abs=0.5)
