"""Emergency records until the store has them: in memory at once, and in the reserve by a thread of its own.

A disk that hangs gives neither an answer nor an error, so nobody waits for it longer than a moment: the process log has
the record too, and the store gets it when it can.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from .reserve import Reserve
from .thread import DiskThread

log = structlog.get_logger(__name__)

PATIENCE_S = 0.1
"""How long a record waits for the reserve's disk; one that is well takes milliseconds."""
MOST = 10_000
"""Records in memory: hours of a busy center without a store. Later ones are in the process log alone."""

Record = Mapping[str, object]


class Aside:
    """What waits for the store, oldest first. Nothing here raises."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._entries: list[Record] = list(reserve.entries)
        self._thread = DiskThread("audit-reserve")
        self._hangs: asyncio.Future[None] | None = None

    @property
    def entries(self) -> Sequence[Record]:
        """All of them, now."""
        return tuple(self._entries)

    async def add(self, entry: Record) -> None:
        """Durable on return, or the log says that it is not."""
        if len(self._entries) >= MOST:
            log.critical("audit.reserve-lost", why=f"{MOST} records wait for the store", reserve=entry["reserve"])
            return
        self._entries.append(entry)
        await self._in_time(lambda: self._reserve.append(entry), "audit.reserve-in-memory-only", entry["reserve"])

    async def forget(self, entries: Sequence[Record]) -> bool:
        """The store has these, the oldest; true when none is left."""
        del self._entries[: len(entries)]
        if self._entries:
            return False
        # What is added from now on comes after it: the thread keeps the order.
        await self._in_time(self._reserve.clear, "audit.reserve-not-cleared")
        return not self._entries

    async def close(self) -> None:
        """Closes the file when what was added is in it; on a disk that hangs, nobody waits for that."""
        await self._in_time(self._reserve.close, "audit.reserve-not-closed")
        self._thread.end()

    async def _in_time(self, work: Callable[[], None], failed: str, reserve: object = None) -> None:
        """Hands it to the thread and waits a moment; not even that while something older hangs."""
        done = asyncio.wrap_future(self._thread.submit(work))

        def tell(ended: asyncio.Future[None]) -> None:
            error = None if ended.cancelled() else ended.exception()
            if error is not None:  # the process log has it; nothing more can be done, and nobody must wait
                log.critical(failed, why=str(error), reserve=reserve)

        done.add_done_callback(tell)
        if self._hangs is not None and not self._hangs.done():
            return
        await asyncio.wait([done], timeout=PATIENCE_S)
        if not done.done():
            self._hangs = done
            log.error("audit.reserve-hangs", why="its disk does not answer", reserve=reserve)
