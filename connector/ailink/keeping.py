"""Keeps the events that wait for whom they are for, so that a restart sends them; and says aloud which ones were lost.

Nobody waits for it: an event is sent and kept at the same time. One task writes, whatever has gathered in one
transaction; an event that was delivered before its turn came is never written.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import structlog

from ..domain.calls import CallId
from ..domain.errors import StoreUnavailable
from ..ports import EventKeeper, Journal, Undelivered

log = structlog.get_logger(__name__)

RETRY_S = 1.0
"""How often a store that fails is tried again."""
STOP_S = 2.0
"""How long a stop waits for what is left to be written."""
LOSSES = 1_000
"""Losses that may wait for the audit; the process log has them all."""


class Keeping:
    """All methods but `run`, `kept` and `written` return at once. `name` is for the log: what the events wait for."""

    def __init__(self, keeper: EventKeeper, journal: Journal, name: str = "webhook") -> None:
        self._keeper = keeper
        self._journal = journal
        self._name = name
        self._added: dict[tuple[str, str], Undelivered] = {}
        self._gone: set[tuple[str, str]] = set()
        self._lost: deque[tuple[Undelivered, CallId | None, str, str, str]] = deque(maxlen=LOSSES)
        self._failing = False
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        """All that there was to write has been written, or could not be."""
        self._tried.set()

    async def kept(self) -> Sequence[Undelivered]:
        """What waited when the service ended, oldest first; nothing when the store fails."""
        try:
            return await self._keeper.waiting()
        except StoreUnavailable as error:
            log.warning(f"{self._name}.not-restored", why=error.why)
            return ()

    def add(self, one: Undelivered) -> None:
        """It waits for its webhook from now on."""
        self._added[one.hook, one.id] = one
        self._tried.clear()
        self._wake.set()

    def remove(self, one: Undelivered) -> None:
        """It does not wait any more."""
        if self._added.pop((one.hook, one.id), None) is None:
            self._gone.add((one.hook, one.id))
            self._wake.set()

    def lose(self, one: Undelivered, call: CallId | None, kind: str, result: str, why: str) -> None:
        """It will never be delivered: into the log and the audit."""
        log.error(f"{self._name}.lost", hook=one.hook, id=one.id, call=call, kind=kind, result=result, why=why)
        self._lost.append((one, call, kind, result, why))
        self.remove(one)
        self._wake.set()

    async def written(self) -> None:
        """Returns when what was added so far is in the store, or the store has failed; needs `run` running."""
        await self._tried.wait()

    async def run(self) -> None:
        """Writes until cancelled, and then what is left: a stop must forget as little as a crash."""
        try:
            await self._keep()
        finally:
            with suppress(TimeoutError):  # a disk that hangs must not hold up the stop
                async with asyncio.timeout(STOP_S):
                    await self._write()

    async def _keep(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            writing = asyncio.ensure_future(self._write())
            try:
                await asyncio.shield(writing)
            finally:
                await asyncio.wait([writing], timeout=STOP_S)
                writing.cancel()

    async def _write(self) -> None:
        while self._added or self._gone:
            added, gone = self._added, self._gone
            self._added, self._gone = {}, set()
            try:
                await self._keeper.change(list(added.values()), list(gone))
            except StoreUnavailable as error:
                self._later(added, gone, error)
                break
            self._failing = False
        self._tried.set()
        while self._lost:
            await self._record(*self._lost.popleft())

    def _later(
        self, added: dict[tuple[str, str], Undelivered], gone: set[tuple[str, str]], error: StoreUnavailable
    ) -> None:
        """They wait in memory; only a restart in this state would forget them."""
        if not self._failing:
            log.warning(f"{self._name}.not-kept", events=len(added), why=error.why)
        self._failing = True
        done = {key for key in self._gone if key in added}
        self._added = {key: one for key, one in added.items() if key not in done} | self._added
        self._gone = gone | (self._gone - done)
        asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)

    async def _record(self, one: Undelivered, call: CallId | None, kind: str, result: str, why: str) -> None:
        facts = {"hook": one.hook, "event": one.id, "kind": kind, "why": why}
        with suppress(StoreUnavailable):  # the log has it
            number = await self._journal.intent("service", "webhook", call, facts)
            await self._journal.outcome(number, result, {})
