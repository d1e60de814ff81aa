"""The route table: each route declares who may use it, what it takes and what it answers.

`Router.handler` is the only way from a URL to a handler: it authenticates, checks the origin, reads and checks the
body, finds the call, demands the permission, and puts the act on record. A route cannot be made without its `act`, so
none can forget to ask; and one that changes something is recorded unless it says that it does that itself, or why not.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

from aiohttp import web
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from connector.domain.calls import Call, CallId, Engagement
from connector.domain.errors import NotAllowed
from connector.domain.people import Act, Actor, demand
from connector.ports import Journal

from .auth import Guard, Principal
from .errors import BadRequest, Fault, NotLoggedIn, TooManyRequests
from .faults import faults_of, shown
from .messages import Body
from .record import Recording, recorded
from .site import Site
from .throttle import Buckets
from .views import dumps

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Public = Literal["public", "login"]
"""``public``: anybody. ``login``: anybody who is logged in, for what is one's own."""
Need = Act | Public | Callable[[Any], Act]
"""The act that a route is; a function of the body where the body says which (``engage``: its mode)."""

B = TypeVar("B", bound=Body)

_SAFE = ("GET", "HEAD", "OPTIONS")
_BODY_DEADLINE = 20.0
"""Seconds that a body may take to come: who trickles it holds a connection, and needs no account to log in slowly."""


class Calls(Protocol):
    """Where a route's call is found."""

    def call(self, id: CallId, /) -> Call:  # noqa: A002 - the registry's own word
        """Raises `CallUnknown`, `CallEnded`."""

    def engagements(self) -> Sequence[Engagement]:
        """Everybody who is in a call."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, after authentication, permission and checks."""

    request: web.Request
    who: Principal | None
    found: Call | None
    given: Body | None
    address: str = ""

    @property
    def principal(self) -> Principal:
        if self.who is None:
            raise NotLoggedIn("Log in first.")
        return self.who

    @property
    def actor(self) -> Actor:
        return self.principal.actor if not self.address else replace(self.principal.actor, origin=self.address)

    @property
    def call(self) -> Call:
        """The call of the path; only in routes with ``{call}``."""
        assert self.found is not None, "this route has no {call}"  # noqa: S101 - a fault of ours, found by any test
        return self.found

    def body(self, kind: type[B]) -> B:
        """The body, which the route declared to be a `kind`."""
        assert isinstance(self.given, kind), f"this route takes no {kind.__name__}"  # noqa: S101 - as above
        return self.given


Answer = Mapping[str, Any] | web.StreamResponse | None
"""A JSON object, a response of its own kind, or nothing (204)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests per second that one person or token may make for ever, and at once after a pause."""

    per_second: float = 50
    burst: float = 200
    ai_per_second: float = 1_000
    """Of turns and figures: an AI sends every turn of all its calls by one token."""
    ai_burst: float = 4_000

    @classmethod
    def of(cls, per_second: float, ai_per_second: float) -> "Limits":
        """Four seconds' worth may come at once."""
        return cls(per_second, 4 * per_second, ai_per_second, 4 * ai_per_second)


def _nothing(_: Ask) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: Method
    path: str
    act: Need
    handler: Callable[[Ask], Awaitable[Answer]]
    summary: str
    body: type[Body] | None = None
    answer: Any = None
    """A TypedDict, for the OpenAPI document."""
    status: int = 200
    query: tuple[str, ...] = field(default=())
    live: bool = True
    """Whether the ``{call}`` of the path must be live; otherwise the handler itself decides whose it was."""
    record: Recording | None = None
    """How the act gets into the audit; None: ``first`` for what changes something, nothing for what only reads."""
    word: str = ""
    """The audit's word for it, where the act's own name says too little."""
    facts: Callable[[Ask], Mapping[str, str]] = _nothing
    """What else the audit keeps of it; never a secret, nor what was said."""
    limited: bool = True
    """Whether it is refused to who asks too often; a way out never is."""
    content: tuple[str, ...] = ()
    """Types of an answer that is no JSON object of that shape."""
    errors: tuple[type[Exception], ...] = ()
    """What its handler may raise beside what every route may, for the OpenAPI document."""

    @property
    def safe(self) -> bool:
        """Whether it only reads."""
        return self.method == "GET"

    @property
    def recording(self) -> Recording | None:
        """How its act gets into the audit; None when it only reads."""
        return self.record or (None if self.safe else "first")


