"""Work beside the event stream that must not outlive the connection: held, awaited, its faults logged."""

import asyncio
from collections.abc import Coroutine

import structlog

from ..domain.errors import BadValue, PbxError

log = structlog.get_logger(__name__)


class Chores:
    """Starts background work and ends it all at once."""

    def __init__(self, pbx: str) -> None:
        self._pbx = pbx
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Runs `work` until it ends or `end` is called. What the PBX refuses ends it, and is logged."""
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # one that was ended before its first step has not been begun

    async def end(self) -> None:
        """Cancels all work and waits for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (PbxError, BadValue) as fault:
            log.info("pbx.chore-ended", pbx=self._pbx, why=str(fault))
        except Exception:  # a fault of ours in a look or a cure must not end the calls it was for
            log.exception("pbx.chore-failed", pbx=self._pbx)
