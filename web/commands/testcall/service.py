"""What of the service takes calls over, for a test call: in this process, without a store, on a worker of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count

from connector.asterisk.pbx import AsteriskPbx
from connector.domain.calls import Ai, Call, CallId, Engagement, Mode
from connector.domain.errors import LegNotReady
from connector.domain.people import Actor
from connector.domain.transcript import Turn
from connector.freeswitch.pbx import FreeSwitchPbx
from connector.services.changes import CallRemoved, CallUpserted, Change
from connector.services.registry import Registry, follow
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from media import pool as media

from ... import configured
from ...medialegs import MediaLegs
from ...settings import Settings

TRIES, PAUSE_S = 5, 0.5
DOCTOR = Actor("doctor", "takeover doctor", "agent")


def media_settings(settings: Settings) -> media.MediaSettings:
    """One worker beside the service's own, on ports of its own, for an agent on this machine."""
    whole = configured.media_settings(settings)
    return replace(whole, workers=1, udp_ports=None, public_addresses=(), ice_servers=(), captions=False)


async def engaged(takeovers: Takeovers, call: Call, leg: str) -> tuple[float, Engagement]:
    """The engagement, and when it was asked for. A busy machine's worker is late for moments, in which a person would
    try again. Raises `TakeoverError`."""
    for _ in range(TRIES):
        with suppress(LegNotReady):
            return time.monotonic(), await takeovers.engage(DOCTOR, call.id, Mode.TAKEOVER, leg)
        await asyncio.sleep(PAUSE_S)
    return time.monotonic(), await takeovers.engage(DOCTOR, call.id, Mode.TAKEOVER, leg)


@asynccontextmanager
async def service(
    pbx: AsteriskPbx | FreeSwitchPbx, pool: media.Pool, instance: str
) -> AsyncIterator[tuple[Takeovers, Registry]]:
    """What of the service takes calls over, without its store: nothing of this is worth keeping."""
    pbxs, memory = {pbx.name: pbx}, _Memory()
    registry = Registry(pbxs, instance)
    takeovers = Takeovers(registry, pbxs, MediaLegs(pool), memory, _Forgotten(), Transcripts(registry, memory))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in (takeovers.run(), follow(pbx, registry), _told(pool, takeovers))]
        try:
            yield takeovers, registry
        finally:
            for task in tasks:
                task.cancel()


async def _told(pool: media.Pool, takeovers: Takeovers) -> None:
    async for event in pool.events():
        match event:
            case media.LegDown(leg, why):
                takeovers.leg_down(leg, why)
            case media.PatchDown(_, patch, why):
                takeovers.patch_down(patch, why)


class Seen:
    """Waits for a call."""

    def __init__(self, registry: Registry) -> None:
        self._news = asyncio.Event()
        self._calls: dict[str, Call] = {}
        registry.watch(self._changed)

    def _changed(self, change: Change) -> None:
        if isinstance(change, CallUpserted):
            self._calls[change.call.id] = change.call
            self._news.set()
        elif isinstance(change, CallRemoved):
            self._calls.pop(change.call_id, None)

    def now(self, wanted: str) -> Call | None:
        """The call with this id, while it is live and known."""
        return self._calls.get(wanted)

    async def offered(self, wanted: str, within: float) -> Call | None:
        """The call, once it can be taken over; None when it cannot within so many seconds."""
        try:
            async with asyncio.timeout(within):
                while True:
                    call = self._calls.get(wanted)
                    if call is not None and call.choice(Mode.TAKEOVER).possible:
                        return call
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None


class _Memory:
    """A journal and transcripts that are forgotten."""

    def __init__(self) -> None:
        self._numbers = count()

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        return next(self._numbers)

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        pass

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        return next(self._numbers)

    async def put(self, call: CallId, turn: Turn) -> None:
        pass

    async def turns(self, call: CallId) -> Sequence[Turn]:
        return ()


class _Forgotten:
    """Past engagements that are forgotten."""

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
        pass
