"""A patch by SIP, the worker's side: FreeSWITCH calls us, the user part of the URI is the patch's uuid.

A user agent server that can do nothing else: it answers an expected INVITE at once with PCMU and ends with BYE. Only
an expected uuid is let in, once, and only from loopback or a named PBX; its RTP too. A second call beside each, its
pulse, gets a packet now and then as the sound goes out: when these stop, the PBX ends both by itself, so that nothing
here needs a timer to keep the caller safe (docs/decisions/0009).
"""

import asyncio
import contextlib
import random
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from . import rtp, ulaw
from .audiosocket import Malformed, PatchCounts, Playout
from .frame import Frame
from .resample import Doubler, Halver
from .sipmessage import PCMU, SipMessage, answer, media_address, parse, render, tag_of

T1 = 0.5
"Seconds to the first retransmission (RFC 3261 17.1.1.1)."
GIVE_UP = 4.0
"Seconds after which an ACK or an answer to BYE is no longer waited for."
PULSE = "-pulse"
"What the name of a patch's pulse ends with."
_BEATS = 5
"Ticks from one packet of a pulse to the next: at 100 ms, one that is lost or late ends nobody's call."
_QUIET = b"\xff" * 160
_AHEAD_S, _AHEAD_UNTIL_S = (0.006, 0.010, 0.014), 0.017
"FreeSWITCH has a port for our sound 2 to 5 ms after it has called, and listens to it after 18 to 23 (measured)."
_SAMPLES = 160
_HEADER = struct.Struct("!BBHII")
_METHODS = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE"
_REMEMBERED = 200


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


class Guests(Protocol):
    """Who may come; `audiosocket.Server` keeps the list for both doors."""

    def permits(self, host: str) -> bool: ...
    def admit(self, shown: str) -> int:
        """Spends the uuid; raises `Malformed`."""


class Listener(Protocol):
    """Whom `SipServer` tells, on the event loop."""

    def patch_opened(self, patch: SipPatch) -> None: ...
    def patch_closed(self, patch: SipPatch, why: str) -> None: ...
    def intruder(self, peer: str, shown: str, why: str) -> None: ...


class _Dialog:
    """One call from the PBX: a patch, or its pulse."""

    def __init__(self, invite: SipMessage, peer: tuple[str, int], patch: SipPatch, pulse: bool = False) -> None:
        self.invite, self.peer, self.patch, self.pulse = invite, peer, patch, pulse
        self.tag = secrets.token_hex(4)
        self.version = 1
        self.acknowledged = False
        self.over = False
        self.timer: asyncio.TimerHandle | None = None


