"""A bare AMI client for the embedded Asterisk's own administrator: start-up, CLI commands, tests.

The service never uses it: its hardened client is `connector.asterisk.client`.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AmiMessage:
    """A response or an event; header names as sent, repeated ones kept in order."""

    fields: Fields
    at: float  # loop time, which is time.monotonic()

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    @property
    def event(self) -> str:
        return self.get("Event")


class AmiRefused(Exception):
    """An action was answered with an error, or the connection ended before its answer."""


class AmiLink:
    """One connection; `await AmiLink.open(...)`, then `action`, `command`, `events`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[AmiMessage]] = {}
        self._listeners: list[Callable[[AmiMessage], None]] = []
        self.closed = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name="ami-link")

    @classmethod
    async def open(cls, host: str, port: int, user: str, secret: str) -> Self:
        """Connects and logs in. Raises OSError or AmiRefused."""
        reader, writer = await asyncio.open_connection(host, port)
        link = cls(reader, writer)
        try:
            await link.action("Login", Username=user, Secret=secret)
        except BaseException:
            await link.close()
            raise
        return link

    async def close(self) -> None:
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def listen(self, heard: Callable[[AmiMessage], None]) -> None:
        """Calls `heard` with every event from now on."""
        self._listeners.append(heard)

    async def events(self, name: str) -> AsyncIterator[AmiMessage]:
        """Events of one name from now on."""
        queue: asyncio.Queue[AmiMessage] = asyncio.Queue()
        self.listen(queue.put_nowait)
        try:
            while True:
                message = await queue.get()
                if message.event == name:
                    yield message
        finally:
            self._listeners.remove(queue.put_nowait)

    async def action(self, name: str, variables: dict[str, str] | None = None, /, **fields: str) -> AmiMessage:
        """Sends one action and returns its response. Raises AmiRefused, or TimeoutError after 10 s."""
        identity = str(next(self._ids))
        answer: asyncio.Future[AmiMessage] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = answer
        lines = [f"Action: {name}", f"ActionID: {identity}", *(f"{key}: {value}" for key, value in fields.items())]
        lines += [f"Variable: {key}={value}" for key, value in (variables or {}).items()]
        try:
            if self.closed.is_set():
                raise AmiRefused(f"{name}: the connection is closed")
            self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            async with asyncio.timeout(10):
                response = await answer
        finally:
            self._waiting.pop(identity, None)
        if response.get("Response") not in ("Success", "Follows", "Goodbye"):
            raise AmiRefused(f"{name}: {response.get('Message') or 'connection lost'}")
        return response

    async def command(self, text: str) -> list[str]:
        """Runs a CLI command; returns its lines."""
        return (await self.action("Command", Command=text)).all("Output")

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._reader.readline()  # "Asterisk Call Manager/x.y.z"
            while True:
                block = await self._reader.readuntil(b"\r\n\r\n")
                self._take(AmiMessage(_fields(block.decode("utf-8", "replace")), loop.time()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the PBX closed the connection: those who wait are told below
        finally:
            self.closed.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_result(AmiMessage((), loop.time()))

    def _take(self, message: AmiMessage) -> None:
        if message.event:
            for listener in list(self._listeners):
                listener(message)
            return
        future = self._waiting.get(message.get("ActionID"))
        if future and not future.done():
            future.set_result(message)


def _fields(block: str) -> Fields:
    parts = (line.partition(":") for line in block.split("\r\n") if line)
    return tuple((name.strip(), value.removeprefix(" ")) for name, _, value in parts)
