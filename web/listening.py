"""The port that the service listens on, with or without TLS, and what is said when it cannot."""

import asyncio
import errno
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from .certificate import self_signed
from .door import Door
from .errors import StartFailed
from .settings import Settings

log = structlog.get_logger()

_BACKLOG = 1_024
"""Connections that wait at the door: after a restart all panels come back at once."""
_TLS_BUFFER = 32 * 1024
"""Bytes that TLS reads at once: two of its largest records. asyncio keeps so many for each connection from the first
moment; with its own 256 KB that made 0.3 MB of each, now 0.09, in half the time (measured)."""
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a machine without IPv6 says of the second address of a name; a fault only where there is no other."""


@dataclass(frozen=True, slots=True)
class Listening:
    """An open port, and the TLS that new connections to it get."""

    port: int
    tls: ssl.SSLContext | None

    async def renew(self, settings: Settings, asked: asyncio.Event) -> None:
        """Reads the certificate again whenever it is asked to, for ever. Connections that are open go on as they are;
        a certificate that cannot be used leaves the one before in use."""
        while True:
            await asked.wait()
            asked.clear()
            if self.tls is None:
                log.info("certificate.none", why="http.tls is not set, so there is none to read again")
                continue
            try:
                certificate = await asyncio.to_thread(_load, settings, self.tls)
            except StartFailed as error:
                log.error("certificate.kept", why=str(error))  # noqa: TRY400 - the reason is no fault of ours
            else:
                log.info("certificate.renewed", file=str(certificate))


@asynccontextmanager
async def listening(settings: Settings, application: web.Application, door: Door) -> AsyncIterator[Listening]:
    """Serves the application to whom the door lets in."""
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=2.0, keepalive_timeout=75.0
    )
    async with AsyncExitStack() as stack:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if settings.http.tls is not None else None
        if tls is not None:
            _load(settings, tls)
            sslproto.SSLProtocol.max_size = _TLS_BUFFER
        listeners = [stack.enter_context(one) for one in await _listeners(settings.http.host, settings.http.port)]
        protocols = runner.server
        assert protocols is not None  # noqa: S101 - set by `setup`
        async with asyncio.TaskGroup() as doors:
            serving = [doors.create_task(door.serve(listener, protocols, tls)) for listener in listeners]
            try:
                yield Listening(int(listeners[0].getsockname()[1]), tls)
            finally:
                for one in serving:
                    one.cancel()


async def _listeners(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of the host. Raises `StartFailed`."""
    loop = asyncio.get_running_loop()
    made: list[socket.socket] = []
    fault: OSError | None = None
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            try:
                made.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                fault = error
            else:
                made[-1].setblocking(False)
        if not made and fault is not None:
            raise fault
    except OSError as error:
        for one in made:
            one.close()
        raise StartFailed(_cannot_listen(host, port, error)) from None
    return made


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        why, remedy = "another program listens there", "stop that one, or set another http.port"
    elif error.errno == errno.EACCES:
        why, remedy = "this user may not listen there", "use a port from 1024 on, or allow it in the unit file"
    else:
        why, remedy = error.strerror or str(error), "set http.host to an address of this machine"
    return f"http.host, http.port: cannot listen on {host}:{port}, {why}; {remedy}"


def _load(settings: Settings, context: ssl.SSLContext) -> Path:
    """Puts certificate and key into the context, both or none; returns the certificate's file. Raises `StartFailed`."""
    tls = settings.http.tls
    if tls is None or tls.self_signed:
        certificate, key = self_signed(settings.data_dir, settings.http.host)
    else:
        certificate, key = tls.cert_file or Path(), tls.key_file or Path()
    try:
        for one in (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), context):  # first where a fault does no harm
            one.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise StartFailed(
            f"http.tls: {certificate} and {key} cannot be used ({error}); give a PEM certificate and its own key"
        ) from None
    return certificate


def url_of(settings: Settings, port: int) -> str:
    """Where browsers find the service, without a slash at the end."""
    if settings.http.public_url:
        return settings.http.public_url
    host = settings.http.host
    if host in ("127.0.0.1", "::1", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"  # the one name whose plain http is a secure context, which the microphone needs
    return f"{'https' if settings.http.tls else 'http'}://{host}:{port}"
