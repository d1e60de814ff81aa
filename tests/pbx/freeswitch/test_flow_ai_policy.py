"""How an AI is treated in a takeover on a FreeSWITCH, as the settings say: it is deaf, or it is hung up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from connector.domain.calls import Call, Mode
from connector.domain.events import CallChanged
from connector.freeswitch.pbx import FreeSwitchPbx
from tests.contract.under_test import followed
from tests.support.freeswitch import RULE, FsCall, FsLab, Instance
from tests.support.lab import expect
from web.demo.sip import SipCall

pytestmark = pytest.mark.timeout(90)

EVERY = frozenset({RULE[0]})
WITHIN_S = 8.0


@asynccontextmanager
async def taken(instance: Instance, **policy: object) -> AsyncIterator[tuple[FreeSwitchPbx, Call, FsCall, SipCall]]:
    """A call, and the agent whom its caller hears."""
    async with FsLab(instance) as lab:
        pbx = lab.service("node-1", **policy)
        async with followed(pbx) as follower:
            made = await lab.call()
            told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == made.uniqueid)
            patch = lab.patch()
            await pbx.engage(told.call, patch, Mode.TAKEOVER)
            agent = await lab.agent(patch.uuid)
            try:
                await expect(made.caller.recording, {"agent"}, within=WITHIN_S)
                yield pbx, told.call, made, agent
            finally:
                await lab.api("hupall")
                await lab.no_channels()


async def test_a_deaf_ai_hears_nothing_until_the_agent_is_gone(freeswitch: Instance) -> None:
    async with taken(freeswitch, deaf=EVERY) as (_, _, made, agent):
        await expect(made.ai.recording, set(), within=WITHIN_S)
        await expect(agent.recording, {"caller"}, within=WITHIN_S)
        await agent.hangup()
        await expect(made.ai.recording, {"caller"}, within=WITHIN_S)
        await expect(made.caller.recording, {"ai"}, within=WITHIN_S)


async def test_an_ai_that_is_hung_up_leaves_caller_and_agent_together(freeswitch: Instance) -> None:
    async with taken(freeswitch, hung_up=EVERY) as (pbx, call, made, agent):
        async with asyncio.timeout(WITHIN_S):
            await made.ai.ended.wait()
        since = time.monotonic()
        await expect(made.caller.recording, {"agent"}, within=WITHIN_S)
        await expect(agent.recording, {"caller"}, within=WITHIN_S)
        assert made.caller.media.report(since, time.monotonic()).lost == 0
        await pbx.hangup(call)
        async with asyncio.timeout(WITHIN_S):
            await made.caller.ended.wait()
