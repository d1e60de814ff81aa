"""Asterisk's AudioSocket, the worker's side of a patch.

The PBX dials us over TCP; its first frame carries the uuid of the patch. Only an expected uuid is let in, once,
within `EXPECT` seconds, and only from loopback or a named PBX. All sound crosses this module at the PBX's rate: what it
says is not doubled, as Opus takes 8 kHz too, and what it hears is halved for all patches of a tick at once (`leg`).
"""

import asyncio
import ipaddress
import os
import socket
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from .frame import RATE, SAMPLES, SILENCE, Frame
from .level import mean_square
from .resample import Halver

EXPECT = 5.0
"Seconds that a uuid is waited for."
INTRODUCE = 2.0
"Seconds that a connection has for its first frame."
MAX_STRANGERS = 32
"Connections that may be open without having shown a uuid."

HANGUP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
AUDIO = {8000: 0x10, 16000: 0x12}
_RATES = {kind: rate for rate, kind in AUDIO.items()}
_LENGTHS = {UUID: (16, 16), DTMF: (1, 1), HANGUP: (0, 0), ERROR: (0, 1)}
MAX_AUDIO = 3840
"Bytes of sound in one frame: 120 ms of 16 kHz."
_HEADER = struct.Struct("!BH")
_WIRE = np.dtype("<i2")

_QUIET = 10 ** (-50 / 10)
_KEEP = 3
_MOST = 6
_AT_ONCE = 1 << 14
"Bytes read in one tick: half a second of 16 kHz."


class Malformed(Exception):
    """The bytes are no AudioSocket; the text says why."""


def encode(kind: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


class Reader:
    """Bytes in any pieces -> frames (kind, payload). Sans I/O; refuses a frame by its header alone."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Raises Malformed after the last good frame; then the connection is of no more use."""
        if not self._rest and len(data) >= _HEADER.size:
            # As nearly always: just one frame, whole.
            kind, length = _HEADER.unpack_from(data)
            if len(data) == _HEADER.size + length:
                _check(kind, length)
                yield kind, data[_HEADER.size :]
                return
        self._rest += data
        while len(self._rest) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._rest)
            _check(kind, length)
            end = _HEADER.size + length
            if len(self._rest) < end:
                break
            payload = bytes(self._rest[_HEADER.size : end])
            del self._rest[:end]
            yield kind, payload


def _check(kind: int, length: int) -> None:
    if kind in _RATES:
        if length > MAX_AUDIO or length % 2:
            raise Malformed(f"sound of {length} bytes: an even number up to {MAX_AUDIO} is allowed")
    elif kind in _LENGTHS:
        low, high = _LENGTHS[kind]
        if not low <= length <= high:
            raise Malformed(f"frame type {kind:#04x} of {length} bytes: {low} to {high} are allowed")
    else:
        raise Malformed(f"frame type {kind:#04x} is not known: dial with c(slin) or c(slin16)")


class Playout:
    """Sound from the PBX on its way to our tick: one frame of reserve, three at most for long."""

    def __init__(self, samples: int = SAMPLES) -> None:
        """`samples`: in 20 ms."""
        self._samples = samples
        self._frames: deque[Frame] = deque()
        self._part = np.zeros(0, dtype=np.int16)
        self._flowing = False
        self._last = SILENCE
        self.dropped = 0
        self.missed = 0

    def push(self, sound: Frame) -> None:
        """Samples, any number."""
        if len(self._part):
            sound = np.concatenate((self._part, sound))
        elif len(sound) == self._samples:
            self._take(sound)
            return
        at = 0
        while at + self._samples <= len(sound):
            self._take(sound[at : at + self._samples])
            at += self._samples
        self._part = sound[at:]

    def pop(self) -> Frame:
        """The next 20 ms; the end of a stream fades, a pause is `SILENCE` itself."""
        if self._frames and (self._flowing or len(self._frames) > 1):
            self._flowing = True
            self._last = self._frames.popleft()
            return self._last
        if self._frames:
            # The first frame after a pause waits one tick: our reserve against the PBX's own jitter.
            self._flowing = True
            return SILENCE
        if self._flowing:
            self._flowing = False
            self.missed += 1
            fade = np.linspace(0.5, 0, self._samples, dtype=np.float32)
            # Played backwards, so that it goes on from where the sound stopped.
            return (self._last[::-1] * fade).astype(np.int16)
        return SILENCE

    def _take(self, frame: Frame) -> None:
        # What is too much goes in silence, where nobody hears it; beyond _MOST delay is worse than a click.
        if len(self._frames) >= _KEEP and mean_square(frame) < _QUIET:
            self.dropped += 1
            return
        self._frames.append(frame)
        if len(self._frames) > _MOST:
            self._frames.popleft()
            self.dropped += 1


