"""One AMI session, on panoramisk's protocol and actions, without what is unsafe in them.

panoramisk's `Manager` replays unanswered actions after a reconnect (a mute for a call that is over), retries a refused
login silently for ever, runs handlers in tasks that nobody awaits and does not notice a half-open link; its protocol
loses a UTF-8 character that is split over two reads, and its list actions never end when they are refused. So the
`Manager` is not used at all: a `Connection` lives from login to loss and is never reused, every request is under a
timeout and fails with the connection, events go through one bounded queue, and whoever wants another connection opens
another.
"""

import asyncio
import codecs
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self

from panoramisk.actions import Action as PanoramiskAction
from panoramisk.ami_protocol import AMIProtocol

from ..adapter.connected import LoginRefused, keep_alive
from ..adapter.inbox import Inbox
from ..domain.errors import PbxTimeout, PbxUnavailable, VerbRefused
from . import wire
from .wire import Message

CONNECT_S = 5.0
ANSWER_S = 3.0
PING_DEADLINE_S = 3.0
MAX_BLOCK = 64 * 1024
"""Characters without the end of a message in sight: no AMI message is that long."""
MAX_UNSENT = 1024 * 1024
MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a PBX's AMI is and who we are there. `tls_ca`: a PEM file of our own authority, or the system's."""

    host: str
    port: int
    username: str
    secret: str
    tls: bool = False
    tls_ca: str = ""


class _Request(PanoramiskAction):  # type: ignore[misc]  # panoramisk has no type information
    """An action under way. Replaces panoramisk's guess whether an answer is complete by AMI's own ``EventList``."""

    future: asyncio.Future[list[Message]]

    def __init__(self, action: wire.Action, many: bool) -> None:
        super().__init__(action)
        self.many = many
        self.rows: list[Message] = []

    def add_message(self, message: Message) -> bool:
        """Takes one message that answers this action; True when it was the last."""
        self.rows.append(message)
        if not self.many or not self.rows[0].ok or message["eventlist"] == "Complete" or len(self.rows) > MAX_ROWS:
            if not self.future.done():
                self.future.set_result(self.rows)
            return True
        return False


class _Protocol(AMIProtocol):  # type: ignore[misc]  # panoramisk has no type information
    """Bytes to messages: UTF-8 decoded across reads, blocks of bounded length, unread events dropped unparsed."""

    responses: dict[str, _Request]
    transport: asyncio.Transport | None

    def __init__(self, owner: "Connection") -> None:
        self.owner = owner
        self.responses = {}
        self.transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.encoding = "utf-8"
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.pending = ""

    def data_received(self, data: bytes) -> None:
        self.owner.heard = True
        *blocks, self.pending = (self.pending + self.decoder.decode(data)).split("\r\n\r\n")
        if len(self.pending) > MAX_BLOCK:
            self.owner.lose(f"it sent {len(self.pending)} characters without ending a message: is this an AMI port?")
            return
        for block in blocks:
            name = wire.event_name(block)
            if not name or name in wire.EVENTS or "\r\nActionID: " in block:
                self.handle_message(wire.parse(block))

    def handle_message(self, message: Message) -> None:
        request = self.responses.get(message["actionid"])
        if request is not None:
            if request.add_message(message):
                self.responses.pop(request.id, None)
        elif message.event in wire.EVENTS:
            self.owner.take(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.lose(f"the connection was lost ({exc})" if exc else "the PBX closed the connection")

    def close(self) -> None:
        """Only closes: panoramisk would put the unanswered actions aside to send them again."""
        self.closed = True
        if self.transport is not None:
            self.transport.close()


class Connection:
    """One AMI session: ``async with`` connects and logs in, loss ends it, and then every verb raises `PbxUnavailable`.

    `tap` sees each event before it is queued; it runs inside the protocol and must return at once.
    Entering raises `PbxUnavailable`, and `LoginRefused` when it is the account that is wrong.
    """

    def __init__(self, pbx: str, address: Address, tap: Callable[[Message], None]) -> None:
        self.pbx = pbx
        self._address = address
        self.heard = False
        self.why = ""
        """Why the connection ended; empty while it lives."""
        self._tap = tap
        self._protocol = _Protocol(self)
        self._events: Inbox[Message] = Inbox(self._pause)
        self._pinger: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:  # also a cancellation: no socket may stay behind
            self.lose("the login failed")
            raise
        self._pinger = asyncio.create_task(keep_alive(self._ping, self._silent), name=f"ping {self.pbx}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lose("we closed the connection")
        if self._pinger is not None:
            self._pinger.cancel()
            await asyncio.wait([self._pinger])

    def take(self, message: Message) -> None:
        """Takes one event from the protocol: shows it to whoever awaits a confirmation, and queues it. Never blocks."""
        if message.event == "Shutdown":
            self.lose("Asterisk is shutting down")
            return
        self._tap(message)
        self._events.put(message)

    def note(self, message: Message) -> None:
        """Queues a message behind those that came before it: for what was looked up, so that there is one order."""
        self._events.note(message)

    def events(self) -> AsyncIterator[Message]:
        """Yields the events in order, and ends when the connection has ended."""
        return aiter(self._events)

    def _pause(self, on: bool) -> None:
        if (transport := self._protocol.transport) is not None and not self.why:
            transport.pause_reading() if on else transport.resume_reading()

    def lose(self, why: str) -> None:
        """Ends the connection: fails what is under way, once, and never sends it again."""
        if self.why:
            return
        self.why = why
        self._protocol.close()
        for request in list(self._protocol.responses.values()):
            if not request.future.done():
                request.future.set_exception(PbxUnavailable(self.pbx, why))
        self._protocol.responses.clear()
        self._events.close()

    async def ask(self, action: wire.Action, seconds: float = ANSWER_S) -> Message:
        """Sends one action and returns its response, accepted or not.

        Raises `BadValue` (nothing was sent), `PbxUnavailable`, `PbxTimeout`.
        """
        return (await self._exchange(action, many=False, seconds=seconds))[0]

    async def ask_all(self, action: wire.Action, seconds: float = ANSWER_S) -> list[Message]:
        """Sends an action that is answered by a list and returns the rows, the closing one too, which has facts in some
        lists. Raises also `VerbRefused`."""
        first, *rows = await self._exchange(action, many=True, seconds=seconds)
        if not first.ok:
            raise VerbRefused(self.pbx, str(action["Action"]), first["message"] or "no reason given")
        return rows

    async def _exchange(self, action: wire.Action, many: bool, seconds: float) -> list[Message]:
        wire.guard(action)
        protocol = self._protocol
        if self.why or protocol.transport is None:
            raise PbxUnavailable(self.pbx, self.why or "it is not connected")
        if protocol.transport.get_write_buffer_size() > MAX_UNSENT:
            raise PbxUnavailable(self.pbx, "it does not read what we send")
        request = _Request(action, many)
        protocol.send(request)
        try:
            # Not wait_for: after a freeze of this process answer and timeout are due at once, and the answer counts.
            await asyncio.wait([request.future], timeout=seconds)
        finally:
            protocol.responses.pop(request.id, None)
            if request.future.done():
                request.future.exception()  # seen: who asked may have been cancelled in the moment of the loss
        if not request.future.done():
            raise PbxTimeout(self.pbx, str(action["Action"]), seconds)
        return request.future.result()

    async def _open(self) -> None:
        address = self._address
        loop = asyncio.get_running_loop()
        try:
            context = ssl.create_default_context(cafile=address.tls_ca or None) if address.tls else None
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: self._protocol, address.host, address.port, ssl=context)
        except OSError as fault:  # also a refused certificate and the timeout
            why = f"cannot connect to {address.host}:{address.port}: {fault or f'no answer within {CONNECT_S:g} s'}"
            raise PbxUnavailable(self.pbx, why) from fault
        answer = await self.ask(wire.login(address.username, address.secret))
        if not answer.ok:
            why = f"authentication refused: check pbx.{self.pbx}.username/secret"
            raise LoginRefused(self.pbx, f"{why} ({answer['message'] or 'no reason given'})")

    async def _ping(self) -> None:
        self.heard = False
        await self.ask(wire.PING, PING_DEADLINE_S)

    def _silent(self) -> None:
        if not self.heard and not self._events.paused:
            self.lose(f"no answer to a ping within {PING_DEADLINE_S:g} s")
