"""The test peers themselves: before they judge anything, they must hear and be heard on a real Asterisk."""

import asyncio
import time

import pytest

from tests.support.lab import TOPOLOGIES, Lab, Topology, any_tone, heard_by

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("hook", [True, False], ids=["hook", "bare"])
async def test_caller_and_ai_hear_each_other(lab: Lab, topology: Topology, hook: bool) -> None:
    call = await lab.call(topology, ai_hook=hook)
    since = time.monotonic()
    await asyncio.sleep(1)
    until = time.monotonic()
    assert heard_by(call.caller.recording, since, until) == {"ai"}
    assert heard_by(call.ai.recording, since, until) == {"caller"}
    report = call.rtp.report(since, until)
    assert (report.lost, report.ssrc_changes) == (0, 0)
    assert report.packets >= 45
    await call.hangup()
    async with asyncio.timeout(2):
        await call.ai.ended.wait()
    await lab.no_channels()


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_the_ai_can_end_the_call(lab: Lab, topology: Topology) -> None:
    call = await lab.call(topology)
    await call.ai.hangup()
    async with asyncio.timeout(2):
        await call.caller.ended.wait()
    assert call.caller.ended_by == "them"
    await lab.no_channels()


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_bare_takeover_and_return(lab: Lab, topology: Topology) -> None:
    call = await lab.call(topology)
    agent = await lab.join(call, "takeover")
    await asyncio.sleep(0.4)
    since = time.monotonic()
    await asyncio.sleep(0.5)
    until = time.monotonic()
    assert heard_by(call.caller.recording, since, until) == {"agent"}
    assert heard_by(call.ai.recording, since, until) == {"caller", "agent"}
    assert heard_by(agent.recording, since, until) == {"caller"}
    await agent.leave()
    await asyncio.sleep(0.3)
    since = time.monotonic()
    await asyncio.sleep(0.3)
    assert heard_by(call.caller.recording, since, time.monotonic()) == {"ai"}
    assert any_tone(call.caller.recording, agent.started, since).hole_ms(agent.started, since) < 200
    await call.hangup()
    await lab.no_channels()


async def test_digits_reach_the_ai(lab: Lab) -> None:
    call = await lab.call("T1")
    call.caller.media.send_dtmf("4")
    call.caller.media.send_dtmf("#")
    await asyncio.sleep(0.6)
    assert call.ai.media.digits == "4#"  # type: ignore[attr-defined]  # T1's leg is a SipCall
    await call.hangup()


async def test_the_mark_hands_the_sip_ai_the_call(lab: Lab) -> None:
    call = await lab.call("T1")
    assert call.ai.header("X-Takeover-Call") == call.uniqueid  # type: ignore[attr-defined]
    marked = next(message for message in lab.events if message.get("UserEvent") == "TakeoverAi")
    assert marked.get("Ai").startswith("PJSIP/ai-")
    await call.hangup()
