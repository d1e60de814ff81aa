"""Whatever is sent to the service: an answer below 500 in problem+json, and the next request works."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.web.house import House, Visitor
from web.routing import Route

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ONE_HOUSE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""One house for all examples of a test: what one example leaves behind must not harm the next."""


@dataclass(frozen=True)
class Fuzzed:
    """A house, and somebody who may do everything in it."""

    house: House
    admin: Visitor
    routes: list[Route]

    async def send(self, method: str, path: str, **more: Any) -> None:
        """Checks that it is answered as it should."""
        headers = {"Content-Type": "application/json"} if "data" in more else {}
        answer = await self.admin.ask(method, path, headers=headers, **more)
        assert answer.status < 500, (method, path, more, answer.body)
        if answer.status >= 400:
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            assert answer.body["type"].startswith("urn:takeover:")
            assert answer.body["detail"]


@pytest_asyncio.fixture
async def fuzzed(tmp_path: Path) -> AsyncIterator[Fuzzed]:
    """Logging out is left out: it would be the end of the test."""
    async with House(tmp_path) as house:
        admin = await house.person("root", "admin")
        routes = [route for route in house.routes() if route.path.startswith("/api/") and route.body is not None]
        yield Fuzzed(house, admin, routes)


@ONE_HOUSE
@given(st.integers(0, 100), TREES)
async def test_any_json(fuzzed: Fuzzed, number: int, tree: Any) -> None:
    route = fuzzed.routes[number % len(fuzzed.routes)]
    await fuzzed.send(route.method, path_of(route, fuzzed.house.call("1")), data=json.dumps(tree))


@ONE_HOUSE
@given(st.integers(0, 100), st.data())
async def test_known_fields_with_any_values(fuzzed: Fuzzed, number: int, data: st.DataObject) -> None:
    route = fuzzed.routes[number % len(fuzzed.routes)]
    assert route.body is not None
    body = {name: data.draw(TREES | st.sampled_from(WORDS)) for name in route.body.model_fields}
    await fuzzed.send(route.method, path_of(route, fuzzed.house.call("1")), data=json.dumps(body))


WORDS = [
    "takeover",
    "monitor",
    "offer",
    "1",
    "a",
    "2026-01-02T03:04:05Z",
    "caller",
    "ai",
    "\r\nAction: Hangup",
    "x" * 5000,
]


@ONE_HOUSE
@given(st.integers(0, 100), st.binary(max_size=200))
async def test_any_bytes_as_body(fuzzed: Fuzzed, number: int, data: bytes) -> None:
    route = fuzzed.routes[number % len(fuzzed.routes)]
    await fuzzed.send(route.method, path_of(route, fuzzed.house.call("1")), data=data)


@ONE_HOUSE
@given(st.integers(0, 100), IDS, st.dictionaries(IDS, IDS, max_size=2))
@example(0, "..%2f", {"since": "9" * 400})
@example(0, "lab~1\r\nAction: Originate", {"q": "\x00"})
async def test_any_ids_and_queries(fuzzed: Fuzzed, number: int, name: str, query: dict[str, str]) -> None:
    routes = [route for route in fuzzed.house.routes() if "{" in route.path or route.query]
    route = routes[number % len(routes)]
    await fuzzed.send(route.method, path_of(route, quote(name, safe="")), params=query)


@ONE_HOUSE
@given(st.text(max_size=300) | TREES.map(json.dumps))
@example('{"type":"ping","t":1e999}')
@example('{"type":"resume","rev":' + "9" * 400 + "}")
@example('{"type":"hello","leg":"\\u0000"}')
async def test_any_text_on_the_events_socket(fuzzed: Fuzzed, text: str) -> None:
    socket = await fuzzed.admin.events()
    try:
        await socket.send_str(text)
        await socket.send_str('{"type":"ping","t":7}')
        async with asyncio.timeout(5):
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                frame = json.loads(message.data)
                assert frame["type"] in ("snapshot", "delta", "pong", "problem")
                if frame["type"] == "problem" or frame == {"type": "pong", "t": 7}:
                    break
    finally:
        await socket.close()
    await fuzzed.send("GET", "session")


@ONE_HOUSE
@given(st.binary(max_size=300))
@example(b"GET /healthz HTTP/1.1\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n")
@example(
    b"POST /api/v1/session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
)
@example(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
async def test_any_bytes_on_the_port(fuzzed: Fuzzed, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", fuzzed.house.server.port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(5):
            answer = await reader.read()
    finally:
        writer.close()
    assert not re.match(rb"HTTP/1.. 5", answer), answer
    await fuzzed.send("GET", "session")


def path_of(route: Route, name: str) -> str:
    return re.sub(r"{\w+(:[^}]*)?}", lambda _: name, route.path)
