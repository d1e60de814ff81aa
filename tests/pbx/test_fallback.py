"""A caller whose AI and agent are both gone: prompt, AI once more, destination, apology. By the PBX alone."""

import asyncio
import time

import pytest

from tests.support.lab import TOPOLOGIES, Lab, LabCall, Topology, any_tone, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def lose_both(lab: Lab, call: LabCall) -> None:
    """Takeover, then the AI dies, then the agent."""
    agent = await lab.join(call)
    await asyncio.sleep(0.3)
    gone = lab.event("Hangup", Channel=call.ai_channel)
    await call.ai.hangup()
    await gone
    await asyncio.sleep(0.3)
    fallen = lab.event("UserEvent", UserEvent="TakeoverFallback", Uid=call.uniqueid)
    await agent.leave()
    await fallen


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_the_agent_goes_on_alone_when_the_ai_dies(lab: Lab, topology: Topology) -> None:
    call = await lab.call(topology)
    agent = await lab.join(call)
    await asyncio.sleep(0.3)
    gone = lab.event("Hangup", Channel=call.ai_channel)
    since = time.monotonic()
    await call.ai.hangup()
    await gone
    await asyncio.sleep(0.5)
    until = time.monotonic()
    assert any_tone(call.caller.recording, since, until).hole_ms(since, until) < 200
    await expect(call.caller.recording, {"agent"})
    await expect(agent.recording, {"caller"})
    await call.hangup()
    await lab.no_channels()


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_the_ai_is_dialled_once_more(lab: Lab, topology: Topology) -> None:
    call = await lab.call(topology, redial=topology)
    again = lab.event("UserEvent", UserEvent="TakeoverAi", Id=call.uniqueid)
    await lose_both(lab, call)
    await again
    await expect(call.caller.recording, {"ai"})
    assert not call.caller.ended.is_set()
    await call.hangup()
    await lab.no_channels()


async def test_the_second_ai_can_be_taken_over_too_and_is_the_last(lab: Lab) -> None:
    call = await lab.call("T1", redial="T2")
    again = lab.event("UserEvent", UserEvent="TakeoverAi", Id=call.uniqueid)
    await lose_both(lab, call)
    call.ai_channel = (await again).get("Ai")
    call.ai = await lab.ais.audiosocket.leg(call.key)
    await asyncio.sleep(0.5)
    await lose_both(lab, call)
    async with asyncio.timeout(10):  # the apology is played, then the PBX hangs up
        await call.caller.ended.wait()
    assert call.caller.ended_by == "them"
    await lab.no_channels()


async def test_the_configured_destination_is_where_the_caller_ends(lab: Lab) -> None:
    call = await lab.call("T1")
    await lab.pbx.link.action("Setvar", Channel=call.channel, Variable="TK_FALLBACK", Value="lab-destination,s,1")
    there = lab.event("UserEvent", UserEvent="LabDestination", Uid=call.uniqueid)
    await lose_both(lab, call)
    await there
    await expect(call.caller.recording, {"agent"})  # its 1500 Hz are the destination's too
    await call.hangup()
    await lab.no_channels()


async def test_a_destination_that_does_not_exist_gets_the_apology_instead_of_a_dead_line(lab: Lab) -> None:
    call = await lab.call("T1")
    await lab.pbx.link.action("Setvar", Channel=call.channel, Variable="TK_FALLBACK", Value="nowhere,s,1")
    await lose_both(lab, call)
    heard = len(call.caller.recording.samples())
    async with asyncio.timeout(10):
        await call.caller.ended.wait()
    assert len(call.caller.recording.samples()) - heard > 8000  # more than a second of apology
    await lab.no_channels()


async def test_a_transfer_to_nowhere_falls_back_too(lab: Lab) -> None:
    call = await lab.call("T1")
    agent = await lab.join(call)
    await asyncio.sleep(0.2)
    fallen = lab.event("UserEvent", UserEvent="TakeoverFallback", Uid=call.uniqueid)
    await lab.pbx.link.action("Setvar", Channel=call.channel, Variable="TK_XFER", Value="nowhere,1,1")
    await lab.pbx.link.action("Redirect", Channel=call.channel, Context="takeover-transfer", Exten="s", Priority="1")
    await fallen
    async with asyncio.timeout(5):
        await agent.leg.ended.wait()
    await call.hangup()
    await lab.no_channels()


async def test_the_hook_tells_tenant_queue_reference_and_records(lab: Lab) -> None:
    mark = len(lab.events)
    call = await lab.call("T1", hook="acme,sales,ref-1,fallback-test.wav")
    told = await lab.event("UserEvent", since=mark, UserEvent="TakeoverCall", Id=call.uniqueid)
    assert [told.get(name) for name in ("Tenant", "Queue", "AiRef", "Recording")] == [
        "acme",
        "sales",
        "ref-1",
        "fallback-test.wav",
    ]
    agent = await lab.join(call)
    await asyncio.sleep(0.5)
    await agent.leave()
    await call.hangup()
    await lab.no_channels()
    assert (lab.pbx.recordings / "fallback-test.wav").stat().st_size > 8000
