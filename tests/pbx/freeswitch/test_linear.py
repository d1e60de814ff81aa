"""Callers whose frames go out as they come, and not at a second clock (`SEND_LINEAR_TIMESTAMPS`, see the README)."""

import itertools
import time

import pytest

from connector.domain.calls import Mode
from connector.domain.events import CallChanged
from tests.contract.under_test import followed
from tests.support.freeswitch import TOPOLOGIES, FsLab, Instance, Topology
from tests.support.hearing import sequence_breaks

from .test_who_hears_whom import TABLE, WITHOUT_AGENT, expect

FRAME = 160
"""Samples of 20 ms at 8 kHz."""


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_is_heard_as_ever_and_keeps_even_time_stamps_over_a_takeover(
    freeswitch: Instance, topology: Topology
) -> None:
    async with FsLab(freeswitch, linear=True) as lab:
        pbx = lab.service()
        async with followed(pbx) as follower:
            made = await lab.call(topology)
            told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == made.uniqueid)
            endpoint, since = lab.patch(), time.monotonic()
            engaged = await pbx.engage(told.call, endpoint, Mode.TAKEOVER)
            await expect(made, TABLE[Mode.TAKEOVER], agent=await lab.agent(endpoint.uuid))
            await pbx.release(engaged)
            await expect(made, WITHOUT_AGENT)
            packets = [packet for packet in made.caller.media.packets if packet.at >= since]
            steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)}
            assert (steps, sequence_breaks(packets, since), made.caller.reinvites) == ({FRAME}, 0, 0)
            await made.hangup()
            await lab.no_channels()
