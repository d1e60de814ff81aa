"""Somebody else acts on the caller's channel during a takeover: an administrator, the dialplan, the caller's phone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from connector.domain.calls import Mode
from connector.freeswitch import attach, wire
from tests.support.freeswitch import TOPOLOGIES, FsLab, Instance, Topology
from tests.support.lab import ROLES
from web.demo.sip import SipCall, SipPhone
from web.demo.voice import Tone

from .test_who_hears_whom import TABLE, WITHOUT_AGENT, a_call, expect

PERSON_HZ, PLACE_HZ, WITHIN_S = 2100, 1200, 8.0
TONES = {**ROLES, "person": PERSON_HZ, "place": PLACE_HZ}
SURVEY = "survey:XML:incoming"


@asynccontextmanager
async def a_person(lab: FsLab) -> AsyncIterator[tuple[SipCall, str]]:
    """Somebody else on the PBX, parked; with the id of his channel."""
    came: asyncio.Future[SipCall] = asyncio.get_running_loop().create_future()

    async def rang(leg: SipCall) -> None:
        await leg.answer()
        came.set_result(leg)

    async with SipPhone("person", source=lambda: Tone(PERSON_HZ), on_call=rang) as phone:
        said = await lab.link.job(f"originate sofia/internal/person@{phone.host}:{phone.port} &park()", 10)
        yield await came, said.removeprefix("+OK ").strip()


def tones(call: SipCall, since: float) -> set[str]:
    """Whom somebody has heard all the time for 0.4 s; who was there for a part of it is marked."""
    shares = {who: call.recording.trace(hz, since, since + 0.4).share() for who, hz in TONES.items()}
    return {who if share >= 0.8 else f"{who} at times" for who, share in shares.items() if share > 0.2}


async def hears(call: SipCall, whom: set[str]) -> None:
    """Returns when this is what somebody hears."""
    deadline = time.monotonic() + WITHIN_S
    heard: object = None
    while time.monotonic() < deadline:
        since = time.monotonic()
        await asyncio.sleep(0.4)
        heard = tones(call, since)
        if heard == whom:
            return
    raise AssertionError(f"expected {whom}, heard {heard}")


@pytest.mark.parametrize("topology", ["T1", "T3", "T4"])
async def test_who_is_bridged_with_somebody_else_takes_no_agent_along_and_stays_there(
    freeswitch: Instance, topology: Topology
) -> None:
    """An attended transfer out of a takeover: nothing of it brings him back when the other one has hung up."""
    async with a_call(freeswitch, topology) as (lab, pbx, made, call), a_person(lab) as (person, channel):
        endpoint = lab.patch()
        await pbx.engage(call, endpoint, Mode.TAKEOVER)
        agent = await lab.agent(endpoint.uuid)
        assert (await lab.api(f"uuid_bridge {made.uniqueid} {channel}")).startswith("+OK")
        async with asyncio.timeout(WITHIN_S):
            await agent.ended.wait()
        await hears(made.caller, {"person"})
        await hears(person, {"caller"})
        assert not wire.is_id(await lab.api(f"hash select/{wire.CONTEXT}/{made.uniqueid}"))
        assert await lab.api(f"uuid_getvar {made.uniqueid} transfer_after_bridge") == wire.UNSET
        await person.hangup()
        async with asyncio.timeout(WITHIN_S):
            await made.caller.ended.wait()


@pytest.mark.parametrize("alone", [False, True], ids=["with-the-ai", "with-the-agent-alone"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_who_is_led_to_a_queue_stays_there_when_the_agent_leaves_before_anyone_answers(
    freeswitch: Instance, topology: Topology, alone: bool
) -> None:
    """A blind transfer out of a takeover, before or after the AI has left."""
    async with a_call(freeswitch, topology) as (lab, pbx, made, call):
        await lab.api(f"uuid_setvar {made.uniqueid} transfer_after_bridge {SURVEY}")
        engaged = await pbx.engage(call, lab.patch(), Mode.TAKEOVER)
        if alone:
            await made.ai.hangup()
            await hears(made.caller, {"agent"})
        assert (await lab.api(f"uuid_transfer {made.uniqueid} support XML incoming")).startswith("+OK")
        await pbx.release(engaged)
        await hears(made.caller, {"place", "ai"} if topology == "T2" and not alone else {"place"})
        assert await lab.api(f"uuid_getvar {made.uniqueid} transfer_after_bridge") == SURVEY
        assert "audio" not in attach.functions(await lab.api(f"uuid_buglist {made.uniqueid}")), "his voice is as it was"


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_what_others_do_to_his_line_changes_nobody_who_is_heard(freeswitch: Instance, topology: Topology) -> None:
    async with a_call(freeswitch, topology) as (lab, pbx, made, call):
        endpoint = lab.patch()
        engaged = await pbx.engage(call, endpoint, Mode.TAKEOVER)
        agent = await lab.agent(endpoint.uuid)
        for command in (
            f"uuid_media_reneg {made.uniqueid}",
            f"uuid_broadcast {made.uniqueid} tone_stream://%(300,0,1200) aleg",
            "reloadxml",
        ):
            assert (await lab.api(command)).startswith("+OK"), command
            await expect(made, TABLE[Mode.TAKEOVER], agent=agent)
        assert made.caller.reinvites == 1
        await pbx.release(engaged)
        await expect(made, WITHOUT_AGENT)
