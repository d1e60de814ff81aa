"""RTP packets and what a receiver must know to report on them (RFC 3550). Pure."""

import struct
from dataclasses import dataclass
from typing import NamedTuple

CLOCK = 48_000
_HEADER = struct.Struct("!BBHII")
_SEQ = 1 << 16


class Rtp(NamedTuple):
    """A packet after decryption. `payload` is empty in a packet that only pads."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Rtp | None:
    """Decrypted bytes -> packet; None if they are no RTP (RFC 3550 section 5.1, appendix A.1)."""
    if len(data) < 12:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != 2:
        return None
    if first == 0x80:  # as nearly always: nothing but header and payload
        return Rtp(second & 0x7F, sequence, timestamp, ssrc, data[12:])
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if start > end or (first & 0x20 and data[-1] == 0):
        return None
    return Rtp(second & 0x7F, sequence, timestamp, ssrc, data[start:end])


def build(packet: Rtp) -> bytes:
    """Packet -> bytes, without extensions and marker."""
    return packed(*packet)


def packed(payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> bytes:
    """`build` for who has no packet yet."""
    return _HEADER.pack(0x80, payload_type, sequence, timestamp & 0xFFFFFFFF, ssrc) + payload


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a receiver report block (RFC 3550 section 6.4.1)."""

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest: int
    jitter: int


class Reception:
    """Counts of one incoming stream: RFC 3550 appendix A.3 (loss) and A.8 (jitter)."""

    def __init__(self, ssrc: int) -> None:
        self.ssrc = ssrc
        self.received = 0
        self._base = 0
        self._highest = -1
        self._reported = (0, 0)
        self._transit: float | None = None
        self._jitter = 0.0

    def add(self, packet: Rtp, now: float) -> None:
        self.received += 1
        _, sequence, timestamp, _, _ = packet
        if self._highest < 0:
            # One cycle up, so that a packet from before the first one does not go below zero.
            self._base = self._highest = sequence + _SEQ
        ahead = (sequence - self._highest + _SEQ // 2) % _SEQ - _SEQ // 2
        if ahead > 0:
            self._highest += ahead
        transit = now * CLOCK - timestamp
        if self._transit is not None:
            change = abs(transit - self._transit)
            if change < CLOCK:  # more is a jump of the clock or its wrap, not jitter
                self._jitter += (change - self._jitter) / 16
        self._transit = transit

    @property
    def jitter_ms(self) -> float:
        return self._jitter * 1000 / CLOCK

    @property
    def expected(self) -> int:
        return self._highest - self._base + 1

    @property
    def lost(self) -> int:
        """Cumulative; below zero where packets came twice."""
        return self.expected - self.received

    def report(self) -> Report:
        """The block for now; the fraction is since the last call."""
        expected, received = self.expected - self._reported[0], self.received - self._reported[1]
        self._reported = (self.expected, self.received)
        lost = max(0, expected - received)
        fraction = min(255, lost * 256 // expected) if expected > 0 else 0
        total = max(-0x800000, min(0x7FFFFF, self.lost))
        return Report(self.ssrc, fraction, total, (self._highest - _SEQ) & 0xFFFFFFFF, int(self._jitter))
