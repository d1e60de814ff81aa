"""An RTP endpoint that measures: paced sending, receiving with the kernel's arrival time (RFC 3550, RFC 4733)."""

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from . import tones
from .tones import Samples
from .voice import FRAME_S, Recording, Silence, Source, beat

_HEADER = struct.Struct("!BBHII")
_TIMESPEC = struct.Struct("@qq")
_SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>; the socket module does not name it
DTMF_PAYLOAD = 101
DTMF_DIGITS = "0123456789*#ABCD"


@dataclass(frozen=True)
class Codec:
    """A payload format: static or dynamic number, SDP name, sampling rate, and both directions."""

    payload_type: int
    name: str
    rate: int
    encode: Callable[[Samples], bytes]
    decode: Callable[[bytes], Samples]

    @property
    def clock(self) -> int:
        """Of RTP, Hz: not the sampling rate for G.722."""
        return self.rate

    @property
    def rtpmap(self) -> str:
        return f"{self.payload_type} {self.name}/{self.clock}"


def _l16_encode(samples: Samples) -> bytes:
    return samples.astype(">i2").tobytes()


def _l16_decode(data: bytes) -> Samples:
    return np.frombuffer(data[: len(data) & ~1], ">i2").astype(np.int16)


PCMU = Codec(0, "PCMU", 8000, tones.ulaw_encode, tones.ulaw_decode)
PCMA = Codec(8, "PCMA", 8000, tones.alaw_encode, tones.alaw_decode)
L16 = Codec(118, "L16", 16000, _l16_encode, _l16_decode)  # Asterisk's slin16
CODECS = {"ulaw": PCMU, "alaw": PCMA, "slin16": L16}


@dataclass(frozen=True)
class Packet:
    """One received packet's header; `at` in seconds on the monotonic clock."""

    at: float
    sequence: int
    timestamp: int
    ssrc: int
    payload_type: int
    marker: bool


def parse(data: bytes) -> tuple[int, bool, int, int, int, bytes] | None:
    """(payload type, marker, sequence, timestamp, ssrc, payload), or None if it is no RTP."""
    if len(data) < _HEADER.size or data[0] >> 6 != 2:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    start = _HEADER.size + 4 * (first & 0x0F)
    if first & 0x10:  # header extension: 16 bits of profile, 16 bits of length in words
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if end < start:
        return None
    return second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, data[start:end]


@dataclass(frozen=True)
class Report:
    """The state of a received stream between two moments."""

    packets: int
    lost: int
    ssrc_changes: int
    max_gap_ms: float


def report(packets: Sequence[Packet], since: float = -np.inf, until: float = np.inf) -> Report:
    """Loss by sequence numbers within one SSRC, changes of SSRC, and the longest time without any packet.

    With a finite `since` and `until` the silence at both edges counts as a gap too.
    """
    chosen = [packet for packet in packets if since <= packet.at < until]
    lost = changes = 0
    for earlier, later in itertools.pairwise(chosen):
        if later.ssrc != earlier.ssrc:
            changes += 1
            continue
        step = (later.sequence - earlier.sequence) & 0xFFFF
        if 1 < step < 0x8000:
            lost += step - 1
        elif step >= 0x8000:  # came late: it was counted as lost before
            lost -= 1
    edges = [packet.at for packet in chosen]
    if np.isfinite(since):
        edges.insert(0, since)
    if np.isfinite(until):
        edges.append(until)
    gap = max(np.diff(edges), default=0.0)
    return Report(len(chosen), max(0, lost), changes, float(gap) * 1000)


