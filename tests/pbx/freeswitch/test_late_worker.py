"""A machine that is busy for a second while everybody lives: no takeover is lost, the caller always has a voice."""

import asyncio
import time

import pytest

from connector.domain.calls import Mode
from connector.freeswitch import wire
from tests.support.freeswitch import TOPOLOGIES, Instance, Topology
from web.demo.tones import AI_HZ

from .test_who_hears_whom import TABLE, a_call, expect

LATE_S = 0.9


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_worker_that_answers_late_loses_no_takeover_and_mutes_no_ai_meanwhile(
    freeswitch: Instance, topology: Topology
) -> None:
    async with a_call(freeswitch, topology) as (lab, pbx, made, call):
        lab.pulse_s = LATE_S
        endpoint = lab.patch()
        since = time.monotonic()
        engaging = asyncio.create_task(pbx.engage(call, endpoint, Mode.TAKEOVER))
        await lab.agent(wire.pulse_of(endpoint.uuid))
        until = time.monotonic()
        await engaging
        assert until - since >= LATE_S
        assert made.caller.recording.trace(AI_HZ, since, until).hole_ms(since, until) < LATE_S * 500
        agent = await lab.agent(endpoint.uuid)
        await expect(made, TABLE[Mode.TAKEOVER], agent=agent)
