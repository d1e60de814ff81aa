"""The port that the service listens on, with or without TLS, and what is said when it cannot."""

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from .certificate import self_signed
from .errors import StartFailed
from .settings import Settings

log = structlog.get_logger()


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
async def listening(settings: Settings, application: web.Application) -> AsyncIterator[Listening]:
    """Serves the application."""
    http = settings.http
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=2.0, keepalive_timeout=75.0
    )
    await runner.setup()
    try:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if http.tls is not None else None
        if tls is not None:
            _load(settings, tls)
        site = web.TCPSite(runner, http.host, http.port, ssl_context=tls, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise StartFailed(_cannot_listen(http.host, http.port, error)) from None
        yield Listening(int(runner.addresses[0][1]), tls)
    finally:
        await runner.cleanup()


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
