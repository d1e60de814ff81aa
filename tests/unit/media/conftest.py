"""A pool with real workers, and what happens in it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from media.pool import MediaEvent, MediaSettings, Pool

# A shared test machine is late now and then; that a late worker is refused is tested by itself.
SETTINGS = MediaSettings(suppression=False, max_lateness_ms=10_000)

E = TypeVar("E", bound=MediaEvent)


class Events:
    """Collects a pool's events; `next` waits for the first that fits, also among the past ones."""

    def __init__(self, pool: Pool) -> None:
        self.seen: list[MediaEvent] = []
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._collect(pool.events()))

    async def next(self, kind: type[E], fits: Callable[[E], bool] = lambda _e: True, within: float = 15) -> E:
        async with asyncio.timeout(within), self._news:
            while True:
                for event in self.seen:
                    if isinstance(event, kind) and fits(event):
                        return event
                await self._news.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _collect(self, events: AsyncIterator[MediaEvent]) -> None:
        async for event in events:
            async with self._news:
                self.seen.append(event)
                self._news.notify_all()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with Pool(SETTINGS) as pool:
        yield pool


@pytest.fixture
async def events(pool: Pool) -> AsyncIterator[Events]:
    events = Events(pool)
    yield events
    await events.stop()
