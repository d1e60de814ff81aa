"""A patch by SIP: the sound of one call from FreeSWITCH, both ways, and the pulse beside it.

What comes stays at the line's rate, as Opus takes 8 kHz too, and what goes to a narrow line is halved for all patches
of a tick at once (`leg`).
"""

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable

import numpy as np

from . import rtp, ulaw
from .audiosocket import PatchCounts, Playout
from .frame import RATE, SAMPLES, Frame
from .resample import Halver
from .sipsdp import NARROW, PCMU, Line

_BEATS = 5
"Ticks from one packet of a pulse to the next: at 100 ms, one that is lost or late ends nobody's call."
_AHEAD_S, _AHEAD_UNTIL_S = (0.006, 0.010, 0.014), 0.017
"FreeSWITCH has a port for our sound 2 to 5 ms after it has called, and listens to it after 18 to 23 (measured)."
_QUIET = np.zeros(SAMPLES, dtype=np.int16)
_BEAT = b"\xff" * 160
"The sound of a pulse: none, in PCMU."
_HEADER = struct.Struct("!BBHII")
_WIRE = np.dtype(">i2")
"Of L16: network byte order (RFC 3551 4.5.11)."


class SipPatch:
    """An open call into the PBX: `send` and `receive` once per tick, `close` gives the call back."""

    def __init__(self, patch: str, host: str, line: Line, end: Callable[[], None]) -> None:
        """Raises `OSError` when there is no port for the sound."""
        self.id = patch
        self.accepted = time.monotonic()
        self.counts = PatchCounts()
        self.playout = Playout(SAMPLES * line.rate // RATE)
        self.line = line
        "Where our sound goes, and as what; its rate stays."
        self.pulse: tuple[str, int] | None = None
        "Where the PBX is shown that this patch is alive: packets go there only as its sound goes out."
        self._end = end
        self.halver = Halver() if line.rate == NARROW else None
        "See `leg.Patch`."
        self._samples = SAMPLES * line.rate // RATE
        self._ssrc = random.getrandbits(32)
        self._ticks = 0
        self._sequence, self._timestamp = random.getrandbits(15), random.getrandbits(31)
        self._heard: tuple[int, int] | None = None
        self._in_turns = False
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
        """20 ms to the PBX, at the line's rate; left out if the kernel takes no more."""
        packet = self._packet(sound)
        self._ticks += 1
        try:
            self._socket.sendto(packet, self._remote)
            self.counts.sent += 1
            if self.pulse is not None and self._ticks % _BEATS == 0:
                beat = _HEADER.pack(0x80, PCMU, self._sequence, self._timestamp, self._ssrc)
                self._socket.sendto(beat + _BEAT, self.pulse)
        except OSError:  # also of a PBX that has just closed its port: its BYE, or nobody's, ends the patch
            self.counts.unsent += 1

    @property
    def _remote(self) -> tuple[str, int]:
        return self.line.host, self.line.port

    def _packet(self, sound: Frame) -> bytes:
        """The next one. No marker, since we leave nothing out (RFC 3551 4.1)."""
        header = _HEADER.pack(0x80, self.line.payload_type, self._sequence, self._timestamp, self._ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + self._samples) & 0xFFFFFFFF
        return header + (ulaw.encode(sound) if self.line.rate == NARROW else sound.astype(_WIRE).tobytes())

    def _go_ahead(self) -> None:
        """FreeSWITCH throws away what came before it listens to a leg. If that is one packet alone, the next one goes
        the same way: so some without sound go ahead, or the agent would be heard a frame later (measured). One that
        is late itself stays away: it would be played, and delay all that follows."""
        if self._socket.fileno() >= 0 and time.monotonic() < self.accepted + _AHEAD_UNTIL_S:
            with contextlib.suppress(OSError):  # as in `send`
                self._socket.sendto(self._packet(_QUIET[: self._samples]), self._remote)

    def receive(self) -> Frame:
        """20 ms from the PBX, at the line's rate, or `SILENCE`. From the first time on its sound is read here alone."""
        if not self._in_turns and self._socket.fileno() >= 0:
            self._in_turns = True
            self._loop.remove_reader(self._socket)
        self._read()
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
            if peer[0] == self.line.host and peer != self.pulse:
                self._take(data)

    def _take(self, data: bytes) -> None:
        packet = rtp.parse(data)
        if packet is None or packet.payload_type != self.line.payload_type or not packet.payload:
            return
        narrow = self.line.rate == NARROW
        if not narrow and len(packet.payload) % _WIRE.itemsize:
            return  # half a sample: not what was agreed
        if self._heard is not None and self._heard[0] == packet.ssrc:
            ahead = (packet.sequence - self._heard[1]) & 0xFFFF
            if not 0 < ahead < 0x8000:
                return  # late or twice: its place has been played
        self._heard = (packet.ssrc, packet.sequence)
        self.counts.received += 1
        sound = ulaw.decode(packet.payload) if narrow else np.frombuffer(packet.payload, _WIRE).astype(np.int16)
        self.playout.push(sound)


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
