"""The truth table on a real FreeSWITCH: for each mode, whose tone each party hears; after every live switch."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from connector.domain.calls import Call, Mode
from connector.domain.events import CallChanged
from connector.freeswitch.pbx import FreeSwitchPbx
from tests.contract.under_test import followed
from tests.support.freeswitch import TOPOLOGIES, FsCall, FsLab, Instance, Topology
from tests.support.hearing import sequence_breaks
from tests.support.lab import heard_by
from tests.support.opus_codec import opus
from web.demo.rtp import PCMU, Codec
from web.demo.sip import SipCall

SETTLED_S, LISTEN_S, WITHIN_S = 0.3, 0.3, 15.0
TABLE: dict[Mode, dict[str, set[str]]] = {
    Mode.MONITOR: {"caller": {"ai"}, "ai": {"caller"}, "agent": {"caller", "ai"}},
    Mode.WHISPER: {"caller": {"ai"}, "ai": {"caller", "agent"}, "agent": {"caller", "ai"}},
    Mode.BARGE: {"caller": {"ai", "agent"}, "ai": {"caller", "agent"}, "agent": {"caller", "ai"}},
    Mode.TAKEOVER: {"caller": {"agent"}, "ai": {"caller", "agent"}, "agent": {"caller"}},
}
WITHOUT_AGENT = {"caller": {"ai"}, "ai": {"caller"}}
_WAY = "whisper monitor barge monitor takeover whisper barge whisper takeover barge takeover monitor"
TOUR = tuple(Mode(name) for name in _WAY.split())
"""From monitor, a way through all twelve switches between two modes."""


def second_hears(mode: Mode) -> set[str]:
    """What a colleague hears who monitors the caller's channel: on FreeSWITCH a whisper to the AI too."""
    return {"caller"} | TABLE[mode]["caller"] | ({"agent"} if mode is Mode.WHISPER else set())


async def expect(call: FsCall, expected: dict[str, set[str]], **agents: SipCall) -> None:
    """Returns when everybody hears who they should, for a whole window; a window is taken again for `WITHIN_S`, since
    frames come late on a busy machine. What is wrong stays wrong, and fails."""
    recordings = {"caller": call.caller.recording, "ai": call.ai.recording}
    recordings |= {name: agent.recording for name, agent in agents.items()}
    deadline = time.monotonic() + WITHIN_S
    await asyncio.sleep(SETTLED_S)
    while True:
        since = time.monotonic()
        await asyncio.sleep(LISTEN_S)
        until = time.monotonic()
        try:
            heard: object = {role: heard_by(recording, since, until) for role, recording in recordings.items()}
        except RuntimeError as unclear:
            heard = str(unclear)
        if heard == expected:
            return
        if until > deadline:
            raise AssertionError(f"expected {expected}, heard {heard}")


@asynccontextmanager
async def a_call(
    instance: Instance, topology: Topology = "T1", *, codec: Callable[[], Codec] = lambda: PCMU, **settings: object
) -> AsyncIterator[tuple[FsLab, FreeSwitchPbx, FsCall, Call]]:
    async with FsLab(instance, codec=codec) as lab:
        pbx = lab.service("node-1", **settings)
        async with followed(pbx) as follower:
            made = await lab.call(topology)
            told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == made.uniqueid)
            try:
                yield lab, pbx, made, told.call
            finally:
                await lab.api("hupall")
                await lab.no_channels()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_in_each_mode_everybody_hears_who_the_table_says(
    freeswitch: Instance, topology: Topology, mode: Mode
) -> None:
    async with a_call(freeswitch, topology) as (lab, pbx, made, call):
        await expect(made, WITHOUT_AGENT)
        listening, speaking = lab.patch(), lab.patch()
        await pbx.engage(call, listening, Mode.MONITOR)
        engaged = await pbx.engage(call, speaking, mode)
        listener, agent = await lab.agent(listening.uuid), await lab.agent(speaking.uuid)
        second = second_hears(mode)
        await expect(made, {**TABLE[mode], "second": second}, agent=agent, second=listener)
        await pbx.release(engaged)
        await expect(made, {**WITHOUT_AGENT, "second": {"caller", "ai"}}, second=listener)


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_after_every_live_switch_and_without_a_break_in_the_callers_rtp(
    freeswitch: Instance, topology: Topology
) -> None:
    async with a_call(freeswitch, topology) as (lab, pbx, made, call):
        await tour(lab, pbx, made, call)


async def tour(lab: FsLab, pbx: FreeSwitchPbx, made: FsCall, call: Call) -> None:
    """Through all switches, at the rate of the caller's line; the caller's RTP has not a break."""
    endpoint = lab.patch(await pbx.rate(call))
    started = time.monotonic()
    engaged = await pbx.engage(call, endpoint, Mode.MONITOR)
    agent = await lab.agent(endpoint.uuid)
    for mode in TOUR:
        engaged = await pbx.switch(engaged, mode)
        await expect(made, TABLE[mode], agent=agent)
    await pbx.release(engaged)
    await expect(made, WITHOUT_AGENT)
    report = made.caller.media.report(started, time.monotonic())
    breaks = sequence_breaks(made.caller.media.packets, started)
    assert (report.lost, breaks, report.ssrc_changes, made.caller.reinvites) == (0, 0, 0, 0)


async def test_a_caller_with_opus_hears_the_same_after_every_live_switch(freeswitch: Instance) -> None:
    """The AI speaks PCMU and the agent L16: FreeSWITCH transcodes, and Opus frames carry the agent's voice as well."""
    async with a_call(freeswitch, codec=opus) as (lab, pbx, made, call):
        assert "opus" in await lab.api(f"uuid_getvar {made.uniqueid} read_codec")
        await tour(lab, pbx, made, call)


@pytest.mark.parametrize("topology", ["T1", "T3"])
async def test_a_deaf_ai_hears_nobody_while_a_person_has_taken_over(freeswitch: Instance, topology: Topology) -> None:
    async with a_call(freeswitch, topology, deaf=frozenset({"bot"})) as (lab, pbx, made, call):
        endpoint = lab.patch()
        engaged = await pbx.engage(call, endpoint, Mode.TAKEOVER)
        agent = await lab.agent(endpoint.uuid)
        await expect(made, {"caller": {"agent"}, "ai": set(), "agent": {"caller"}}, agent=agent)
        await pbx.switch(engaged, Mode.BARGE)
        await expect(made, TABLE[Mode.BARGE], agent=agent)


async def test_who_gets_the_floor_of_a_leg_that_is_gone_is_heard_too(freeswitch: Instance) -> None:
    async with a_call(freeswitch) as (lab, pbx, made, call):
        await lab.api(f"hash insert/takeover/{made.uniqueid}/{lab.patch().uuid}")
        endpoint = lab.patch()
        await pbx.engage(call, endpoint, Mode.TAKEOVER)
        await expect(made, TABLE[Mode.TAKEOVER], agent=await lab.agent(endpoint.uuid))


def test_the_tour_visits_every_switch() -> None:
    assert len(set(itertools.pairwise((Mode.MONITOR, *TOUR)))) == 12
