"""One test call: the service's own takeover, in this process, of a call that is nobody's."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from itertools import count

from connector.asterisk.pbx import AsteriskPbx
from connector.domain.calls import Ai, Call, CallId, Engagement, Mode
from connector.domain.errors import EngagementUnknown, LegNotReady, TakeoverError
from connector.domain.people import Actor
from connector.domain.transcript import Turn
from connector.freeswitch.pbx import FreeSwitchPbx
from connector.services.changes import CallUpserted, Change
from connector.services.registry import Registry, follow
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from media import pool as media

from ... import configured
from ...demo.groups import leaves
from ...medialegs import MediaLegs
from ...settings import Asterisk, FreeSwitch, Settings
from . import parties as there
from . import verdict
from .agent import AgentUnfit, agent
from .verdict import Ears, Moments, Tested, Wrong

BEFORE_S, DURING_S, AFTER_S = 1.0, 1.5, 1.4
TRIES, PAUSE_S = 5, 0.5
SEEN_S = 5.0
WITHIN_S = 60.0
DOCTOR = Actor("doctor", "takeover doctor", "agent")


async def tested(name: str, one: Asterisk | FreeSwitch, settings: Settings) -> Tested:
    """Makes the call, takes it over, gives it back, ends it. What goes wrong is in the result."""
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _tested(name, one, settings)
    except* there.NobodyCame as found:
        fault = leaves(found)[0]
        assert isinstance(fault, there.NobodyCame)  # noqa: S101 - what `except*` selected
        wrong = Wrong(fault.what, fault.remedy)
    except* (AgentUnfit, LegNotReady, media.MediaError, OSError) as found:  # TimeoutError is an OSError
        why = str(leaves(found)[0]) or f"the test call was not over after {WITHIN_S:g} s"
        wrong = Wrong(why, "this is about this machine, not about the PBX: its load, `media` in the settings")
    except* TakeoverError as found:
        wrong = verdict.refused(one.kind, str(leaves(found)[0]))
    return Tested([wrong])


async def _tested(name: str, one: Asterisk | FreeSwitch, settings: Settings) -> Tested:
    async with AsyncExitStack() as stack:
        instance = f"doctor-{secrets.token_hex(4)}"
        pbx = configured.tester(name, one, ("takeover doctor", there.AI_RULE), instance)
        pool = await stack.enter_async_context(media.Pool(_media(settings)))
        leg, hears = await stack.enter_async_context(agent(pool))
        takeovers, registry = await stack.enter_async_context(_service(pbx, pool, instance))
        seen = _Seen(registry)
        parties = await stack.enter_async_context(_parties(name, one, settings.media.audiosocket_host))
        stack.push_async_callback(takeovers.drain)
        call = await seen.offered(f"{name}~{parties.caller_id}")
        at = await _switched(takeovers, call, leg)
    ears = Ears(parties.caller.recording, parties.ai.recording, hears)
    shares = verdict.heard(ears, at)
    measured = verdict.times(ears, at, shares)
    return Tested(verdict.faults(one.kind, shares, measured), measured, shares)


async def _switched(takeovers: Takeovers, call: Call, leg: str) -> Moments:
    """The takeover and the giving back. Raises `TakeoverError`."""
    began = time.monotonic()
    await asyncio.sleep(BEFORE_S)
    asked, engagement = await _engaged(takeovers, call, leg)
    engaged = time.monotonic()
    await asyncio.sleep(DURING_S)
    gave_back = time.monotonic()
    with suppress(EngagementUnknown):  # the PBX has put the agent out: the sound tells
        await takeovers.release(DOCTOR, engagement.id)
    returned = time.monotonic()
    await asyncio.sleep(AFTER_S)
    return Moments(began, asked, engaged, gave_back, returned, time.monotonic())


async def _engaged(takeovers: Takeovers, call: Call, leg: str) -> tuple[float, Engagement]:
    """The engagement, and when it was asked for. A busy machine's worker is late for moments, in which a person would
    try again. Raises `TakeoverError`."""
    for _ in range(TRIES):
        with suppress(LegNotReady):
            return time.monotonic(), await takeovers.engage(DOCTOR, call.id, Mode.TAKEOVER, leg)
        await asyncio.sleep(PAUSE_S)
    return time.monotonic(), await takeovers.engage(DOCTOR, call.id, Mode.TAKEOVER, leg)


def _media(settings: Settings) -> media.MediaSettings:
    """One worker beside the service's own, on ports of its own, for an agent on this machine."""
    whole = configured.media_settings(settings)
    return replace(whole, workers=1, udp_ports=None, public_addresses=(), ice_servers=(), captions=False)


def _parties(name: str, one: Asterisk | FreeSwitch, host: str) -> AbstractAsyncContextManager[there.Parties]:
    if isinstance(one, FreeSwitch):
        return there.on_freeswitch(name, configured.esl_address(one), one.sip_profile, host)
    return there.on_asterisk(name, configured.ami_address(one), host)


@asynccontextmanager
async def _service(
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


class _Seen:
    """Waits for a call."""

    def __init__(self, registry: Registry) -> None:
        self._news = asyncio.Event()
        self._calls: dict[str, Call] = {}
        registry.watch(self._changed)

    def _changed(self, change: Change) -> None:
        if isinstance(change, CallUpserted):
            self._calls[change.call.id] = change.call
            self._news.set()

    async def offered(self, wanted: str) -> Call:
        """The call with this id, once it can be taken over. Raises `NobodyCame`."""
        try:
            async with asyncio.timeout(SEEN_S):
                while True:
                    call = self._calls.get(wanted)
                    if call is not None and call.choice(Mode.TAKEOVER).possible:
                        return call
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            why = call.choice(Mode.TAKEOVER).why if (call := self._calls.get(wanted)) else "no event told of it"
            remedy = "compare the account's rights and eventfilter with `takeover dialplan`'s files"
            raise there.NobodyCame(f"the test call cannot be taken over ({why})", remedy) from None


class _Memory:
    """A journal and transcripts that are forgotten."""

    def __init__(self) -> None:
        self._numbers = count()

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        return next(self._numbers)

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        pass

    def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
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
