"""Ends of takeovers that no socket of their AI was there to be told of, until one comes; kept over a restart.

Most of them come with a restart: the service is connected to its PBXs again, and ends what a crash had cut off, before
the AIs have noticed that their sockets are gone. An AI that was told of a human waits for the end.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

import structlog

from connector.ailink import Keeping
from connector.domain.calls import Ai, CallId, Engagement
from connector.ports import EngagementArchive, EventKeeper, Journal, Undelivered, Unended
from connector.services.changes import AiNotice

log = structlog.get_logger()

KIND = "takeover.ended"
KEPT_S = 900.0
"""As for webhooks: what an AI is told a quarter of an hour late helps no caller."""
KEPT = 1_000
"""The oldest goes first: an AI that is told by webhooks alone fetches none."""
WRITTEN_S = 3.0
"""How long an end waits for what is to be told of it."""


class Missed:
    """In the order in which they were to be told. `restore` before anything happens, then `run`."""

    def __init__(
        self, keeper: EventKeeper, journal: Journal, instance: str, clock: Callable[[], float] = time.time
    ) -> None:
        """`instance` names this service: another one that shares the store has its own."""
        self._keeping = Keeping(keeper, journal, "missed")
        self._instance = instance
        self._clock = clock
        self._kept: dict[str, tuple[Undelivered, AiNotice]] = {}

    async def restore(self) -> None:
        """Reads what the last run could tell nobody; nothing when the store fails."""
        for kept in await self._keeping.kept():
            if kept.hook != self._instance:
                continue
            try:
                notice = _read(kept.event)
            except (TypeError, ValueError, KeyError) as error:  # another version's, or damaged
                log.warning("missed.unreadable", id=kept.id, why=type(error).__name__)
                self._keeping.remove(kept)
                continue
            self._kept[kept.id] = (kept, notice)
        self._forget()

    async def run(self) -> None:
        """Writes, until cancelled."""
        await self._keeping.run()

    async def written(self) -> None:
        """Returns when what has happened so far is in the store; or a moment later, where that is not to be had."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITTEN_S):
                await self._keeping.written()

    def keep(self, notice: AiNotice) -> AiNotice:
        """It is about to be told, and kept until `told`; other kinds than `KIND` are of no use later, and not kept.

        Returns the notice, which has an id now.
        """
        if notice.kind != KIND:
            return notice
        named = notice if notice.id else replace(notice, id=uuid.uuid4().hex)
        kept = Undelivered(self._instance, named.id, self._clock(), json.dumps(asdict(named)))
        self._kept[named.id] = (kept, named)
        self._keeping.add(kept)
        self._forget()
        return named

    def told(self, notice: AiNotice) -> None:
        """Somebody whom it is for has got it."""
        if (known := self._kept.pop(notice.id, None)) is not None:
            self._keeping.remove(known[0])

    def fetch(self, wanted: Callable[[AiNotice], bool]) -> list[AiNotice]:
        """Those that are for somebody who has come; they are kept no longer."""
        self._forget()
        found = [notice for _, notice in self._kept.values() if wanted(notice)]
        for notice in found:
            self.told(notice)
        return found

    def _forget(self) -> None:
        oldest = self._clock() - KEPT_S
        for kept, notice in list(self._kept.values()):
            if kept.at > oldest and len(self._kept) <= KEPT:
                break
            self.told(notice)


class EndsLast:
    """Engagements, whose end is kept after what their AI is to be told of it: a crash between the two tells it again.

    Implements `ports.EngagementArchive`.
    """

    def __init__(self, archive: EngagementArchive, missed: Missed) -> None:
        self._archive = archive
        self._missed = missed

    async def put(
        self,
        engagement: Engagement,
        ended: str | None = None,
        note: str = "",
        outcome: str = "",
        *,
        instance: str = "",
        ai: Ai | None = None,
    ) -> None:
        """See `ports.EngagementKeeper`."""
        if ended is not None:
            await self._missed.written()
        await self._archive.put(engagement, ended, note, outcome, instance=instance, ai=ai)

    async def unended(self, instance: str) -> Sequence[Unended]:
        """See `ports.EngagementArchive`."""
        return await self._archive.unended(instance)


def _read(text: str) -> AiNotice:
    """What `Missed.keep` wrote; of the revisions of another run it has none."""
    facts = json.loads(text)
    call, notify = CallId(facts["call_id"]), tuple(facts["notify"])
    return AiNotice(0, call, facts["ai_name"], facts["kind"], facts["data"], notify, facts["id"])
