"""Who may come in: how many connections one address may have open, whether anybody is logged in on them or not.

They are counted when they are accepted: an outsider who connects and then says nothing is in nobody's log-in back-off,
and costs memory before the first byte of TLS has come.
"""

import asyncio
import errno
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from socket import socket

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .errors import Overloaded
from .site import Site, neighbourhood

log = structlog.get_logger()

_HANDSHAKE = 10.0
"""Seconds that TLS may take to begin: enough for a poor line, and a sixth of asyncio's."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BREATH = 1.0
"""Seconds without anybody new when the machine has no more files or memory for connections."""


class Door:
    """Counts the connections of each address. A trusted proxy may have any number, as its clients have theirs: of those
    each request counts for as long as it lasts."""

    def __init__(self, most: int, site: Site) -> None:
        self._most, self._site = most, site
        self._inside: Counter[str] = Counter()
        self.refused = 0

    def enter(self, place: str) -> bool:
        """Counts one more from this place, unless there are too many; each that has entered has to `leave`."""
        if self._inside[place] >= self._most:
            if self.refused == 0:  # once: whoever does that would fill the log as well; afterwards there is the metric
                log.warning("connections.refused", place=place, most=self._most)
            self.refused += 1
            return False
        self._inside[place] += 1
        return True

    def leave(self, place: str) -> None:
        """One less."""
        self._inside[place] -= 1
        if not self._inside[place]:
            del self._inside[place]

    def __len__(self) -> int:
        return self._inside.total()

    async def serve(
        self, listener: socket, protocols: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
    ) -> None:
        """Lets connections in, for ever. `listener` listens, and does not block."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as handshakes:
            while True:
                try:
                    connection, address = await loop.sock_accept(listener)
                except OSError as fault:
                    exhausted = fault.errno in _EXHAUSTED
                    if exhausted:
                        log.error("connections.not-accepted", why=fault.strerror)  # noqa: TRY400 - no fault of ours
                    await asyncio.sleep(_BREATH if exhausted else 0)
                    continue
                place = "" if self._site.trusts(address[0]) else neighbourhood(address[0])
                if place and not self.enter(place):
                    connection.close()
                else:
                    handshakes.create_task(self._let_in(connection, place, protocols, tls))
                await asyncio.sleep(0)  # whoever is inside comes first: a crowd at the door must not hold up the loop

    async def _let_in(
        self, connection: socket, place: str, protocols: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
    ) -> None:
        guest = _Guest(protocols(), partial(self.leave, place) if place else lambda: None)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: guest, connection, ssl=tls, ssl_handshake_timeout=_HANDSHAKE if tls is not None else None
            )
        except OSError:
            pass  # gone again, not speaking TLS, or too slowly: what port scanners do all day
        except Exception:  # one connection must not end the service
            log.exception("connections.fault")
        finally:
            if not guest.came:
                guest.left()

    def counting(self) -> Middleware:
        """Middleware: what comes through a trusted proxy counts by the address that the proxy names."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._site.trusts(request.remote or ""):
                return await handler(request)
            place = neighbourhood(self._site.address(request))
            if not self.enter(place):
                raise Overloaded(f"Your address has {self._most} connections open; close some of them first.")
            try:
                return await handler(request)
            finally:
                self.leave(place)

        return middleware


class _Guest(asyncio.Protocol):
    """Another protocol, of which it is known when its connection ends."""

    def __init__(self, inner: asyncio.Protocol, left: Callable[[], None]) -> None:
        self._inner, self.left = inner, left
        self.came = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.came = True
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.left()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
