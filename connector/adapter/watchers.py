"""Verbs that wait for what the PBX says about one leg."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ..domain.errors import PbxTimeout, PbxUnavailable

M = TypeVar("M")


class Watchers(Generic[M]):
    """Who waits for which patch. A queue has what is said about it, in order; None when the connection is lost."""

    def __init__(self, pbx: str) -> None:
        self._pbx = pbx
        self._queues: dict[str, list[asyncio.Queue[M | None]]] = {}

    @contextmanager
    def watch(self, patch: str) -> Iterator[asyncio.Queue[M | None]]:
        """What is said about a patch while a verb is under way."""
        queue: asyncio.Queue[M | None] = asyncio.Queue()
        queues = self._queues.setdefault(patch, [])
        queues.append(queue)
        try:
            yield queue
        finally:
            queues.remove(queue)
            if not queues:
                self._queues.pop(patch, None)

    def tell(self, patch: str, message: M) -> None:
        for queue in self._queues.get(patch, ()):
            queue.put_nowait(message)

    def lost(self) -> None:
        for queues in self._queues.values():
            for queue in queues:
                queue.put_nowait(None)

    async def next(self, heard: "asyncio.Queue[M | None]", until: float, verb: str, seconds: float) -> M:
        """The next message, waited for until that time of the loop. Raises `PbxTimeout`, `PbxUnavailable`."""
        try:
            async with asyncio.timeout_at(until):
                message = await heard.get()
        except TimeoutError as fault:
            raise PbxTimeout(self._pbx, verb, seconds) from fault
        if message is None:
            raise PbxUnavailable(self._pbx, "the connection was lost meanwhile")
        return message
