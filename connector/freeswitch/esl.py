"""The gevent side of an ESL connection: one thread, one hub, one socket. Loaded only where a FreeSWITCH is configured.

greenswitch 0.0.19 as it is hangs on a silent or closing server, spins at 100 % when a connection ends inside the body
of an event, dies of invalid UTF-8 and of JSON while it calls itself connected, decodes before it splits headers, sends
in part and never fails a command whose answer will not come. So its session is kept, and its connecting, reading and
sending are replaced: this thread moves bytes and parses them, everything that waits or decides is asyncio's.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.socket
import structlog
from greenswitch.esl import InboundESL

from . import wire
from .wire import Message

log = structlog.get_logger(__name__)

CHUNK = 64 * 1024
BREATH_EVERY, BREATH_S = 20, 20e-6
"""After so many messages in one go this thread lets go of the interpreter's lock for long enough that the loop's thread
gets it. It would have to ask for it 5 ms long otherwise, two or three times in a turn: under a flood 1 % of the loop's
turns took over 15 ms, and 29 ms beside two busy processes; so it is 3 and 6 (`tests.bench.esl`)."""


class Session(InboundESL):  # type: ignore[misc]  # greenswitch has no type information
    """greenswitch's session, whose receiving greenlet hands over whole, safely parsed messages."""

    def __init__(self, host: str, port: int, seconds: float, take: Callable[[Message], None]) -> None:
        super().__init__(host, port, "", timeout=seconds)
        self.sock: Any = None
        self.why = "the PBX closed the connection"
        """Why nothing is received any more."""
        self._take = take
        self.room = gevent.event.Event()
        """Set while the other side keeps up: nothing is read otherwise."""
        self.room.set()

    def connect(self) -> None:
        """Raises `OSError`. The login is asyncio's, under its timeout."""
        self.sock = gevent.socket.create_connection((self.host, self.port), self.timeout)
        self.sock.settimeout(None)
        self.connected = True

    def receive_events(self) -> None:
        """Until the connection ends; `why` says how."""
        reader = wire.Reader()
        try:
            while data := self.sock.recv(CHUNK):
                for number, message in enumerate(reader.feed(data), 1):
                    self._take(message)
                    if number % BREATH_EVERY == 0:
                        time.sleep(BREATH_S)
                gevent.sleep(0)  # a flood must not keep our own commands from being sent
                self.room.wait()
        except OSError as fault:
            self.why = f"the connection was lost ({fault})"
        except wire.Malformed as fault:
            self.why = f"it does not speak ESL: {fault}"

    def send(self, data: bytes) -> None:
        """All of it, unlike `socket.send`. Raises `OSError`."""
        self.sock.sendall(data)


class Pump:
    """The thread. `take` and `ended` are called in it; `send`, `pause` and `stop` may be called from anywhere."""

    def __init__(
        self, host: str, port: int, seconds: float, take: Callable[[Message], None], ended: Callable[[str], None]
    ) -> None:
        self._address = (host, port, seconds)
        self._take = take
        self._ended = ended
        self._outbox: deque[bytes] = deque()
        self._stopped = False
        self._paused = False
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"esl {host}:{port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, data: bytes) -> None:
        self._outbox.append(data)
        self._nudge()

    def pause(self, on: bool) -> None:
        """Whether the socket is left unread: the PBX then keeps what it has to say."""
        self._paused = on
        self._nudge()

    def stop(self) -> None:
        """Closes the connection; `ended` follows."""
        self._stopped = True
        self._nudge()

    def _nudge(self) -> None:
        with self._lock:  # not into a loop that has just been destroyed
            if self._wake is not None:
                self._wake()

    def _run(self) -> None:
        hub = gevent.get_hub()
        why = "we closed the connection"
        try:
            why = self._pump(hub)
        except OSError as fault:
            why = f"the connection was lost ({fault})"
        except Exception as fault:  # whatever ends this thread must be told, or the service would wait for ever
            log.exception("esl.thread-failed")
            why = f"our ESL thread failed ({fault!r})"
        finally:
            with self._lock:
                self._wake = None
            hub.destroy(destroy_loop=True)
            self._ended(why)

    def _pump(self, hub: "gevent.hub.Hub") -> str:
        """Connects, then reads and writes until one of the two ends; says why."""
        session = Session(*self._address, self._take)
        nudged = gevent.event.Event()
        watcher = hub.loop.async_()
        watcher.start(nudged.set)
        with self._lock:
            self._wake = watcher.send
        try:
            try:
                session.connect()
            except OSError as fault:
                host, port, _ = self._address
                return f"cannot connect to {host}:{port}: {fault}"
            reading = gevent.spawn(session.receive_events)
            reading.rawlink(lambda _: nudged.set())
            while not self._stopped and not reading.dead:
                while self._outbox and not self._stopped:
                    session.send(b"".join(self._outbox.popleft() for _ in range(len(self._outbox))))
                session.room.clear() if self._paused else session.room.set()
                nudged.wait()
                nudged.clear()
            if not reading.dead:
                reading.kill()
                return "we closed the connection"
            return session.why
        finally:
            session.connected = False
            if session.sock is not None:
                session.sock.close()
            with self._lock:
                self._wake = None
            watcher.stop()
            watcher.close()
