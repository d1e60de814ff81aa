"""The worker's UDP sockets: read at once while a connection is made, in turns from then on."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from media import datagrams
from media.datagrams import LONGEST, Datagrams


class Keeper(asyncio.DatagramProtocol):
    """Keeps what it is told, and when each datagram came."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.arrived: list[float] = []
        self.faults: list[Exception] = []
        self.news = asyncio.Event()
        self.lost = asyncio.Event()
        self.close_at: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Datagrams)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.got.append(data)
        self.arrived.append(self.transport.arrived)
        self.news.set()
        if data == self.close_at:
            self.transport.close()

    def error_received(self, exc: Exception) -> None:
        self.faults.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@pytest.fixture
async def keeper() -> AsyncIterator[Keeper]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    keeper = Keeper()
    transport = Datagrams(sock, keeper)
    yield keeper
    transport.close()


def send(keeper: Keeper, *packets: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in packets:
            sock.sendto(packet, keeper.transport.get_extra_info("sockname"))


async def test_what_comes_is_handed_over_at_once(keeper: Keeper) -> None:
    send(keeper, b"one")
    async with asyncio.timeout(10):
        await keeper.news.wait()
    assert keeper.got == [b"one"]


async def test_in_turns_nothing_is_read_but_when_asked_and_its_arrival_is_known(keeper: Keeper) -> None:
    keeper.transport.take_turns()
    send(keeper, b"one", b"two")
    await asyncio.sleep(0.2)
    assert keeper.got == []
    asked = time.monotonic()
    keeper.transport.read()
    assert keeper.got == [b"one", b"two"]
    assert all(asked - 2 < arrived < asked - 0.1 for arrived in keeper.arrived), "when it came, not when it was read"
    keeper.transport.take_at_once()
    keeper.news.clear()
    send(keeper, b"three")
    async with asyncio.timeout(10):
        await keeper.news.wait()
    assert keeper.got[-1] == b"three"


async def test_a_flood_leaves_the_rest_for_the_next_turn(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "_AT_ONCE", 3)
    keeper.transport.take_turns()
    send(keeper, *(bytes([number]) for number in range(5)))
    keeper.transport.read()
    assert len(keeper.got) == 3
    keeper.transport.read()
    assert len(keeper.got) == 5


async def test_one_that_is_too_long_shows_that_it_is(keeper: Keeper) -> None:
    keeper.transport.take_turns()
    send(keeper, bytes(LONGEST), bytes(LONGEST + 100))
    keeper.transport.read()
    assert [len(one) for one in keeper.got] == [LONGEST, LONGEST + 1]


async def test_closing_from_inside_ends_the_turn(keeper: Keeper) -> None:
    keeper.close_at = b"two"
    keeper.transport.take_turns()
    send(keeper, b"one", b"two", b"three")
    keeper.transport.read()
    assert keeper.got == [b"one", b"two"]
    async with asyncio.timeout(10):
        await keeper.lost.wait()
    keeper.transport.read()
    keeper.transport.sendto(b"late", ("127.0.0.1", 9))
    keeper.transport.close()
    assert keeper.faults == []


async def test_what_cannot_be_sent_is_told_not_raised(keeper: Keeper) -> None:
    keeper.transport.sendto(bytes(1 << 17), ("127.0.0.1", 9))
    assert [type(fault) for fault in keeper.faults] == [OSError]
