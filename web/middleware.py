"""What every answer has in common: errors as RFC 9457 problem+json, and the security headers.

`PROBLEMS` is the one table from errors to what HTTP says; nothing else in the house knows a status code of an error.
"""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from connector.domain import errors as domain

from . import errors

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Problem:
    """One row: the stable slug, the status, a title, and which attributes of the error go along as facts."""

    slug: str
    status: int
    title: str
    facts: tuple[str, ...] = ()


PROBLEMS: Mapping[type[Exception], Problem] = {
    domain.AlreadyTaken: Problem("already-taken", 409, "Somebody else speaks in this call", ("speaker",)),
    domain.AlreadyEngaged: Problem("already-engaged", 409, "Your leg is in a call already", ("call", "engagement")),
    domain.ModeNotPossible: Problem("mode-not-possible", 422, "This call does not allow that", ("mode",)),
    domain.LegNotReady: Problem("leg-not-ready", 422, "Your audio connection is not ready", ("leg", "why")),
    domain.CallEnded: Problem("call-ended", 410, "The call has ended", ("call",)),
    domain.CallUnknown: Problem("call-unknown", 404, "There is no such call", ("call",)),
    domain.EngagementUnknown: Problem("not-found", 404, "There is no such engagement", ("engagement",)),
    domain.ChannelGone: Problem("call-ended", 410, "The call has ended", ("pbx",)),
    domain.PbxUnavailable: Problem("pbx-unavailable", 503, "The PBX is away", ("pbx",)),
    domain.PbxTimeout: Problem("pbx-timeout", 504, "The PBX did not answer in time", ("pbx",)),
    domain.VerbRefused: Problem("pbx-refused", 502, "The PBX refused", ("pbx", "why")),
    domain.NotAllowed: Problem("not-allowed", 403, "You may not do this", ("act",)),
    domain.LastAdministrator: Problem("last-administrator", 409, "Nobody else administers", ("username",)),
    domain.BadValue: Problem("bad-request", 400, "A value is not accepted", ("field", "value", "remedy")),
    domain.StoreUnavailable: Problem("store-unavailable", 503, "The audit cannot be written"),
    errors.NotLoggedIn: Problem("not-logged-in", 401, "Log in first"),
    errors.WrongPassword: Problem("wrong-password", 403, "The password is wrong"),
    errors.ForeignOrigin: Problem("not-allowed", 403, "The request comes from another site", ("origin",)),
    errors.TooManyAttempts: Problem("too-many-attempts", 429, "Too many failed attempts"),
    errors.TooManyRequests: Problem("too-many-requests", 429, "You ask too often"),
    errors.NotFound: Problem("not-found", 404, "There is no such thing"),
    errors.LegExists: Problem("leg-exists", 409, "This session has an agent leg", ("leg",)),
    errors.Overloaded: Problem("overloaded", 503, "There is no room for this now"),
}

_URN = "urn:takeover:"
_HTTP_SLUGS = {404: "not-found", 405: "method-not-allowed", 413: "bad-request"}
_HTTP_DETAILS = {
    404: "There is no such path; GET /api/v1/openapi.json lists those there are.",
    405: "This path does not know the method {method}; it knows {allowed}.",
    408: "The body took too long to come; send it at once.",
    413: "The body is too large; send less.",
}


def problem_of(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]] | None:
    """Status, body and extra headers for an error we know; None for a fault of ours."""
    if isinstance(error, errors.BadRequest):
        return 400, _bad_request(error), {}
    for kind in type(error).__mro__:
        row = PROBLEMS.get(kind)
        if row is None:
            continue
        facts = {name: getattr(error, name) for name in row.facts if getattr(error, name) != ""}
        headers = {}
        if isinstance(error, errors.TooManyAttempts | errors.TooManyRequests):
            headers["Retry-After"] = str(max(1, math.ceil(error.seconds)))
        if row.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="takeover"'
        return row.status, _body(row.slug, row.title, row.status, _sentence(error), facts), headers
    return None


def slug_of(error: Exception) -> str:
    """The stable name of an error we know."""
    found = problem_of(error)
    return str(found[1]["type"]).removeprefix(_URN) if found is not None else "internal"


def problem_response(error: Exception) -> web.Response | None:
    """The answer for an error we know."""
    found = problem_of(error)
    if found is None:
        return None
    status, body, headers = found
    return web.Response(
        status=status, body=json.dumps(body).encode(), content_type="application/problem+json", headers=headers
    )


def errors_to_problems() -> Middleware:
    """Middleware: every error leaves as problem+json without internals; faults of ours are logged with their trace."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _from_http(request, error)
        except Exception as error:  # the door: whatever comes becomes an answer, and what we do not know is logged
            known = problem_response(error)
            if known is not None:
                return known
            log.exception("request-failed", method=request.method, path=request.path)
            body = _body("internal", "A fault of ours", 500, "The request failed; the log of the service says why.", {})
            return web.json_response(body, status=500, content_type="application/problem+json")

    return middleware


def security_headers(*, https: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal for `on_response_prepare`, so that WebSocket upgrades and file answers carry them too."""
    headers = {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; "
            "font-src 'self'; connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types panel"
        ),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    if https:
        headers["Strict-Transport-Security"] = "max-age=31536000"

    async def add(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.pop("Server", None)

    return add


def _from_http(request: web.Request, error: web.HTTPException) -> web.Response:
    slug = _HTTP_SLUGS.get(error.status, "bad-request")
    allowed = ", ".join(sorted(getattr(error, "allowed_methods", ())))
    detail = _HTTP_DETAILS.get(error.status, error.reason or "The request is malformed.")
    body = _body(slug, error.reason, error.status, detail.format(method=request.method, allowed=allowed), {})
    headers = {"Allow": allowed} if allowed else {}
    return web.json_response(body, status=error.status, content_type="application/problem+json", headers=headers)


def _bad_request(error: errors.BadRequest) -> dict[str, Any]:
    first = error.faults[0]
    facts: dict[str, Any] = {"field": first.field, "value": first.value, "remedy": first.remedy}
    if len(error.faults) > 1:
        facts["faults"] = [
            {"field": fault.field, "value": fault.value, "remedy": fault.remedy} for fault in error.faults
        ]
    return _body("bad-request", "The request is not understood", 400, str(error), facts)


def _body(slug: str, title: str, status: int, detail: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": f"{_URN}{slug}", "title": title, "status": status, "detail": detail, **facts}


def _sentence(error: Exception) -> str:
    text = str(error)
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
