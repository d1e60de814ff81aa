"""One ESL session on the asyncio side, over greenswitch in a thread of its own (`esl`).

A `Connection` lives from login to loss and is never reused: every command is under a timeout and fails with the
connection, events go through one bounded queue, and whoever wants another connection opens another.
"""

import asyncio
import importlib
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..adapter.connected import LoginRefused, keep_alive
from ..adapter.inbox import Inbox
from ..domain.errors import PbxTimeout, PbxUnavailable, VerbRefused
from . import wire
from .wire import Message

if TYPE_CHECKING:
    from .esl import Pump

CONNECT_S = 5.0
ANSWER_S = 3.0
PING_DEADLINE_S = 3.0
NUDGE_S, NUDGES = 0.002, 50
"""FreeSWITCH hands events over every 20 ms, or as soon as it is asked something (mod_event_socket's poll; measured):
while a job is new, we ask, so that a leg that took 10 ms to connect is not known 20 ms later."""
AT_ONCE = 20
"""Messages taken in one turn of the loop, so that a flood of them does not hold up the panel: with 200, 1 % of a loop's
turns took over 0.3 s on a machine with ten times its work, with 20 none took 60 ms (`tests.bench.esl`)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a PBX's event socket is, and its password."""

    host: str
    port: int
    secret: str = field(repr=False)


def load() -> None:
    """Loads gevent, only where a FreeSWITCH is configured: a second on a busy machine, so while nothing waits yet."""
    importlib.import_module(".esl", __package__)


