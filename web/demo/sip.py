"""A small SIP phone over UDP for the demo and the tests (RFC 3261): calls, answers, says BYE, nothing more.

One socket carries any number of calls. No registration and no digest: it is a peer on a trusted loopback.
"""

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from .rtp import CODECS, PCMU, Codec, RtpSession
from .sipmessage import Message, parse_sdp, render, sdp, tag_of, uri_of
from .voice import Recording, Silence, Source

T1_S = 0.5  # RFC 3261 17.1.1.1: first retransmission
TIMEOUT_S = 32.0  # 64 * T1


class SipError(Exception):
    """A request was refused or got no answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(eq=False)
class SipCall:
    """One dialog with its media. `ended` is set when it is over, by whom `ended_by` tells."""

    phone: "SipPhone"
    call_id: str
    local: str  # value of From or To that is ours, with tag
    remote: str  # the other's; gets its tag with the first answer
    target: str  # request URI within the dialog
    peer: tuple[str, int]
    media: RtpSession
    invite: Message | None = None  # what came in, if the other one called
    sequence: int = 0
    version: int = 1  # of our session description
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_by: str = ""  # "us", "them", "cancel"
    reinvites: int = 0

    @property
    def recording(self) -> Recording:
        """What this party heard."""
        return self.media.recording

    @property
    def source(self) -> Source:
        """What this party says; may be changed at any time."""
        return self.media.source

    @source.setter
    def source(self, source: Source) -> None:
        self.media.source = source

    @property
    def called(self) -> str:
        """The user part of the URI that was called."""
        return self.invite.start.split()[1].partition(":")[2].partition("@")[0] if self.invite else ""

    def header(self, name: str) -> str:
        """A header of the INVITE that came in, "" if it has none."""
        return self.invite.get(name) if self.invite else ""

    async def answer(self) -> None:
        """Answers a call that came in, and starts to speak."""
        await self.phone.answer(self)

    async def hangup(self) -> None:
        """Ends the call; does nothing if it is over."""
        await self.phone.hangup(self)


Handler = Callable[[SipCall], Awaitable[None]]


class SipPhone(asyncio.DatagramProtocol):
    """A user agent; an async context manager. `on_call` is awaited for each call that comes in."""

    def __init__(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        codec: Codec = PCMU,
        source: Callable[[], Source] = Silence,
        on_call: Handler | None = None,
    ) -> None:
        self.name, self.host, self.codec = name, host, codec
        self.source, self.on_call = source, on_call
        self.calls: dict[str, SipCall] = {}
        self.incoming: asyncio.Queue[SipCall] = asyncio.Queue()  # each call that came in, once it is answered
        self._transport: asyncio.DatagramTransport | None = None
        self._pending: dict[str, asyncio.Queue[Message]] = {}  # branch -> responses
        self._replies: dict[tuple[str, str], bytes] = {}  # (branch, method) -> our final answer, for retransmissions
        self._acks: dict[str, bytes] = {}  # call id -> our ACK, for a repeated 2xx
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._wire.get_extra_info("sockname")[1])

    @property
    def uri(self) -> str:
        return f"sip:{self.name}@{self.host}:{self.port}"

    @property
    def _wire(self) -> asyncio.DatagramTransport:
        if self._transport is None:
            raise RuntimeError("the phone is not open; use it as `async with SipPhone(...)`")
        return self._transport

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.host, 0), family=socket.AF_INET
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(call.hangup() for call in list(self.calls.values())))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._wire.close()

    # ---- calls ----

    async def call(self, uri: str, *, headers: Mapping[str, str] | None = None, within: float = 10) -> SipCall:
        """Calls `sip:user@host:port`; returns when it is answered and media flows. Raises SipError."""
        host, _, port = uri.rpartition("@")[2].partition(":")
        media = RtpSession(self.host, self.codec, self.source())
        call = SipCall(
            phone=self,
            call_id=secrets.token_hex(12),
            local=f"<{self.uri}>;tag={secrets.token_hex(4)}",
            remote=f"<{uri}>",
            target=uri,
            peer=(host, int(port or 5060)),
            media=media,
        )
        self.calls[call.call_id] = call
        offer = sdp(self.host, media.port, [self.codec], call.version)
        branch = _branch()
        try:
            async with asyncio.timeout(within):
                final = await self._request(call, "INVITE", branch, offer, headers)
        except (TimeoutError, asyncio.CancelledError) as error:
            self._send_request(call, "CANCEL", branch)
            await self._end(call, "us")
            if isinstance(error, TimeoutError):
                raise SipError(f"{uri} did not answer within {within} s") from error
            raise
        if final.status >= 300:
            self._send_request(call, "ACK", branch)
            await self._end(call, "them")
            raise SipError(f"{uri} refused: {final.start}", final.status)
        self._acks[call.call_id] = self._send_request(call, "ACK", _branch())
        call.answered.set()
        return call

    async def answer(self, call: SipCall) -> None:
        if call.invite is None or call.answered.is_set() or call.ended.is_set():
            return
        body = sdp(self.host, call.media.port, [call.media.codec], call.version)
        self._reply(call.invite, 200, "OK", call, body)
        call.answered.set()
        call.media.start()
        self.incoming.put_nowait(call)

    async def hangup(self, call: SipCall) -> None:
        if call.ended.is_set():
            return
        if call.invite is not None and not call.answered.is_set():
            self._reply(call.invite, 486, "Busy Here", call)
            await self._end(call, "us")
            return
        try:
            async with asyncio.timeout(4 * T1_S):
                await self._request(call, "BYE", _branch())
        except TimeoutError:
            pass  # nobody is there any more: the call is over all the same
        finally:
            await self._end(call, "us")

    async def _end(self, call: SipCall, by: str) -> None:
        if not call.ended.is_set():
            call.ended_by = by
            call.ended.set()
        self.calls.pop(call.call_id, None)
        await call.media.close()

    # ---- requests of ours ----

    async def _request(
        self,
        call: SipCall,
        method: str,
        branch: str,
        body: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Sends a request until an answer comes; returns the final one."""
        call.sequence += 1
        responses = self._pending[branch] = asyncio.Queue()
        try:
            wait, waited, provisional = T1_S, 0.0, False
            self._send_request(call, method, branch, body, headers)
            while True:
                try:
                    async with asyncio.timeout(None if provisional else wait):
                        message = await responses.get()
                except TimeoutError:
                    waited, wait = waited + wait, wait * 2
                    if waited > TIMEOUT_S:
                        raise
                    self._send_request(call, method, branch, body, headers)
                    continue
                self._learn(call, message)
                if message.status >= 200:
                    return message
                provisional = True
        finally:
            del self._pending[branch]

    def _send_request(
        self, call: SipCall, method: str, branch: str, body: str = "", headers: Mapping[str, str] | None = None
    ) -> bytes:
        fields = {
            "Via": f"SIP/2.0/UDP {self.host}:{self.port};branch={branch};rport",
            "Max-Forwards": "70",
            "From": call.local,
            "To": call.remote,
            "Call-ID": call.call_id,
            "CSeq": f"{call.sequence} {method}",
            "Contact": f"<{self.uri}>",
            **(headers or {}),
        }
        data = render(f"{method} {call.target} SIP/2.0", fields, body)
        self._wire.sendto(data, call.peer)
        return data

    def _learn(self, call: SipCall, message: Message) -> None:
        """Takes tag, contact and media address from an answer to our INVITE."""
        if message.method != "INVITE" or message.status >= 300:
            return
        if tag_of(message.get("To")):
            call.remote = message.get("To")
        call.target = uri_of(message.get("Contact")) or call.target
        self._media(call, message.body)

    @staticmethod
    def _media(call: SipCall, body: str) -> None:
        described = parse_sdp(body)
        if described:
            call.media.remote = (described.host, described.port)
            call.media.start()

    # ---- what comes in ----

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        message = Message.parse(data)
        if message is None:
            return
        if message.is_response:
            waiting = self._pending.get(message.branch)
            if waiting:
                waiting.put_nowait(message)
            elif message.method == "INVITE" and (ack := self._acks.get(message.get("Call-ID"))):
                self._wire.sendto(ack, (str(addr[0]), addr[1]))  # our ACK was lost
            return
        earlier = self._replies.get((message.branch, message.method))
        if earlier:
            self._wire.sendto(earlier, (str(addr[0]), addr[1]))
            return
        self._request_came(message, (str(addr[0]), addr[1]))

    def error_received(self, exc: Exception) -> None:
        """The peer's port is closed (ICMP): retransmission and time-outs deal with it."""

    def _request_came(self, message: Message, addr: tuple[str, int]) -> None:
        call = self.calls.get(message.get("Call-ID"))
        if call is not None:
            self._request_in(call, message)
        elif message.method == "INVITE":
            self._spawn(self._ring(message, addr))
        elif message.method in ("BYE", "CANCEL"):
            self._reply(message, 481, "Call/Transaction Does Not Exist")
        elif message.method != "ACK":  # OPTIONS and the like, outside of any call
            self._reply(message, 200, "OK")

    def _request_in(self, call: SipCall, message: Message) -> None:
        match message.method:
            case "ACK":
                pass
            case "INVITE" if call.invite and call.invite.branch == message.branch:
                pass  # a retransmission while it still rings
            case "INVITE":
                self._reinvited(call, message)
            case "BYE":
                self._reply(message, 200, "OK", call)
                self._spawn(self._end(call, "them"))
            case "CANCEL":
                self._reply(message, 200, "OK", call)
                if call.invite and not call.answered.is_set():
                    self._reply(call.invite, 487, "Request Terminated", call)
                    self._spawn(self._end(call, "cancel"))
            case _:  # OPTIONS, INFO, UPDATE, NOTIFY
                self._reply(message, 200, "OK", call)

    async def _ring(self, message: Message, addr: tuple[str, int]) -> None:
        described = parse_sdp(message.body)
        known = {codec.payload_type: codec for codec in (*CODECS.values(), self.codec)}
        offered = [known[number] for number in described.payload_types if number in known] if described else []
        if not described or not offered:
            self._reply(message, 488, "Not Acceptable Here")
            return
        media = RtpSession(self.host, self.codec if self.codec in offered else offered[0], self.source())
        media.remote = (described.host, described.port)
        call = SipCall(
            phone=self,
            call_id=message.get("Call-ID"),
            local=f"{message.get('To')};tag={secrets.token_hex(4)}",
            remote=message.get("From"),
            target=uri_of(message.get("Contact")),
            peer=addr,
            media=media,
            invite=message,
        )
        self.calls[call.call_id] = call
        self._reply(message, 180, "Ringing", call)
        if self.on_call:
            await self.on_call(call)
        else:
            await call.answer()

    def _reinvited(self, call: SipCall, message: Message) -> None:
        call.reinvites += 1
        call.version += 1
        self._media(call, message.body)
        self._reply(message, 200, "OK", call, sdp(self.host, call.media.port, [call.media.codec], call.version))

    def _reply(self, request: Message, status: int, reason: str, call: SipCall | None = None, body: str = "") -> None:
        local = call.local if call else f"{request.get('To')};tag={secrets.token_hex(4)}"
        fields = {
            "Via": request.all("Via"),
            "From": request.get("From"),
            "To": request.get("To") if tag_of(request.get("To")) else local,
            "Call-ID": request.get("Call-ID"),
            "CSeq": request.get("CSeq"),
            "Contact": f"<{self.uri}>",
            "Allow": "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE",
        }
        data = render(f"SIP/2.0 {status} {reason}", fields, body)
        if status >= 200:
            self._replies[request.branch, request.method] = data
        host, port = request.reply_to
        self._wire.sendto(data, (host, port))

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run(), name=f"sip-{self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"
