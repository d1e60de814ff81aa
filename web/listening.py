"""The port that the service listens on, with or without TLS, and what is said when it cannot."""

import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from .certificate import self_signed
from .errors import StartFailed
from .settings import Settings


@asynccontextmanager
async def listening(settings: Settings, application: web.Application) -> AsyncIterator[int]:
    """Serves the application; yields the port."""
    http = settings.http
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=2.0, keepalive_timeout=75.0
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, http.host, http.port, ssl_context=_tls(settings), reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise StartFailed(_cannot_listen(http.host, http.port, error)) from None
        yield int(runner.addresses[0][1])
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


def _tls(settings: Settings) -> ssl.SSLContext | None:
    tls = settings.http.tls
    if tls is None:
        return None
    if tls.self_signed:
        certificate, key = self_signed(settings.data_dir, settings.http.host)
    else:
        certificate, key = tls.cert_file or Path(), tls.key_file or Path()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise StartFailed(
            f"http.tls: {certificate} and {key} cannot be used ({error}); give a PEM certificate and its own key"
        ) from None
    return context


def url_of(settings: Settings, port: int) -> str:
    """Where browsers find the service, without a slash at the end."""
    if settings.http.public_url:
        return settings.http.public_url
    host = settings.http.host
    if host in ("127.0.0.1", "::1", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"  # the one name whose plain http is a secure context, which the microphone needs
    return f"{'https' if settings.http.tls else 'http'}://{host}:{port}"