@dataclass
class RtpSession:
    """One party's media. Use as a context manager; `source` and `remote` may be changed at any time."""

    host: str = "127.0.0.1"
    codec: Codec = PCMU
    source: Source = field(default_factory=Silence)
    remote: tuple[str, int] | None = None
    packets: list[Packet] = field(default_factory=list)
    digits: str = ""  # DTMF received
    sent: int = 0

    def __post_init__(self) -> None:
        self.recording = Recording(self.codec.rate)
        self._socket = _even_port(self.host)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)
        self._task: asyncio.Task[None] | None = None
        self._ssrc = random.getrandbits(32)
        self._sequence, self._timestamp = random.getrandbits(15), random.getrandbits(31)
        self._dtmf: list[tuple[bool, bytes]] = []  # (first of its event, payload)
        self._event_timestamp = 0
        self._heard_event: tuple[int, int] | None = None

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def use(self, codec: Codec) -> None:
        """Changes the codec that is sent and the rate that is recorded; before media flows."""
        self.codec = codec
        self.recording = Recording(codec.rate)

    def start(self) -> None:
        """Starts sending; does nothing if it runs."""
        if self._task is None:
            self._task = asyncio.create_task(beat(self._send), name="rtp-send")

    async def stop(self) -> None:
        """Stops sending; receiving goes on until `close`."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        await self.stop()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def report(self, since: float = -np.inf, until: float = np.inf) -> Report:
        return report(self.packets, since, until)

    def send_dtmf(self, digit: str, duration_ms: int = 100) -> None:
        """Queues one RFC 4733 event: it replaces the voice while it lasts, its end is sent three times."""
        event = DTMF_DIGITS.index(digit.upper())
        step = round(FRAME_S * self.codec.clock)
        count = max(1, duration_ms // 20)
        for index in range(1, count + 3):
            ended = 0x80 if index >= count else 0
            self._dtmf.append((index == 1, struct.pack("!BBH", event, ended | 10, min(index, count) * step)))

    def _send(self) -> None:
        count = round(FRAME_S * self.codec.rate)
        samples = self.source.take(count, self.codec.rate)
        if self.remote is None:
            return
        marker = 0x80 if self.sent == 0 else 0
        if self._dtmf:
            first, payload = self._dtmf.pop(0)
            if first:  # one event keeps the timestamp of its start
                self._event_timestamp, marker = self._timestamp, 0x80
            payload_type, timestamp = DTMF_PAYLOAD, self._event_timestamp
        else:
            payload_type, payload, timestamp = self.codec.payload_type, self.codec.encode(samples), self._timestamp
        header = _HEADER.pack(0x80, marker | payload_type, self._sequence, timestamp, self._ssrc)
        # The peer may be gone for a moment (a killed PBX answers with ICMP unreachable): speaking goes on.
        with contextlib.suppress(ConnectionError, BlockingIOError):
            self._socket.sendto(header + payload, self.remote)
        self.sent += 1
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + round(FRAME_S * self.codec.clock)) & 0xFFFFFFFF

    def _receive(self) -> None:
        """Reads all that waits. The kernel's time stamp counts: our own loop may be late."""
        offset = time.monotonic() - time.time()
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            at = time.monotonic()
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                    at = seconds + nanoseconds * 1e-9 + offset
            self._take(at, data)

    def _take(self, at: float, data: bytes) -> None:
        parsed = parse(data)
        if parsed is None:
            return
        payload_type, marker, sequence, timestamp, ssrc, payload = parsed
        self.packets.append(Packet(at, sequence, timestamp, ssrc, payload_type, marker))
        if payload_type == self.codec.payload_type:
            self.recording.add(at, self.codec.decode(payload))
        elif payload_type == DTMF_PAYLOAD and len(payload) >= 4 and payload[1] & 0x80:
            self._digit(timestamp, payload[0])

    def _digit(self, timestamp: int, event: int) -> None:
        """Notes a received digit once, though its end comes three times."""
        if (timestamp, event) != self._heard_event and event < len(DTMF_DIGITS):
            self.digits += DTMF_DIGITS[event]
        self._heard_event = (timestamp, event)


def _even_port(host: str) -> socket.socket:
    """A non-blocking UDP socket on a free even port, so that RTCP's odd one is its neighbour (RFC 3550, 11)."""
    while True:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((host, 0))
        if sock.getsockname()[1] % 2 == 0:
            return sock
        sock.close()