class Connection:
    """One ESL session: ``async with`` connects and logs in, loss ends it, and then every verb raises `PbxUnavailable`.

    `tap` sees each event before it is queued and must return at once.
    Entering raises `PbxUnavailable`, and `LoginRefused` when it is the password or the ACL that is wrong.
    """

    def __init__(self, pbx: str, address: Address, tap: Callable[[Message], None]) -> None:
        self.pbx = pbx
        self.why = ""
        """Why the connection ended; empty while it lives."""
        self._address = address
        self._tap = tap
        self._heard = False
        self._pump: Pump | None = None
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Message] = deque()
        self._scheduled = False
        self._challenged: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._replies: deque[asyncio.Future[Message]] = deque()
        self._jobs: dict[str, asyncio.Future[Message]] = {}
        self._events: Inbox[Message] = Inbox(self._pause)
        self._pinger: asyncio.Task[None] | None = None
        self._asked = 0.0
        """When we last asked for anything."""

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:  # also a cancellation: no thread may stay behind
            self.lose("the login failed")
            await self._gone()
            raise
        self._pinger = asyncio.create_task(keep_alive(self._ping, self._silent), name=f"ping {self.pbx}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lose("we closed the connection")
        if self._pinger is not None:
            self._pinger.cancel()
            await asyncio.wait([self._pinger])
        await self._gone()

    # ---- what is asked ----

    async def send(self, command: str, seconds: float = ANSWER_S) -> Message:
        """Sends one command and returns its reply. The lines of `command` are guarded by whoever built it.

        Raises `PbxUnavailable`, `PbxTimeout`.
        """
        return await self._answered(self._post(command), command, seconds)

    async def api(self, *commands: str, seconds: float = ANSWER_S) -> list[str]:
        """Sends these API commands in one go, to be run in this order, and returns what each says, stripped.

        Raises `BadValue` (nothing was sent), `PbxUnavailable`, `PbxTimeout`.
        """
        lines = [f"api {wire.guard(command)}" for command in commands]
        futures = [self._post(line) for line in lines]
        return [
            (await self._answered(future, line, seconds)).body.strip()
            for future, line in zip(futures, lines, strict=True)
        ]

    async def job(self, command: str, seconds: float) -> str:
        """Runs an API command that may take long, and returns its result.

        Raises `BadValue`, `PbxUnavailable`, `PbxTimeout`, `VerbRefused` when it is not even begun.
        """
        number = str(uuid.uuid4())
        result = self._jobs[number] = self._loop.create_future()
        try:
            reply = await self.send(f"bgapi {wire.guard(command)}\nJob-UUID: {number}")
            if not reply["reply-text"].startswith("+OK"):
                raise VerbRefused(self.pbx, command.partition(" ")[0], reply["reply-text"] or "no reason given")
            for _ in range(NUDGES):
                await asyncio.wait([result], timeout=NUDGE_S)
                if result.done() or self.why:
                    break
                if self._loop.time() - self._asked >= NUDGE_S:  # one of many jobs asks for all
                    self._post("api echo")
            return (await self._answered(result, command, seconds)).body.strip()
        finally:
            self._jobs.pop(number, None)

    def events(self) -> AsyncIterator[Message]:
        """Yields the events in order, and ends when the connection has ended."""
        return aiter(self._events)

    def note(self, message: Message) -> None:
        """Queues a message behind those that came before it: for what was looked up, so that there is one order."""
        self._events.note(message)

    def lose(self, why: str) -> None:
        """Ends the connection: fails what is under way, once, and never sends it again."""
        if self.why:
            return
        self.why = why
        if self._pump is not None:
            self._pump.stop()
        else:
            self._ended.set_result(None)
        waiting: list[asyncio.Future[Any]] = [self._challenged, *self._replies, *self._jobs.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(PbxUnavailable(self.pbx, why))
                future.exception()  # nobody may be waiting for this one
        self._replies.clear()
        self._inbox.clear()
        self._events.close()

    def _post(self, command: str) -> asyncio.Future[Message]:
        if self.why or self._pump is None:
            raise PbxUnavailable(self.pbx, self.why or "it is not connected")
        future: asyncio.Future[Message] = self._loop.create_future()
        self._asked = self._loop.time()
        self._replies.append(future)
        self._pump.send(f"{command}\n\n".encode())
        return future

    async def _answered(self, future: asyncio.Future[Message], command: str, seconds: float) -> Message:
        # Not wait_for: after a freeze of this process answer and timeout are due at once, and the answer counts. The
        # future stays in its place in the queue of replies, or the next answer would be taken for this one.
        await asyncio.wait([future], timeout=seconds)
        if not future.done():
            words = command.split(maxsplit=2)
            raise PbxTimeout(self.pbx, words[1] if words[0] == "api" else words[0], seconds)  # never the password
        return future.result()

    # ---- what comes ----

    def _arrived(self, message: Message) -> None:
        """In the thread: hands one message over."""
        self._inbox.append(message)
        if not self._scheduled:
            self._scheduled = True
            self._call(self._drain)

    def _closed(self, why: str) -> None:
        """In the thread, as its last act."""
        self._call(self._finished, why)

    def _call(self, what: Callable[..., None], *arguments: str) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            return  # the loop is closed: nobody is left who could want to know

    def _finished(self, why: str) -> None:
        while self._inbox and not self.why:  # what came before the end counts
            self._take(self._inbox.popleft())
        self.lose(why)
        if not self._ended.done():
            self._ended.set_result(None)

    def _drain(self) -> None:
        self._scheduled = False
        for _ in range(AT_ONCE):
            if not self._inbox or self.why:
                return
            self._take(self._inbox.popleft())
        self._scheduled = True
        self._loop.call_soon(self._drain)

    def _take(self, message: Message) -> None:
        self._heard = True
        match message.kind:
            case "":
                self._event(message)
            case "auth/request":
                if not self._challenged.done():
                    self._challenged.set_result(None)
            case "command/reply" | "api/response":
                if self._replies:
                    future = self._replies.popleft()
                    if not future.done():
                        future.set_result(message)
            case "text/rude-rejection":
                self._reject(LoginRefused(self.pbx, "its event socket's ACL (apply-inbound-acl) does not let us in"))
            case "text/disconnect-notice":
                self.lose("the PBX closed the connection")
            case _:
                pass  # logs, and events in formats that were not asked for

    def _reject(self, fault: PbxUnavailable) -> None:
        if not self._challenged.done():
            self._challenged.set_exception(fault)
        self.lose(fault.why)

    def _event(self, message: Message) -> None:
        if message.event == "BACKGROUND_JOB":
            job = self._jobs.get(message["job-uuid"])
            if job is not None and not job.done():
                job.set_result(message)
            return
        if message.event == "SHUTDOWN":
            self.lose("FreeSWITCH is shutting down")
            return
        if not message.event:
            return
        self._tap(message)
        self._events.put(message, more=len(self._inbox))

    def _pause(self, on: bool) -> None:
        if self._pump is not None and not self.why:
            self._pump.pause(on)

    # ---- its life ----

    async def _open(self) -> None:
        from .esl import Pump  # see `load`

        address = self._address
        self._pump = Pump(address.host, address.port, CONNECT_S, self._arrived, self._closed)
        self._pump.start()
        await asyncio.wait([self._challenged], timeout=CONNECT_S)
        if not self._challenged.done():
            why = f"{address.host}:{address.port} did not ask for a login within {CONNECT_S:g} s: is it an ESL port?"
            raise PbxUnavailable(self.pbx, why)
        self._challenged.result()
        reply = await self.send(f"auth {wire.guard(address.secret)}")
        if not reply["reply-text"].startswith("+OK"):
            why = f"authentication refused: check pbx.{self.pbx}.secret"
            raise LoginRefused(self.pbx, f"{why} ({reply['reply-text'] or 'no reason given'})")
        reply = await self.send(f"event plain {wire.EVENTS} CUSTOM {wire.SUBCLASSES}")
        if not reply["reply-text"].startswith("+OK"):
            raise PbxUnavailable(self.pbx, f"it refused our events: {reply['reply-text']}")

    async def _gone(self) -> None:
        """Until the thread has closed the socket; bounded, as a stuck name look-up cannot be ended."""
        await asyncio.wait([self._ended], timeout=CONNECT_S)

    async def _ping(self) -> None:
        self._heard = False
        await self.api("echo takeover", seconds=PING_DEADLINE_S)

    def _silent(self) -> None:
        if not self._heard and not self._events.paused:
            self.lose(f"no answer to a ping within {PING_DEADLINE_S:g} s")
