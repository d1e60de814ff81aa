"""An event socket whose every byte a test decides: it asks for the password, answers commands, and can be hostile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import quote

CHALLENGE = b"Content-Type: auth/request\n\n"
ACCEPTED = b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n"


def reply(text: str = "+OK") -> bytes:
    return f"Content-Type: command/reply\nReply-Text: {text}\n\n".encode()


def response(body: str) -> bytes:
    data = body.encode()
    return b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(data), data)


def framed(body: bytes, kind: str = "text/event-plain") -> bytes:
    return b"Content-Length: %d\nContent-Type: %s\n\n%s" % (len(body), kind.encode(), body)


def event(name: str, body: str = "", **headers: str) -> bytes:
    """An event in plain format, encoded as FreeSWITCH does it. Underscores in names stand for hyphens, two for one."""
    custom = "::" in name
    fields = {"Event-Name": "CUSTOM" if custom else name, **({"Event-Subclass": name} if custom else {}), **headers}
    if body:
        fields["Content-Length"] = str(len(body.encode()))
    lines = [f"{key}: {quote(value, safe='')}" for key, value in fields.items()]
    return framed(("\n".join(lines) + "\n\n" + body).encode())


class Session:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    def write(self, data: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(data)

    async def command(self) -> str:
        """The next command with its headers; empty at the end."""
        try:
            return (await self._reader.readuntil(b"\n\n")).decode().rstrip("\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""

    async def login(self) -> None:
        """Asks for the password, takes any, and answers the subscription."""
        self.write(CHALLENGE)
        await self.command()
        self.write(ACCEPTED)
        await self.command()
        self.write(reply("+OK event listener enabled plain"))


class EslServer:
    """Listens on a free port; `talk` is awaited with each client that comes, and its end closes the connection."""

    def __init__(self, talk: Callable[[Session], object]) -> None:
        self._talk = talk
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()

    async def listen(self) -> None:
        """Opens the port, the same one again after `vanish`."""
        self._server = await asyncio.start_server(self._came, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Closes the port and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            talking = self._talk(Session(reader, writer))
            if asyncio.iscoroutine(talking):
                await talking
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


@asynccontextmanager
async def serving(talk: Callable[[Session], object]) -> AsyncIterator[EslServer]:
    async with EslServer(talk) as server:
        yield server
