"""A patch by SIP, the worker's side: FreeSWITCH calls us, the user part of the URI is the patch's uuid.

A user agent server that can do nothing else: it answers an expected INVITE at once, at the rate it is expected with if
that is offered, and ends with BYE. Only an expected uuid is let in, once, and only from loopback or a named PBX; its
RTP too. A second call beside each, its pulse, gets a packet now and then as the sound goes out: when these stop, the
PBX ends both by itself, so that nothing here needs a timer to keep the caller safe (docs/decisions/0009).
"""

import asyncio
import secrets
import socket
import time
from collections import deque
from typing import Protocol

from .audiosocket import Malformed
from .sipmessage import SipMessage, bye, parse, reply, tag_of
from .sippatch import SipPatch
from .sipsdp import NARROW, Line, answer, offered

T1 = 0.5
"Seconds to the first retransmission (RFC 3261 17.1.1.1)."
GIVE_UP = 4.0
"Seconds after which an ACK or an answer to BYE is no longer waited for."
PULSE = "-pulse"
"What the name of a patch's pulse ends with."
_REMEMBERED = 200


class Guests(Protocol):
    """Who may come; `audiosocket.Server` keeps the list for both doors."""

    def permits(self, host: str) -> bool: ...
    def expects(self, shown: str) -> bool: ...
    def admit(self, shown: str) -> int:
        """Spends the uuid; raises `Malformed`."""


class Listener(Protocol):
    """Whom `SipServer` tells, on the event loop."""

    def patch_opened(self, patch: SipPatch) -> None: ...
    def patch_closed(self, patch: SipPatch, why: str) -> None: ...
    def intruder(self, peer: str, shown: str, why: str) -> None: ...


class _Dialog:
    """One call from the PBX: a patch, or its pulse."""

    def __init__(
        self, invite: SipMessage, peer: tuple[str, int], patch: SipPatch, line: Line, *, pulse: bool = False
    ) -> None:
        self.invite, self.peer, self.patch, self.line, self.pulse = invite, peer, patch, line, pulse
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
        elif (repeated := self._answered.get(message.transaction)) is not None:
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
        offer = offered(m.body)
        if offer is None or not self._guests.permits(offer.host):
            self._reply(m, peer, 488, "Not Acceptable Here")
            return
        if m.user.endswith(PULSE):
            # The two are dialled side by side: one that overtook its patch is unanswered until it comes again after T1.
            if not self._guests.expects(m.user.removesuffix(PULSE)):
                self._accompany(m, peer, offer.at(NARROW))
            return
        try:
            rate = self._guests.admit(m.user)
        except Malformed as fault:
            self._intrusion(peer, m.user, str(fault))
            self._reply(m, peer, 404, "Not Found")
            return
        try:
            patch = SipPatch(m.user, self._host, offer.best(rate), lambda: self._bye(m["call-id"]))
        except OSError:
            self._reply(m, peer, 500, "No Port")
            return
        self._accept(_Dialog(m, peer, patch, patch.line))
        self._listener.patch_opened(patch)

    def _accompany(self, m: SipMessage, peer: tuple[str, int], line: Line | None) -> None:
        """The pulse of a patch: a call that only shows the PBX that we are alive. Where none is open there is none."""
        name = m.user.removesuffix(PULSE)
        patch = next((one.patch for one in self._dialogs.values() if one.patch.id == name and not one.over), None)
        if patch is None or patch.pulse is not None:
            self._reply(m, peer, 404, "Not Found")
            return
        if line is None:
            self._reply(m, peer, 488, "Not Acceptable Here")
            return
        patch.pulse = line.host, line.port
        self._accept(_Dialog(m, peer, patch, line, pulse=True))

    def _accept(self, dialog: _Dialog) -> None:
        m, peer = dialog.invite, dialog.peer
        self._dialogs[m["call-id"]] = dialog
        described = answer(self._host, dialog.patch.port, dialog.version, dialog.line)
        accepted = self._reply(m, peer, 200, "OK", dialog, described)
        self._repeat(dialog, accepted, T1, time.monotonic() + GIVE_UP)

    def _again(self, m: SipMessage, peer: tuple[str, int], dialog: _Dialog) -> None:
        """A re-INVITE: the sound goes elsewhere, or on as it was; at the same rate."""
        patch, line = dialog.patch, dialog.line
        if m.body:
            offer = offered(m.body)
            wanted = offer.at(line.rate) if offer is not None else None
            if wanted is None or not self._guests.permits(wanted.host):
                self._reply(m, peer, 488, "Not Acceptable Here", dialog)
                return
            dialog.line = line = wanted
            if dialog.pulse:
                patch.pulse = line.host, line.port
            else:
                patch.line = line
        dialog.version += 1
        self._reply(m, peer, 200, "OK", dialog, answer(self._host, patch.port, dialog.version, line))

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
        data = bye(dialog.invite, dialog.tag, f"{self._host}:{self.port}", dialog.peer)
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
        data = reply(m, f"{status} {reason}", tag, f"{self._host}:{self.port}", body)
        self._remember(m.transaction, data)
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
