"""A patch by SIP: the sound of one call from FreeSWITCH, both ways, and the pulse beside it."""

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable

from . import rtp, ulaw
from .audiosocket import PatchCounts, Playout
from .frame import Frame
from .resample import Doubler, Halver
from .sipsdp import PCMU

_BEATS = 5
"Ticks from one packet of a pulse to the next: at 100 ms, one that is lost or late ends nobody's call."
_QUIET = b"\xff" * 160
_AHEAD_S, _AHEAD_UNTIL_S = (0.006, 0.010, 0.014), 0.017
"FreeSWITCH has a port for our sound 2 to 5 ms after it has called, and listens to it after 18 to 23 (measured)."
_SAMPLES = 160
_HEADER = struct.Struct("!BBHII")


class SipPatch:
    """An open call into the PBX: `send` and `receive` once per tick, `close` gives the call back."""

    def __init__(self, patch: str, host: str, remote: tuple[str, int], end: Callable[[], None]) -> None:
        """Raises `OSError` when there is no port for the sound."""
        self.id = patch
        self.accepted = time.monotonic()
        self.counts = PatchCounts()
        self.playout = Playout()
        self.remote = remote
        self.pulse: tuple[str, int] | None = None
        "Where the PBX is shown that this patch is alive: packets go there only as its sound goes out."
        self._end = end
        self.halver = Halver()
        self._up = Doubler()
        self._ssrc = random.getrandbits(32)
        self._ticks = 0
        self._sequence, self._timestamp = random.getrandbits(15), random.getrandbits(31)
        self._heard: tuple[int, int] | None = None
        self._socket = _even_port(host)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)
        for after in _AHEAD_S:
            self._loop.call_later(after, self._go_ahead)

    @property
    def port(self) -> int:
        """Where our sound is received; 0 when it is over."""
        return 0 if self._socket.fileno() < 0 else int(self._socket.getsockname()[1])

    def send(self, sound: Frame) -> None:
        """20 ms of 8 kHz to the PBX; left out if the kernel takes no more."""
        header = self._header()
        self._ticks += 1
        try:
            self._socket.sendto(header + ulaw.encode(sound), self.remote)
            self.counts.sent += 1
            if self.pulse is not None and self._ticks % _BEATS == 0:
                self._socket.sendto(header + _QUIET, self.pulse)
        except OSError:  # also of a PBX that has just closed its port: its BYE, or nobody's, ends the patch
            self.counts.unsent += 1

    def _header(self) -> bytes:
        """Of the next packet. No marker, since we leave nothing out (RFC 3551 4.1)."""
        header = _HEADER.pack(0x80, PCMU, self._sequence, self._timestamp, self._ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + _SAMPLES) & 0xFFFFFFFF
        return header

    def _go_ahead(self) -> None:
        """FreeSWITCH throws away what came before it listens to a leg. If that is one packet alone, the next one goes
        the same way: so some without sound go ahead, or the agent would be heard a frame later (measured). One that
        is late itself stays away: it would be played, and delay all that follows."""
        if self._socket.fileno() >= 0 and time.monotonic() < self.accepted + _AHEAD_UNTIL_S:
            with contextlib.suppress(OSError):  # as in `send`
                self._socket.sendto(self._header() + _QUIET, self.remote)

    def receive(self) -> Frame:
        """20 ms from the PBX."""
        return self.playout.pop()

    def close(self) -> None:
        """Idempotent: says BYE."""
        if self._socket.fileno() >= 0:
            self.mute()
            self._end()

    def mute(self) -> None:
        """Ends the sound alone."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                data, peer = self._socket.recvfrom(2048)
            except OSError:  # nothing left to read, or word of a closed port at the other end
                return
            if peer[0] == self.remote[0] and peer != self.pulse:
                self._take(data)

    def _take(self, data: bytes) -> None:
        packet = rtp.parse(data)
        if packet is None or packet.payload_type != PCMU or not packet.payload:
            return
        if self._heard is not None and self._heard[0] == packet.ssrc:
            ahead = (packet.sequence - self._heard[1]) & 0xFFFF
            if not 0 < ahead < 0x8000:
                return  # late or twice: its place has been played
        self._heard = (packet.ssrc, packet.sequence)
        self.counts.received += 1
        self.playout.push(self._up(ulaw.decode(packet.payload)))


def _even_port(host: str) -> socket.socket:
    """A free even UDP port, so that RTCP's odd one is its neighbour (RFC 3550 11). Raises `OSError`."""
    for _ in range(100):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((host, 0))
        except OSError:
            sock.close()
            raise
        if sock.getsockname()[1] % 2 == 0:
            return sock
        sock.close()
    raise OSError(f"no even UDP port on {host}")