class Router:
    """Turns routes into aiohttp handlers."""

    def __init__(
        self,
        guard: Guard,
        calls: Calls,
        site: Site,
        journal: Journal,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard, self._calls, self._site, self._journal, self._clock = guard, calls, site, journal, clock
        self._people = Buckets(limits.per_second, limits.burst)
        self._ais = Buckets(limits.ai_per_second, limits.ai_burst)

    def add(self, app: web.Application, routes: list[Route]) -> None:
        """Registers routes with an application."""
        for route in routes:
            app.router.add_route(route.method, route.path, self.handler(route))

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The way in for one route."""

        async def handle(request: web.Request) -> web.StreamResponse:
            who = await self._guard.authenticate(request, required=route.act != "public")
            if request.method not in _SAFE or "Upgrade" in request.headers:  # a WebSocket begins with a GET
                self._site.check_origin(request, by_cookie=who is not None and who.by_cookie)
            if who is not None:
                self._pace(who.actor, route)
            _check_address(request, route.query)
            body = await _read(request, route.body) if route.body is not None else None
            act = route.act(body) if callable(route.act) else route.act
            ask = Ask(request, who, self._found(request, route), body, self._site.address(request))
            # Tasks that the handler starts inherit these: what an engagement logs says whose it is.
            with bound_contextvars(**_bound(ask)):
                return await self._answer(ask, route, act)

        return handle

    async def _answer(self, ask: Ask, route: Route, act: Act | Public) -> web.StreamResponse:
        """Permission, record, handler. That somebody tried to change what they may not is on record too."""
        on_record = False
        try:
            if act != "public" and act != "login":
                demand(ask.actor, act, ask.found)
            async with AsyncExitStack() as record:
                if route.recording in ("first", "best"):
                    on_record = True
                    await record.enter_async_context(self._recorded(ask, route, act, must=route.recording == "first"))
                return _response(await route.handler(ask), route.status)
        except NotAllowed:
            if route.safe or on_record:
                raise
            async with self._recorded(ask, route, act, must=False):
                raise

    def _pace(self, actor: Actor, route: Route) -> None:
        # What is on record costs a synced disk write: only what is none may come as fast as speech does.
        buckets = self._ais if actor.role == "ai" and route.recording == "data" else self._people
        wait = buckets.take(actor.id, self._clock())
        if wait > 0 and route.limited:
            raise TooManyRequests(wait)

    def _found(self, request: web.Request, route: Route) -> Call | None:
        if "call" not in request.match_info or not route.live:
            return None
        return self._calls.call(CallId(request.match_info["call"]))

    def _recorded(self, ask: Ask, route: Route, act: str, *, must: bool) -> AbstractAsyncContextManager[None]:
        origin = {"origin": ask.address} if ask.address else {}
        facts = {**route.facts(ask), **origin}
        call = ask.found.id if ask.found is not None else self._named(ask.request)
        return recorded(self._journal, ask.actor.id, route.word or act, facts, call, must=must)

    def _named(self, request: web.Request) -> CallId | None:
        """The call that the path names, live or not, as far as the audit has room for it; or its engagement's."""
        named = request.match_info.get("call")
        if named is not None:
            return CallId(named[:256])
        engagement = request.match_info.get("engagement")
        return next((one.call for one in self._calls.engagements() if one.id == engagement), None)


def _bound(ask: Ask) -> dict[str, str]:
    bound = {}
    if ask.who is not None:
        bound["agent"] = ask.who.actor.id
    if ask.found is not None:
        bound["call"] = str(ask.found.id)
    return bound


async def _read(request: web.Request, kind: type[Body]) -> Body:
    if request.can_read_body and request.content_type != "application/json":
        raise BadRequest(Fault("Content-Type", shown(request.headers.get("Content-Type", "")), "use application/json"))
    try:
        async with asyncio.timeout(_BODY_DEADLINE):
            raw = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    try:
        return kind.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise BadRequest(*faults_of(error, kind)) from None


def _check_address(request: web.Request, known: tuple[str, ...]) -> None:
    """Neither unknown filters nor control characters: no database and no log line has a place for those."""
    for kind, values in (("path", request.match_info), ("query", request.query)):
        for name, value in values.items():
            if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
                raise BadRequest(Fault(f"{kind} {name}", shown(value), "remove the control characters"))
    unknown = [name for name in request.query if name not in known and "*" not in known]
    if unknown:
        remedy = f"known are {', '.join(known)}" if known else "this path takes none"
        raise BadRequest(Fault(f"query {unknown[0]}", shown(request.query[unknown[0]]), remedy))


def _response(answer: Answer, status: int) -> web.StreamResponse:
    if answer is None:
        return web.Response(status=204)
    if isinstance(answer, web.StreamResponse):
        return answer
    return web.Response(body=dumps(answer).encode(), status=status, content_type="application/json", charset="utf-8")