class SipServer(asyncio.DatagramProtocol):
    """One UDP port of SIP."""

    def __init__(self, listener: Listener, guests: Guests) -> None:
        self._listener, self._guests = listener, guests
        self._host = ""
        self._transport: asyncio.DatagramTransport | None = None
        self._dialogs: dict[str, _Dialog] = {}
        self._answered: dict[str, bytes] = {}
        self._answers: deque[str] = deque()
        self._told: deque[str] = deque(maxlen=_REMEMBERED)
        self.port = 0

    async def start(self, host: str) -> None:
        """Raises `OSError`."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0), family=socket.AF_INET)
        self._transport = transport
        self._host, self.port = transport.get_extra_info("sockname")[:2]

    def stop(self) -> None:
        for dialog in list(self._dialogs.values()):
            dialog.patch.mute()
            self._forget(dialog)
        if self._transport is not None:
            self._transport.close()

    # ---- what comes ----

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        peer = (str(addr[0]), int(addr[1]))
        message = parse(data)
        if not self._guests.permits(peer[0]):
            self._intrusion(peer, message.user if message else "", "address not among the PBX addresses")
            return
        if message is None:
            return
        dialog = self._dialogs.get(message["call-id"])
        if message.status:
            if dialog is not None and dialog.over and message.method == "BYE" and message.status >= 200:
                self._forget(dialog)
        elif message.method == "ACK":
            if dialog is not None:
                dialog.acknowledged = True
        elif (repeated := self._answered.get(_transaction(message))) is not None:
            self._send(repeated, peer)
        else:
            self._request(message, peer, dialog)

    def error_received(self, exc: Exception) -> None:
        """The PBX's port is closed (ICMP): retransmissions and the pulse deal with it."""

    def _request(self, m: SipMessage, peer: tuple[str, int], dialog: _Dialog | None) -> None:
        known = dialog is not None and not dialog.over
        match m.method:
            case "INVITE" if dialog is not None and known:
                self._again(m, peer, dialog)
            case "INVITE" if not tag_of(m["to"]) and dialog is None:
                self._invited(m, peer)
            case "OPTIONS" if dialog is None:
                self._reply(m, peer, 200, "OK")
            case "BYE" if dialog is not None:
                self._reply(m, peer, 200, "OK", dialog)
                self._over(dialog, "pbx-hangup")
            case "CANCEL" | "OPTIONS" | "INFO" | "UPDATE" | "NOTIFY" | "MESSAGE" if known:
                self._reply(m, peer, 200, "OK", dialog)  # a CANCEL comes too late: we answer every INVITE at once
            case "CANCEL" | "BYE" | "INVITE" | "INFO" | "UPDATE" | "NOTIFY":
                self._reply(m, peer, 481, "Call/Transaction Does Not Exist")
            case _:
                self._reply(m, peer, 405, "Method Not Allowed")

    def _invited(self, m: SipMessage, peer: tuple[str, int]) -> None:
        remote = media_address(m.body)
        if remote is None or not self._guests.permits(remote[0]):
            self._reply(m, peer, 488, "Not Acceptable Here")
            return
        if m.user.endswith(PULSE):
            self._accompany(m, peer, remote)
            return
        try:
            self._guests.admit(m.user)
        except Malformed as fault:
            self._intrusion(peer, m.user, str(fault))
            self._reply(m, peer, 404, "Not Found")
            return
        try:
            patch = SipPatch(m.user, self._host, remote, lambda: self._bye(m["call-id"]))
        except OSError:
            self._reply(m, peer, 500, "No Port")
            return
        self._accept(_Dialog(m, peer, patch))
        self._listener.patch_opened(patch)

    def _accompany(self, m: SipMessage, peer: tuple[str, int], remote: tuple[str, int]) -> None:
        """The pulse of a patch: a call that only shows the PBX that we are alive. Where none is open there is none."""
        name = m.user.removesuffix(PULSE)
        patch = next((one.patch for one in self._dialogs.values() if one.patch.id == name and not one.over), None)
        if patch is None or patch.pulse is not None:
            self._reply(m, peer, 404, "Not Found")
            return
        patch.pulse = remote
        self._accept(_Dialog(m, peer, patch, pulse=True))

    def _accept(self, dialog: _Dialog) -> None:
        m, peer = dialog.invite, dialog.peer
        self._dialogs[m["call-id"]] = dialog
        accepted = self._reply(m, peer, 200, "OK", dialog, answer(self._host, dialog.patch.port, dialog.version))
        self._repeat(dialog, accepted, T1, time.monotonic() + GIVE_UP)

    def _again(self, m: SipMessage, peer: tuple[str, int], dialog: _Dialog) -> None:
        """A re-INVITE: the sound goes elsewhere, or on as it was."""
        kept = dialog.patch.pulse if dialog.pulse else dialog.patch.remote
        remote = media_address(m.body) if m.body else kept
        if remote is None or not self._guests.permits(remote[0]):
            self._reply(m, peer, 488, "Not Acceptable Here", dialog)
            return
        if dialog.pulse:
            dialog.patch.pulse = remote
        else:
            dialog.patch.remote = remote
        dialog.version += 1
        self._reply(m, peer, 200, "OK", dialog, answer(self._host, dialog.patch.port, dialog.version))

    # ---- ends ----

    def _over(self, dialog: _Dialog, why: str) -> None:
        """The PBX has ended the call, or never confirmed it."""
        ended, dialog.over = dialog.over, True
        self._forget(dialog)
        if dialog.pulse:
            dialog.patch.pulse = None
            return
        dialog.patch.mute()
        if not ended:
            self._end_pulse(dialog.patch)
            self._listener.patch_closed(dialog.patch, why)

    def _end_pulse(self, patch: SipPatch) -> None:
        for dialog in [one for one in self._dialogs.values() if one.pulse and one.patch is patch]:
            self._bye(dialog.invite["call-id"])

    def _bye(self, call: str) -> None:
        dialog = self._dialogs.get(call)
        if dialog is None or dialog.over:
            return
        dialog.over = True
        if not dialog.pulse:
            self._end_pulse(dialog.patch)
        invite = dialog.invite
        fields = [
            ("Via", f"SIP/2.0/UDP {self._host}:{self.port};branch=z9hG4bK{secrets.token_hex(8)};rport"),
            ("Max-Forwards", "70"),
            ("From", f"{invite['to']};tag={dialog.tag}"),
            ("To", invite["from"]),
            ("Call-ID", invite["call-id"]),
            ("CSeq", "1 BYE"),
        ]
        target = invite.contact or f"sip:{dialog.peer[0]}:{dialog.peer[1]}"
        data = render(f"BYE {target} SIP/2.0", fields)
        self._send(data, dialog.peer)
        self._repeat(dialog, data, T1, time.monotonic() + GIVE_UP)

    def _repeat(self, dialog: _Dialog, data: bytes, wait: float, until: float) -> None:
        """Sends again until it is confirmed: UDP may lose it, on loopback hardly ever."""

        def again() -> None:
            if self._dialogs.get(dialog.invite["call-id"]) is not dialog or (dialog.acknowledged and not dialog.over):
                return
            if time.monotonic() > until:
                self._over(dialog, "pbx-closed") if not dialog.over else self._forget(dialog)
                return
            self._send(data, dialog.peer)
            self._repeat(dialog, data, wait * 2, until)

        if dialog.timer is not None:
            dialog.timer.cancel()
        dialog.timer = asyncio.get_running_loop().call_later(wait, again)

    def _forget(self, dialog: _Dialog) -> None:
        if dialog.timer is not None:
            dialog.timer.cancel()
        self._dialogs.pop(dialog.invite["call-id"], None)

    # ---- what goes ----

    def _reply(
        self,
        m: SipMessage,
        peer: tuple[str, int],
        status: int,
        reason: str,
        dialog: _Dialog | None = None,
        body: str = "",
    ) -> bytes:
        tag = dialog.tag if dialog is not None else secrets.token_hex(4)
        fields = [
            *(("Via", via) for via in m.via),
            ("From", m["from"]),
            ("To", m["to"] if tag_of(m["to"]) else f"{m['to']};tag={tag}"),
            ("Call-ID", m["call-id"]),
            ("CSeq", m["cseq"]),
            ("Contact", f"<sip:takeover@{self._host}:{self.port}>"),
            ("Allow", _METHODS),
        ]
        data = render(f"SIP/2.0 {status} {reason}", fields, body)
        self._remember(_transaction(m), data)
        self._send(data, peer)
        return data

    def _remember(self, transaction: str, data: bytes) -> None:
        self._answered[transaction] = data
        self._answers.append(transaction)
        if len(self._answers) > _REMEMBERED:
            self._answered.pop(self._answers.popleft(), None)

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, peer)

    def _intrusion(self, peer: tuple[str, int], shown: str, why: str) -> None:
        """Told once per caller and thing tried: a scanner's flood is one line."""
        named = f"{peer[0]} {shown}"
        if named not in self._told:
            self._told.append(named)
            self._listener.intruder(f"{peer[0]}:{peer[1]}", shown, why)


def _transaction(m: SipMessage) -> str:
    return f"{m.method} {m.branch} {m['call-id']} {m['cseq']}"


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
