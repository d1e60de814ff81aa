"""How many connections one address may have, logged in or not, and that nobody else notices."""

import asyncio
import errno
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.unit.web.house import until
from web import door as door_module
from web.door import Door
from web.listening import listening
from web.middleware import errors_to_problems
from web.settings import Settings
from web.site import Site

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(folder: Path, door: Door, *, tls: bool = False) -> AsyncIterator[int]:
    """A page that answers when `go` is asked for, behind the door; its port."""
    go = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await go.wait()
        return web.Response(text="done")

    async def let_go(_request: web.Request) -> web.Response:
        go.set()
        return web.Response(text="go")

    app = web.Application(middlewares=[errors_to_problems(), door.counting()])
    app.router.add_get("/slow", slow)
    app.router.add_get("/go", let_go)
    http: dict[str, Any] = {"port": 0} | ({"tls": {"self_signed": True}} if tls else {})
    pbx = {"main": {"kind": "asterisk", "username": "t", "secret": "s"}}
    settings = Settings.model_validate({"pbx": pbx, "http": http, "data_dir": folder})
    async with listening(settings, app, door) as open_:
        yield open_.port


async def is_shut(streams: Streams) -> bool:
    """Whether the other end hangs up, without a word."""
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.5):
            return await streams[0].read() == b""
    return False


async def ask(port: int, path: str, **headers: str) -> int:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{path}", headers=headers) as it:
        return it.status


@pytest.mark.parametrize("tls", [False, True])
async def test_who_only_connects_and_says_nothing_counts_too(tls: bool, tmp_path: Path) -> None:
    """With TLS they would not even come to the application, which then could not count them."""
    door = Door(10, Site(https=tls))
    async with served(tmp_path, door, tls=tls) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        await until(lambda: len(door) == 10)
        assert await is_shut(await asyncio.open_connection("127.0.0.1", port))
        assert door.refused == 1
        for _, writer in silent[:3]:
            writer.close()
        await until(lambda: len(door) == 7)
        silent += [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await until(lambda: len(door) == 10)
        assert not await is_shut(silent[-1])
        for _, writer in silent:
            writer.close()
        await until(lambda: len(door) == 0)
        assert door._inside == {}


async def test_who_begins_no_tls_is_out_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "_HANDSHAKE", 0.2)
    door = Door(10, Site(https=True))
    async with served(tmp_path, door, tls=True) as port:
        silent = await asyncio.open_connection("127.0.0.1", port)
        _, talker = await asyncio.open_connection("127.0.0.1", port)
        talker.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: len(door) == 2)
        assert await is_shut(silent)
        await until(lambda: len(door) == 0)


async def test_a_connection_that_says_nothing_costs_little(tmp_path: Path) -> None:
    """asyncio would keep 256 KB for each from the first moment."""
    door = Door(20, Site(https=True))
    async with served(tmp_path, door, tls=True) as port:
        tracemalloc.start()
        try:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            await until(lambda: len(door) == 20)
            assert tracemalloc.get_traced_memory()[0] < 20 * 100_000
        finally:
            tracemalloc.stop()
        for _, writer in silent:
            writer.close()


async def test_a_browser_is_served_through_the_door(tmp_path: Path) -> None:
    door = Door(10, Site(https=True))
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with served(tmp_path, door, tls=True) as port, aiohttp.ClientSession() as client:
        for _ in range(30):  # one after another, on one connection
            async with client.get(f"https://127.0.0.1:{port}/go", ssl=trusting) as answer:
                assert await answer.text() == "go"
        assert len(door) == 1
    assert len(door) == 0


async def test_a_proxys_clients_count_each_for_itself(tmp_path: Path) -> None:
    door = Door(10, Site(https=False, trusted_proxies=("127.0.0.0/8",)))
    async with served(tmp_path, door) as port:
        waiting = [asyncio.create_task(ask(port, "/slow", **{"X-Forwarded-For": "203.0.113.7"})) for _ in range(10)]
        await until(lambda: len(door) == 10)
        assert await ask(port, "/go", **{"X-Forwarded-For": "203.0.113.7"}) == 503
        assert await ask(port, "/go", **{"X-Forwarded-For": "198.51.100.9, 203.0.113.7"}) == 503, "a claim of its own"
        assert await ask(port, "/go", **{"X-Forwarded-For": "203.0.113.8"}) == 200
        assert await asyncio.gather(*waiting) == [200] * 10
        assert len(door) == 0


async def test_a_name_with_an_address_that_this_machine_lacks_is_served_at_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As "localhost" is where IPv6 is switched off."""
    loop = asyncio.get_running_loop()
    found = [
        (family, socket.SOCK_STREAM, 0, "", address)
        for family, address in ((socket.AF_INET6, ("2001:db8::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0)))
    ]
    lookup = loop.getaddrinfo

    async def both(*given: Any, flags: int = 0, **more: Any) -> Any:
        return found if flags & socket.AI_PASSIVE else await lookup(*given, flags=flags, **more)

    monkeypatch.setattr(loop, "getaddrinfo", both)
    async with served(tmp_path, Door(10, Site(https=False))) as port:
        assert await ask(port, "/go") == 200


def test_of_ipv6_a_network_counts_as_one() -> None:
    door = Door(1, Site(https=True))
    assert door.enter("2001:db8:1:2::/64")
    assert not door.enter("2001:db8:1:2::/64")
    assert door.enter("2001:db8:1:3::/64")


async def test_a_machine_without_room_for_connections_takes_them_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "_BREATH", 0.01)
    loop = asyncio.get_running_loop()
    accept, faults = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED, errno.EMFILE]

    async def exhausted(listener: Any) -> Any:
        if faults:
            raise OSError(faults.pop(), "as if")
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", exhausted)
    async with served(tmp_path, Door(10, Site(https=False))) as port:
        assert await ask(port, "/go") == 200
    assert faults == []
