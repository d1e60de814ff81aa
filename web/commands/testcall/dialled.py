"""A test call to a number of the site: that its dialplan leads a caller to an AI which is recognised, and can be taken
over and given back. Caller and agent are ours, with a tone each; the AI is the site's own, and says what it says.

The caller has his tone in the takeover only: an AI that hears one waits for its end, as it would for a voice's.
"""

import asyncio
import secrets
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

from connector.domain.calls import Call, Mode
from connector.domain.errors import EngagementUnknown
from connector.services.takeovers import Takeovers
from media import pool as media

from ... import configured
from ...demo import tones
from ...demo.tones import CALLER_HZ
from ...demo.voice import Recording, Silence, Tone
from ...settings import Asterisk, FreeSwitch, Settings
from . import callers, hearing
from .agent import agent
from .call import explained
from .callers import Caller
from .hearing import Course
from .number import Number
from .parties import NobodyCame
from .service import DOCTOR, Seen, engaged, media_settings, service
from .verdict import SETTLE_S, Tested

REACHED_S, GREETED_S, DURING_S, BACK_S = 30.0, 15.0, 3.0, 15.0
"""For the dialplan to reach an AI; for the AI to say something; of the takeover; for the AI to speak again."""
WITHIN_S = 110.0
LOOK_S = 0.1


async def dialled(name: str, settings: Settings, number: Number) -> Tested:
    """Makes the call, takes it over, gives it back, ends it. What goes wrong is in the result."""
    one = settings.pbx[name]
    return await explained(_dialled(name, one, settings, number), one.kind, WITHIN_S)


async def _dialled(name: str, one: Asterisk | FreeSwitch, settings: Settings, number: Number) -> Tested:
    async with AsyncExitStack() as stack:
        instance = f"doctor-{secrets.token_hex(4)}"
        pbx = configured.pbxs(settings, instance)[name]
        pool = await stack.enter_async_context(media.Pool(media_settings(settings)))
        leg, hears = await stack.enter_async_context(agent(pool))
        takeovers, registry = await stack.enter_async_context(service(pbx, pool, instance))
        seen = Seen(registry)
        caller = await stack.enter_async_context(_caller(name, one, settings.media.audiosocket_host, number))
        stack.push_async_callback(takeovers.drain)
        call = await _reached(seen, caller, name, one, number)
        whom = f"{call.ai.name} ({call.channels.ai or call.topology.value})"
        course = await _course(takeovers, call, caller, leg)
        ended = ""
        if caller.leg.ended.is_set():
            await caller.story.ended()
            ended = f"it ended ({caller.story.why})"
    faults, measured, heard = hearing.judged(one.kind, caller.leg.recording, hears, course, ended)
    return Tested(faults, measured, heard, whom)


def _caller(name: str, one: Asterisk | FreeSwitch, host: str, number: Number) -> AbstractAsyncContextManager[Caller]:
    if isinstance(one, FreeSwitch):
        return callers.on_freeswitch(name, configured.esl_address(one), one.sip_profile, host, number)
    return callers.on_asterisk(name, configured.ami_address(one), host, number)


async def _reached(seen: Seen, caller: Caller, name: str, one: Asterisk | FreeSwitch, number: Number) -> Call:
    """The call, once it has an AI and can be taken over. Raises `NobodyCame`."""
    wanted = f"{name}~{caller.id}"
    offered = asyncio.create_task(seen.offered(wanted, REACHED_S))
    ended = asyncio.create_task(caller.leg.ended.wait())
    try:
        await asyncio.wait([offered, ended], return_when=asyncio.FIRST_COMPLETED)
        if offered.done() and (call := offered.result()) is not None:
            return call
    finally:
        for task in (offered, ended):
            task.cancel()
        await asyncio.gather(offered, ended, return_exceptions=True)
    known = seen.now(wanted)
    if known is not None:
        why = known.choice(Mode.TAKEOVER).why
        raise NobodyCame(f"{known.ai.name} is recognised in the call to {number}, but not to be taken over", why)
    if ended.done() and not ended.cancelled():
        await caller.story.ended()
        what = f"the call to {number} was over before it reached an AI: {caller.story}"
        raise NobodyCame(what, _where(one, number))
    rules = ", ".join(repr(rule.match) for rule in one.ais) or "none"
    what = f"no AI was recognised in the call to {number} within {REACHED_S:g} s: {caller.story}"
    raise NobodyCame(what, f"pbx.{name}.ais has the rules {rules}; {_rule(one, caller, number)}")


def _where(one: Asterisk | FreeSwitch, number: Number) -> str:
    if isinstance(one, FreeSwitch):
        return (
            f"`fs_cli -x 'xml_locate dialplan context name {number.context}'` shows what it does with {number.number}"
        )
    return f"`asterisk -rx 'dialplan show {number.number}@{number.context}'` shows what is done with it"


def _rule(one: Asterisk | FreeSwitch, caller: Caller, number: Number) -> str:
    """How the AI would be recognised."""
    if not caller.story.legs:
        own = "an AI that is an application on the caller's own channel is found by the hook; "
        return f"{own}else, is it the right number, and context? {_where(one, number)}"
    example = hearing.rule_for(next(reversed(caller.story.legs)))
    mark = "Dial(...,b(ai-mark^s^1))" if isinstance(one, Asterisk) else "[takeover_role=ai] before its dial string"
    return f"where one of these legs is your AI, add a rule like {{name: bot, match: {example!r}}}, or mark it: {mark}"


async def _course(takeovers: Takeovers, call: Call, caller: Caller, leg: str) -> Course:
    """The takeover and the giving back. Raises `TakeoverError`."""
    ears = caller.leg.recording
    greeted = await _voice(ears, 0.0, GREETED_S, caller.leg.ended)
    caller.leg.source = Tone(CALLER_HZ)
    asked, engagement = await engaged(takeovers, call, leg)
    confirmed = time.monotonic()
    await asyncio.sleep(DURING_S)
    gave_back = time.monotonic()
    caller.leg.source = Silence()
    with suppress(EngagementUnknown):  # the PBX has put the agent out: the sound tells
        await takeovers.release(DOCTOR, engagement.id)
    returned = time.monotonic()
    back = await _voice(ears, returned + SETTLE_S, BACK_S, caller.leg.ended) if greeted is not None else None
    return Course(greeted is not None, asked, confirmed, gave_back, returned, back, time.monotonic())


async def _voice(ears: Recording, since: float, within: float, ended: asyncio.Event) -> float | None:
    """When somebody began to speak, other than with the agent's tone; None when nobody does within so many seconds."""
    until = time.monotonic() + within
    while time.monotonic() < until and not ended.is_set():
        first = hearing.spoken(ears.trace(tones.AGENT_HZ, since, measure=tones.others))
        if first is not None:
            return first
        await asyncio.sleep(LOOK_S)
    return None
