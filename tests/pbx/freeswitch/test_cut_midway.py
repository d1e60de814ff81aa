"""ESL breaks in the middle of an `engage`: whatever FreeSWITCH had read by then, nobody stays silenced."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from connector.domain.calls import Mode
from connector.domain.errors import PbxError
from connector.domain.events import CallChanged, PbxDown, SnapshotTaken
from tests.contract.under_test import Follower, followed
from tests.support.freeswitch import FsLab, Instance
from web.demo.sip import SipCall

from .test_failsafe_mute import MUTE, PULSE, esl_gate, only_the_call
from .test_who_hears_whom import TABLE, WITHOUT_AGENT, expect

AT = {"leg": b"&eavesdrop", "armed": b"takeover_armed", "pulse": PULSE, "deadman": b"takeover_due", "mute": MUTE}


async def comes_back(follower: Follower, since: int) -> None:
    await follower.event(PbxDown, since=since)
    await follower.event(SnapshotTaken, since=since)


@contextlib.asynccontextmanager
async def a_lab(instance: Instance) -> AsyncIterator[FsLab]:
    async with FsLab(instance) as lab:
        yield lab
        await lab.api("hupall")
        await lab.no_channels()


@pytest.mark.parametrize("at", AT)
async def test_the_call_is_as_it_was_and_can_be_taken_over_again(freeswitch: Instance, at: str) -> None:
    cut = False

    def strike() -> None:
        nonlocal cut
        if not cut:
            cut = True
            raise ConnectionResetError

    async with (
        a_lab(freeswitch) as lab,
        esl_gate(lab.pbx.ports.host, lab.pbx.ports.esl, AT[at], strike) as (port, _),
    ):
        pbx = lab.service(port=port)
        async with followed(pbx) as follower:
            made = await lab.call()
            told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == made.uniqueid)
            since = len(follower.events)
            endpoint = lab.patch()
            with pytest.raises(PbxError):
                await pbx.engage(told.call, endpoint, Mode.TAKEOVER)
            assert cut
            await asyncio.gather(comes_back(follower, since), close(lab, endpoint.uuid))
            if at != "leg":  # the floor in the name of a leg that never came keeps nobody out
                await only_the_call(lab, made)
            await expect(made, WITHOUT_AGENT)
            endpoint = lab.patch()
            await pbx.engage(told.call, endpoint, Mode.TAKEOVER)
            await expect(made, TABLE[Mode.TAKEOVER], agent=await lab.agent(endpoint.uuid))


async def close(lab: FsLab, patch: str) -> None:
    """The worker closes the patch, as the service asks it to when its `engage` has failed."""
    came: SipCall | None = lab.agents.get(patch)
    if came is not None:
        await came.hangup()
