"""One test call: the service's own takeover, in this process, of a call that is nobody's."""

import asyncio
import secrets
import time
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

from connector.domain.calls import Call, Mode
from connector.domain.errors import EngagementUnknown, LegNotReady, PbxTimeout, PbxUnavailable, TakeoverError
from connector.services.takeovers import Takeovers
from media import pool as media

from ... import configured
from ...demo.groups import leaves
from ...settings import Asterisk, FreeSwitch, Settings
from . import parties as there
from . import verdict
from .agent import AgentUnfit, agent
from .service import DOCTOR, Seen, engaged, media_settings, service
from .verdict import Ears, Kind, Moments, Tested, Wrong

BEFORE_S, DURING_S, AFTER_S = 1.0, 1.5, 1.4
SEEN_S = 5.0
WITHIN_S = 60.0


async def tested(name: str, one: Asterisk | FreeSwitch, settings: Settings) -> Tested:
    """Makes the call, takes it over, gives it back, ends it. What goes wrong is in the result."""
    return await explained(_tested(name, one, settings), one.kind, WITHIN_S)


async def explained(call: Coroutine[None, None, Tested], kind: Kind, within: float) -> Tested:
    """What a test call showed, or why it came to nothing, in so many seconds."""
    try:
        async with asyncio.timeout(within):
            return await call
    except* there.NobodyCame as found:
        fault = leaves(found)[0]
        assert isinstance(fault, there.NobodyCame)  # noqa: S101 - what `except*` selected
        wrong = Wrong(fault.what, fault.remedy)
    except* (AgentUnfit, LegNotReady, media.MediaError, OSError) as found:  # TimeoutError is an OSError
        why = str(leaves(found)[0]) or f"the test call was not over after {within:g} s"
        wrong = Wrong(why, "this is about this machine, not about the PBX: its load, `media` in the settings")
    except* (PbxTimeout, PbxUnavailable) as found:
        wrong = Wrong(str(leaves(found)[0]), verdict.OVERLOADED)
    except* TakeoverError as found:
        wrong = verdict.refused(kind, str(leaves(found)[0]))
    return Tested([wrong])


async def _tested(name: str, one: Asterisk | FreeSwitch, settings: Settings) -> Tested:
    async with AsyncExitStack() as stack:
        instance = f"doctor-{secrets.token_hex(4)}"
        pbx = configured.tester(name, one, ("takeover doctor", there.AI_RULE), instance)
        pool = await stack.enter_async_context(media.Pool(media_settings(settings)))
        leg, hears = await stack.enter_async_context(agent(pool))
        takeovers, registry = await stack.enter_async_context(service(pbx, pool, instance))
        seen = Seen(registry)
        parties = await stack.enter_async_context(_parties(name, one, settings.media.audiosocket_host))
        stack.push_async_callback(takeovers.drain)
        call = await _offered(seen, f"{name}~{parties.caller_id}")
        at = await _switched(takeovers, call, leg)
    ears = Ears(parties.caller.recording, parties.ai.recording, hears)
    shares = verdict.heard(ears, at)
    measured = verdict.times(ears, at, shares)
    return Tested(verdict.faults(one.kind, shares, measured), measured, shares)


async def _switched(takeovers: Takeovers, call: Call, leg: str) -> Moments:
    """The takeover and the giving back. Raises `TakeoverError`."""
    began = time.monotonic()
    await asyncio.sleep(BEFORE_S)
    asked, engagement = await engaged(takeovers, call, leg)
    confirmed = time.monotonic()
    await asyncio.sleep(DURING_S)
    gave_back = time.monotonic()
    with suppress(EngagementUnknown):  # the PBX has put the agent out: the sound tells
        await takeovers.release(DOCTOR, engagement.id)
    returned = time.monotonic()
    await asyncio.sleep(AFTER_S)
    return Moments(began, asked, confirmed, gave_back, returned, time.monotonic())


def _parties(name: str, one: Asterisk | FreeSwitch, host: str) -> AbstractAsyncContextManager[there.Parties]:
    if isinstance(one, FreeSwitch):
        return there.on_freeswitch(name, configured.esl_address(one), one.sip_profile, host)
    return there.on_asterisk(name, configured.ami_address(one), host)


async def _offered(seen: Seen, wanted: str) -> Call:
    """The test call, once it can be taken over. Raises `NobodyCame`."""
    call = await seen.offered(wanted, SEEN_S)
    if call is None:
        known = seen.now(wanted)
        why = known.choice(Mode.TAKEOVER).why if known else "no event told of it"
        remedy = "compare the account's rights and eventfilter with `takeover dialplan`'s files"
        raise there.NobodyCame(f"the test call cannot be taken over ({why})", remedy)
    return call
