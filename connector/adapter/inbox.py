"""The events of one connection, in order, on their way to whoever folds them: bounded by not reading the socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

M = TypeVar("M")

QUEUE_HIGH, QUEUE_LOW = 20_000, 5_000
"""Events waiting to be read: at the first figure the socket is no longer read, at the second it is again."""


class Inbox(Generic[M]):
    """`pause` stops the reading of the socket, or begins it again; it may be told after the socket's end."""

    def __init__(self, pause: Callable[[bool], None]) -> None:
        self.paused = False
        self._pause = pause
        self._waiting: asyncio.Queue[M | None] = asyncio.Queue()

    def put(self, message: M, more: int = 0) -> None:
        """Queues what came over the socket; `more` messages are read already and will follow."""
        self.note(message)
        if self._waiting.qsize() + more >= QUEUE_HIGH and not self.paused:
            self.paused = True
            self._pause(True)

    def note(self, message: M) -> None:
        """Queues a message behind those that came before it: for what was looked up, so that there is one order."""
        self._waiting.put_nowait(message)

    def close(self) -> None:
        """Nothing follows any more."""
        self._waiting.put_nowait(None)

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting.qsize()

    async def __aiter__(self) -> AsyncIterator[M]:
        """Ends when it was closed and everything before that was taken."""
        while (message := await self._waiting.get()) is not None:
            if self.paused and self._waiting.qsize() <= QUEUE_LOW:
                self.paused = False
                self._pause(False)
            yield message
