"""AI and agent leave in the same moment: each of the two ends changes what the other relies on."""

import asyncio

from connector.domain.calls import Call, Mode
from connector.domain.events import AiGone, CallChanged, FellBack
from connector.freeswitch.pbx import FreeSwitchPbx
from connector.ports import Engaged
from tests.contract.under_test import Follower, followed
from tests.support.freeswitch import FsCall, FsLab, Instance

ROUNDS = 6
"""One in two was lost when the agent's end took back at once what keeps the caller at the AI's."""


async def shown(follower: Follower, made: FsCall) -> Call:
    told = await follower.event(CallChanged, lambda event: event.call.channels.caller_id == made.uniqueid)
    return told.call


async def left(pbx: FreeSwitchPbx, follower: Follower, engaged: Engaged) -> None:
    """The agent leaves as soon as the AI's end is told."""
    await follower.event(AiGone, lambda event: event.call == engaged.call)
    await pbx.release(engaged)


async def fallen_back(follower: Follower, call: Call) -> None:
    await follower.event(FellBack, lambda event: event.call == call.id)


async def test_a_caller_whose_ai_and_agent_leave_at_once_reaches_the_fallback(freeswitch: Instance) -> None:
    async with FsLab(freeswitch) as lab:
        pbx = lab.service()
        async with followed(pbx) as follower:
            for _ in range(ROUNDS):
                made = await lab.call("T1")
                call = await shown(follower, made)
                engaged = await pbx.engage(call, lab.patch(), Mode.TAKEOVER, "anna")
                await made.ai.hangup()
                await asyncio.gather(left(pbx, follower, engaged), fallen_back(follower, call))
                assert not made.caller.ended.is_set()
                await made.hangup()