@dataclass
class PatchCounts:
    """Frames of 20 ms on one patch."""

    sent: int = 0
    received: int = 0
    unsent: int = 0
    "Not sent because the PBX did not read; never sent later."


class Patch:
    """An open connection into the PBX: `send` and `receive` once per tick, `close` gives the call back."""

    def __init__(self, patch: str, rate: int, transport: asyncio.Transport, on_data: Callable[[bytes], None]) -> None:
        """`on_data` gets what `receive` reads."""
        self.id = patch
        self.accepted = time.monotonic()
        self.counts = PatchCounts()
        self.playout = Playout(SAMPLES * rate // RATE)
        self._rate = rate
        self._kind = AUDIO[rate]
        self._transport = transport
        self._on_data = on_data
        self._reading = False
        self._descriptor: int = transport.get_extra_info("socket").fileno()
        self.halver = Halver() if rate == 8000 else None
        "See `leg.Patch`."

    def send(self, sound: Frame) -> None:
        """20 ms to the PBX, at its rate; left out if the PBX has not read what was sent before."""
        if self._transport.get_write_buffer_size() > 2 * sound.nbytes:
            self.counts.unsent += 1
            return
        self._write(encode(self._kind, sound.tobytes()))
        self.counts.sent += 1

    def _write(self, data: bytes) -> None:
        # uvloop keeps what is written until the loop's turn ends, and with many legs that is milliseconds later.
        written = 0
        if not self._transport.get_write_buffer_size() and not self._transport.is_closing():
            try:
                written = os.write(self._descriptor, data)
            except OSError:
                written = 0  # full, or gone: the transport sees it by itself
        if written < len(data):
            self._transport.write(data[written:])

    def receive(self) -> Frame:
        """20 ms from the PBX, at its rate, or `SILENCE`.

        From the first time on the connection is read here and nowhere else: to be woken for each frame by itself costs
        more than the frame.
        """
        if not self._transport.is_closing():
            if not self._reading:
                self._reading = True
                self._transport.pause_reading()
            self._read()
        return self.playout.pop()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self._transport.abort()

    def take(self, kind: int, payload: bytes) -> None:
        """A frame off the wire; raises Malformed if it is not of the agreed rate."""
        if kind in _RATES:
            if kind != self._kind:
                raise Malformed(f"sound of {_RATES[kind]} Hz on a patch of {self._rate} Hz")
            self.counts.received += 1
            self.playout.push(np.frombuffer(payload, dtype=_WIRE).astype(np.int16, copy=False))

    def close(self) -> None:
        """Idempotent. What is still unsent is dropped: the call must not wait for it."""
        self._transport.abort()


class Listener(Protocol):
    """Whom `Server` tells, on the event loop."""

    def patch_opened(self, patch: Patch) -> None: ...
    def patch_closed(self, patch: Patch, why: str) -> None: ...
    def patch_expired(self, patch: str) -> None: ...
    def intruder(self, peer: str, shown: str, why: str) -> None: ...


class Server:
    """One listening port; knows which uuids may come. `allowed`: addresses and networks besides the loopback."""

    def __init__(self, listener: Listener, allowed: frozenset[str]) -> None:
        self.listener = listener
        self._allowed = [ipaddress.ip_network(one) for one in allowed]
        self._expected: dict[str, tuple[int, asyncio.TimerHandle]] = {}
        self._used: deque[str] = deque(maxlen=1000)
        self._server: asyncio.Server | None = None
        self.strangers: set[asyncio.Transport] = set()
        self.port = 0

    async def start(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        for _, timer in self._expected.values():
            timer.cancel()
        self._expected.clear()
        for transport in list(self.strangers):
            transport.abort()
        if self._server is not None:
            self._server.close()

    def expect(self, patch: str, rate: int) -> None:
        """Let the uuid in once within `EXPECT` seconds."""
        timer = asyncio.get_running_loop().call_later(EXPECT, self._expire, patch)
        self._expected[patch] = (rate, timer)

    def forget(self, patch: str) -> None:
        """No longer expect it."""
        if entry := self._expected.pop(patch, None):
            entry[1].cancel()
            self._used.append(patch)

    def expects(self, shown: str) -> bool:
        """Whether the uuid may still come."""
        return shown in self._expected

    def admit(self, shown: str) -> int:
        """The rate agreed for this uuid, which is spent by the question; raises Malformed."""
        entry = self._expected.pop(shown, None)
        if entry is None:
            raise Malformed("uuid used before or too late" if shown in self._used else "uuid not expected")
        entry[1].cancel()
        self._used.append(shown)
        return entry[0]

    def permits(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in self._allowed)

    def _expire(self, patch: str) -> None:
        del self._expected[patch]
        self._used.append(patch)
        self.listener.patch_expired(patch)


class _Connection(asyncio.Protocol):
    """One TCP connection: a stranger until its first frame, then a patch."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._reader = Reader()
        self._patch: Patch | None = None
        self._transport: asyncio.Transport
        self._peer = "?"
        self._shown = ""
        self._timer: asyncio.TimerHandle | None = None
        self._why = "pbx-closed"
        self._turned_away = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport, they only look like it.
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if peer else "?"
        self._server.strangers.add(self._transport)
        if not peer or not self._server.permits(peer[0]):
            self._turn_away("address not among the PBX addresses")
        elif len(self._server.strangers) > MAX_STRANGERS:
            self._turn_away("too many connections without a uuid")
        else:
            if sock := transport.get_extra_info("socket"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._timer = asyncio.get_running_loop().call_later(
                INTRODUCE, self._turn_away, f"no uuid within {INTRODUCE:g} s"
            )

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            return
        try:
            for kind, payload in self._reader.feed(data):
                if self._patch is None:
                    self._introduce(kind, payload)
                elif kind in (HANGUP, ERROR):
                    self._why = "pbx-hangup" if kind == HANGUP else "pbx-error"
                    self._transport.abort()
                    return
                else:
                    self._patch.take(kind, payload)
        except Malformed as fault:
            if self._patch is None:
                self._turn_away(str(fault))
            else:
                self._why = f"protocol: {fault}"
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.strangers.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()
        if self._patch is not None:
            self._server.listener.patch_closed(self._patch, self._why)
        elif not self._turned_away:
            self._server.listener.intruder(self._peer, "", "closed before it showed a uuid")

    def _introduce(self, kind: int, payload: bytes) -> None:
        if kind != UUID:
            raise Malformed(f"first frame is of type {kind:#04x}, not the uuid")
        self._shown = str(uuid.UUID(bytes=payload))
        rate = self._server.admit(self._shown)
        if self._timer is not None:
            self._timer.cancel()
        self._server.strangers.discard(self._transport)
        self._patch = Patch(self._shown, rate, self._transport, self.data_received)
        self._server.listener.patch_opened(self._patch)

    def _turn_away(self, why: str) -> None:
        self._turned_away = True
        if self._timer is not None:
            self._timer.cancel()
        self._server.listener.intruder(self._peer, self._shown, why)
        self._transport.abort()
