"""``WS /api/v1/events``: one reader and one writer per client, joined by its outbox.

A client that does not read is dropped after ten seconds; meanwhile its outbox is bounded, and nobody waits for it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import structlog
from aiohttp import WSMessage, WSMsgType, web
from pydantic import Field, RootModel, ValidationError

from connector.domain.people import demand

from .audience import Client
from .errors import BadRequest, Fault, ForeignOrigin, Overloaded, TooManyRequests
from .faults import faults_of
from .hub import Hub
from .messages import Body
from .middleware import problem_of
from .routing import Ask, Route
from .throttle import Bucket

log = structlog.get_logger()

_SEND_DEADLINE = 10.0
"""Seconds that one frame may take to leave; then the client is dropped."""
_HELLO_DEADLINE = 10.0
_HEARTBEAT = 15.0
"""Seconds between protocol pings; a client that answers none within half of it is gone."""
_MAX_MESSAGE = 4_096
_MESSAGES = (20.0, 100.0)
"""Messages a second that a client may send for ever, and at once: each `resume` may cost a snapshot of every call."""
_SOCKETS = 50
"""Sockets that one person or token may have open: a tab has one."""


class Hello(Body):
    type: Literal["hello"]
    leg: Annotated[str, Field(max_length=64)] | None = None


class Ping(Body):
    type: Literal["ping"]
    t: Annotated[float, Field(allow_inf_nan=False)]


class Resume(Body):
    type: Literal["resume"]
    rev: Annotated[int, Field(ge=0)]


class Incoming(RootModel[Annotated[Hello | Ping | Resume, Field(discriminator="type")]]):
    """What a client may say."""


class LegSignal(Protocol):
    """Told whether the browser that owns a leg can still be reached."""

    def owns(self, session: str, leg: str, /) -> bool: ...

    def signal_lost(self, leg: str, /) -> None: ...

    def signal_back(self, leg: str, /) -> None: ...


def event_routes(hub: Hub, legs: LegSignal) -> list[Route]:
    """The one WebSocket."""

    async def events(ask: Ask) -> web.StreamResponse:
        if hub.sockets_of(ask.actor.id) >= _SOCKETS:
            raise Overloaded(f"You have {_SOCKETS} event sockets open; close one of them first.")
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=_MAX_MESSAGE, compress=False)
        client = hub.join(ask.principal)  # before the first await: of many at once no more than those get through
        try:
            await socket.prepare(ask.request)
            await _converse(socket, client, hub, legs, lambda: _abort(ask.request))
        finally:
            hub.leave(client)
            if client.leg is not None and not hub.speaks_for(client.leg):
                legs.signal_lost(client.leg)
        return socket

    return [
        Route(
            "GET",
            "/api/v1/events",
            "listen-events",
            events,
            "What happens, live (a WebSocket; a client says `Incoming`)",
            status=101,
            errors=(ForeignOrigin, Overloaded),
        )
    ]


async def _converse(
    socket: web.WebSocketResponse, client: Client, hub: Hub, legs: LegSignal, abort: Callable[[], None]
) -> None:
    """Reads and writes until one side has had enough."""
    reader = asyncio.create_task(_read(socket, client, hub, legs))
    writer = asyncio.create_task(_write(socket, client, hub))
    try:
        done, _ = await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        if client.closing is not None:  # closing from our side ends the reader first: let the close frame leave
            done, _ = await asyncio.wait((writer,), timeout=_SEND_DEADLINE)
        if writer in done and isinstance(writer.exception(), TimeoutError):
            hub.dropped += 1
            log.info("events-client-dropped", agent=client.principal.actor.id, why="it does not read")
            abort()
    finally:
        for task in (reader, writer):
            task.cancel()
        results = await asyncio.gather(reader, writer, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, TimeoutError | ConnectionError):
                log.error("events-client-failed", exc_info=result)


async def _read(socket: web.WebSocketResponse, client: Client, hub: Hub, legs: LegSignal) -> None:
    pace = Bucket(*_MESSAGES)
    try:
        async with asyncio.timeout(_HELLO_DEADLINE) as deadline:
            async for message in socket:
                deadline.reschedule(None)
                _pace(pace)
                _take(message, client, hub, legs)
    except TimeoutError:
        hub.answer(client, _problem(BadRequest(Fault("hello", "", "it is missing; send it first"))))
        client.closing = "no-hello"
    except Exception as error:  # said to the client where it is the client's; raised to the log where it is ours
        if problem_of(error) is None:
            raise
        hub.answer(client, _problem(error))
        client.closing = "too-many-requests" if isinstance(error, TooManyRequests) else "bad-request"
    else:
        return
    client.wake.set()
    await asyncio.sleep(_SEND_DEADLINE)  # the writer says it and closes; cancelled by then


def _pace(bucket: Bucket) -> None:
    wait = bucket.take(time.monotonic())
    if wait > 0:
        raise TooManyRequests(wait)


def _take(frame: WSMessage, client: Client, hub: Hub, legs: LegSignal) -> None:
    """One message of the client. Raises what `PROBLEMS` knows."""
    demand(client.principal.actor, "listen-events")
    if frame.type is not WSMsgType.TEXT:
        raise BadRequest(Fault("message", frame.type.name.lower(), "send JSON in text frames"))
    try:
        message = Incoming.model_validate_json(frame.data).root
    except ValidationError as error:
        raise BadRequest(*faults_of(error, Incoming)) from None
    match message:
        case Hello(leg=leg):
            mine = leg is not None and legs.owns(client.principal.session, leg)
            hub.start(client, leg if mine else None)
            if leg is not None and mine:
                legs.signal_back(leg)
            elif leg is not None:  # gone meanwhile, with a worker or with the service: the browser opens another
                hub.leg_changed(client.principal.session, leg, up=False, why="no-such-leg")
        case Ping(t=t):
            hub.answer(client, {"type": "pong", "t": t})
        case Resume(rev=rev) if client.audience is not None:
            hub.resume(client, rev)
        case Resume():
            raise BadRequest(Fault("type", '"resume"', 'send {"type":"hello"} first'))


async def _write(socket: web.WebSocketResponse, client: Client, hub: Hub) -> None:
    while True:
        await client.wake.wait()
        client.wake.clear()
        if client.outbox.overflowed:
            if client.is_ai:  # its events cannot be told by a snapshot: it must know that it missed some
                client.closing = client.closing or "too-slow"
            else:
                hub.refreshed += 1
                hub.snapshot(client)
        while (frame := client.outbox.take()) is not None:
            async with asyncio.timeout(_SEND_DEADLINE):
                await socket.send_frame(frame, WSMsgType.TEXT)
        if client.closing is not None:
            async with asyncio.timeout(_SEND_DEADLINE):
                await socket.close(
                    code=_CLOSE_CODES.get(client.closing, _SESSION_OVER), message=client.closing.encode()
                )
            return


_CLOSE_CODES = {
    "service-stops": 1012,
    "too-slow": 1013,
    "bad-request": 4400,
    "no-hello": 4400,
    "too-many-requests": 4429,
}
_SESSION_OVER = 4401
"""For every other reason: the session ended, and reconnecting is of no use before the next log-in."""


def _problem(error: Exception) -> dict[str, Any]:
    found = problem_of(error)
    assert found is not None  # noqa: S101 - only called with errors of our own table
    body = found[1]
    return {**body, "problem": body["type"], "type": "problem"}


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
