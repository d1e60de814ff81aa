"""The panel's files: read once, hashed, compressed; served with an ETag. No path is ever opened for a request."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from connector.ports import Journal

from .auth import LINK, Guard
from .errors import NotFound
from .record import recorded
from .routing import Ask, Route
from .site import Site

log = structlog.get_logger()

STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
_WORTH_PACKING = 600
"""Bytes below which gzip saves less than a packet."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of the panel as it goes over the wire."""

    type: str
    body: bytes
    packed: bytes | None
    etag: str


def load(folder: Path) -> Mapping[str, File]:
    """All files below a folder, by their path in it."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            files[path.relative_to(folder).as_posix()] = _file(path)
    return files


def _file(path: Path) -> File:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packable = kind.startswith(("text/", "application/json", "image/svg", "application/manifest"))
    packed = gzip.compress(body, 9, mtime=0) if packable and len(body) >= _WORTH_PACKING else None
    return File(kind, body, packed, f'"{hashlib.sha256(body).hexdigest()[:24]}"')


def page_routes(files: Mapping[str, File], guard: Guard, site: Site, journal: Journal) -> list[Route]:
    """The index, the log-in page, and everything that they load."""

    async def index(ask: Ask) -> web.StreamResponse:
        if ask.who is None:
            return web.Response(status=303, headers={"Location": "/login"})
        return _serve(ask.request, files.get("index.html"))

    async def login(ask: Ask) -> web.StreamResponse:
        secret = ask.request.query.get("once")
        if secret is None:
            return _serve(ask.request, files.get("login.html"))
        guard.admit(LINK, ask.address)
        async with recorded(journal, LINK, "login", {"address": ask.address}):
            session, principal = await guard.login_once(secret, ask.address)
        await guard.replaced(ask.who)
        log.info("login-by-link", agent=principal.actor.id)
        # Not a redirect: a link followed from another site would not carry a SameSite=Strict cookie to its target.
        page = (
            '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/"><title>Takeover</title>'
            '<link rel="icon" href="/static/favicon.svg" type="image/svg+xml">'  # else browsers ask for /favicon.ico
        )
        response = web.Response(text=page, content_type="text/html")
        site.set_cookie(response, session)
        return response

    async def static(ask: Ask) -> web.StreamResponse:
        return _serve(ask.request, files.get(ask.request.match_info["path"]))

    return [
        Route("GET", "/", "public", index, "The panel", query=("*",)),
        Route("GET", "/login", "public", login, "The log-in page", query=("*",)),
        Route("GET", "/static/{path:.+}", "public", static, "A file of the panel", query=("*",)),
    ]


def _serve(request: web.Request, file: File | None) -> web.Response:
    if file is None:
        raise NotFound("The panel has no such file.")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = file.type
    if file.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=file.packed, headers=headers)
    return web.Response(body=file.body, headers=headers)
