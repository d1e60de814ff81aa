"""Network faults without root: UDP and TCP forwarders that can delay, drop and cut what passes."""

import asyncio
import itertools
import random
import socket
import struct
from collections.abc import Callable
from typing import Self

Address = tuple[str, int]
Road = Callable[[int], float | None]
"Number of a packet of sound in its direction -> seconds that it takes, None if it is lost."


def lossy(share: float) -> Road:
    """Loses this part of the packets, the same ones each time."""
    chance = random.Random(round(share * 1000))
    lost = [chance.random() < share for _ in range(10_000)]
    return lambda number: None if lost[number % len(lost)] else 0.0


def jittery(worst: float) -> Road:
    """Each packet takes 0 to `worst` seconds, so that they overtake each other: the same each time."""
    chance = random.Random(60)
    late = [chance.uniform(0, worst) for _ in range(10_000)]
    return lambda number: late[number % len(late)]


class UdpForwarder(asyncio.DatagramProtocol):
    """Passes datagrams to `target` and the answers back. Each client gets a socket of its own towards the target."""

    def __init__(self, target: Address, *, host: str = "127.0.0.1", seed: int = 1) -> None:
        self.target, self.host = target, host
        self.loss = 0.0  # part of the datagrams that is lost, each way
        self.delay = 0.0  # seconds, each way
        self.jitter = 0.0  # up to so many seconds more
        self.cut = False  # nothing passes while true
        self.road: Road | None = None  # what becomes of RTP, each way, besides the above
        self.passed = self.dropped = 0
        self._numbers = {True: itertools.count(), False: itertools.count()}
        self._random = random.Random(seed)
        self._transport: asyncio.DatagramTransport | None = None
        self._backs: dict[Address, asyncio.DatagramTransport] = {}
        self._early: dict[Address, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        if self._transport is None:
            raise RuntimeError("the forwarder is not open; use it as `async with UdpForwarder(...)`")
        return int(self._transport.get_extra_info("sockname")[1])

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.host, 0), family=socket.AF_INET
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in (self._transport, *self._backs.values()):
            if transport:
                transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        client = (str(addr[0]), addr[1])
        back = self._backs.get(client)
        if back is not None:
            self.carry(back, data, self.target)
        elif client in self._early:
            self._early[client].append(data)
        else:
            self._early[client] = [data]
            task = asyncio.create_task(self._open(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def error_received(self, exc: Exception) -> None:
        """A closed port behind us: the datagram is lost, as in a real network."""

    async def _open(self, client: Address) -> None:
        loop = asyncio.get_running_loop()
        back, _ = await loop.create_datagram_endpoint(
            lambda: _Back(self, client), local_addr=(self.host, 0), family=socket.AF_INET
        )
        self._backs[client] = back
        for data in self._early.pop(client):
            self.carry(back, data, self.target)

    def to_client(self, client: Address, data: bytes) -> None:
        if self._transport:
            self.carry(self._transport, data, client)

    def carry(self, transport: asyncio.DatagramTransport, data: bytes, to: Address) -> None:
        if self.cut or self._random.random() < self.loss:
            self.dropped += 1
            return
        late = self.delay + self._random.random() * self.jitter
        if self.road is not None and _is_sound(data):
            taken = self.road(next(self._numbers[to == self.target]))
            if taken is None:
                self.dropped += 1
                return
            late += taken
        self.passed += 1
        if late <= 0:
            transport.sendto(data, to)
        else:
            asyncio.get_running_loop().call_later(late, _send_late, transport, data, to)


def _is_sound(data: bytes) -> bool:
    """RTP, and neither RTCP nor STUN nor DTLS (RFC 7983 section 7, RFC 5761 section 4)."""
    return len(data) > 1 and data[0] & 0xC0 == 0x80 and not 192 <= data[1] <= 223


def _send_late(transport: asyncio.DatagramTransport, data: bytes, to: Address) -> None:
    if not transport.is_closing():
        transport.sendto(data, to)


class _Back(asyncio.DatagramProtocol):
    """The socket towards the target that stands for one client."""

    def __init__(self, forwarder: UdpForwarder, client: Address) -> None:
        self._forwarder, self._client = forwarder, client

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        self._forwarder.to_client(self._client, data)

    def error_received(self, exc: Exception) -> None:
        """As above."""


class TcpForwarder:
    """Passes TCP connections on to `target`.

    `cut()` stops the flow in both directions without closing anything, as a pulled cable does; `mend()` lets it go
    on, with what was sent meanwhile. `abort()` resets all connections. `refuse` makes new ones fail.
    """

    def __init__(self, target: Address, *, host: str = "127.0.0.1") -> None:
        self.target, self.host = target, host
        self.delay = 0.0  # seconds, each way
        self.refuse = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the forwarder is not open; use it as `async with TcpForwarder(...)`")
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        self._flowing.clear()

    def mend(self) -> None:
        self._flowing.set()

    def abort(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        self.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            if self.refuse:
                _reset(writer)
                return
            there, out = await asyncio.open_connection(*self.target)
        except OSError:
            _reset(writer)  # nobody listens there
            return
        self._writers |= {writer, out}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, out))
                group.create_task(self._pump(there, writer))
        except asyncio.CancelledError:
            pass  # we are closed, and this is the task's last line: asyncio's own callback cannot take a cancelled one
        finally:
            self._writers -= {writer, out}
            writer.close()
            out.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            await self._flowing.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except (OSError, RuntimeError):
            _reset(writer)  # one side was reset: the other is told the same way


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST; a plain abort of the transport would send FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
