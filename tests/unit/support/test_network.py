"""The forwarders: what they pass, lose, delay and cut."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.network import TcpForwarder, UdpForwarder


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def udp_echo() -> AsyncIterator[tuple[str, int]]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")
    transport.close()


async def udp_answers(port: int, count: int, wait: float = 0.2) -> list[bytes]:
    """Sends `count` datagrams from one socket; what came back within `wait` seconds."""
    loop = asyncio.get_running_loop()
    answers: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        for number in range(count):
            await loop.sock_sendall(sock, b"%d" % number)
        try:
            async with asyncio.timeout(wait):
                while len(answers) < count:
                    answers.append(await loop.sock_recv(sock, 100))
        except TimeoutError:
            pass
    return answers


async def test_udp_passes_both_ways() -> None:
    async with udp_echo() as target, UdpForwarder(target) as forwarder:
        assert await udp_answers(forwarder.port, 5) == [b"0", b"1", b"2", b"3", b"4"]


async def test_udp_loses_cuts_and_mends() -> None:
    async with udp_echo() as target, UdpForwarder(target) as forwarder:
        forwarder.loss = 0.3
        assert 20 < len(await udp_answers(forwarder.port, 100)) < 80
        forwarder.loss, forwarder.cut = 0, True
        assert await udp_answers(forwarder.port, 3) == []
        forwarder.cut = False
        assert len(await udp_answers(forwarder.port, 3)) == 3


async def test_udp_delays() -> None:
    async with udp_echo() as target, UdpForwarder(target) as forwarder:
        forwarder.delay = 0.1
        started = time.monotonic()
        assert len(await udp_answers(forwarder.port, 1, wait=2)) == 1
        assert time.monotonic() - started > 0.19


@asynccontextmanager
async def tcp_echo() -> AsyncIterator[tuple[str, int]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


async def test_tcp_passes_holds_and_goes_on() -> None:
    async with tcp_echo() as target, TcpForwarder(target) as forwarder:
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        forwarder.cut()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(3)
        forwarder.mend()
        assert await reader.readexactly(3) == b"two"
        writer.close()


async def test_tcp_resets_and_refuses() -> None:
    async with tcp_echo() as target, TcpForwarder(target) as forwarder:
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        writer.write(b"one")
        await reader.readexactly(3)
        forwarder.abort()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        forwarder.refuse = True
        reader, _ = await asyncio.open_connection("127.0.0.1", forwarder.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_the_end_of_one_side_reaches_the_other() -> None:
    async with tcp_echo() as target, TcpForwarder(target) as forwarder:
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        writer.write(b"last")
        writer.write_eof()
        assert await reader.read() == b"last"
        writer.close()
