"""A join never leaves a leg without RTP, not even on a PBX whose last leave left a stale write path behind."""

import asyncio
import time

import pytest

from tests.support.lab import Lab, LabAgent, LabCall, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")
LEAVES = 300  # a leave makes a leg stale in about 1 of 20


async def stale(lab: Lab, call: LabCall) -> bool:
    """True if a leg's write format is not its own codec, although nobody mixes."""
    for channel in (call.channel, call.ai_channel):
        answer = await lab.pbx.link.action("Getvar", Channel=channel, Variable="CHANNEL(audiowriteformat)")
        if answer.get("Value") != "ulaw":
            return True
    return False


async def gone(lab: Lab, agent: LabAgent) -> None:
    """The agent leaves; returns when its channel has ended, and with it its claim to speak."""
    ended = lab.event("Hangup", Channel=agent.channel)
    await agent.leave()
    await ended


async def until_stale(lab: Lab, call: LabCall) -> None:
    for _ in range(LEAVES):
        agent = await lab.join(call, "barge")
        await asyncio.sleep(0.08)
        await gone(lab, agent)
        await asyncio.sleep(0.02)
        if await stale(lab, call):
            return
    pytest.fail(f"no leg became stale in {LEAVES} leaves: does the join still need its guard?")


def entered(lab: Lab, agent: LabAgent, since: int) -> int:
    """How often the agent's channel entered the bridge."""
    return sum(
        message.event == "BridgeEnter" and message.get("Channel") == agent.channel for message in lab.events[since:]
    )


def complaints(log: str) -> list[str]:
    """Warnings and errors of the dialplan and its functions."""
    parts = ("pbx.c", "ast_expr", "pbx_variables", "pbx_functions", "func_", "app_stack", "app_bridgeadd")
    return [
        line
        for line in log.splitlines()
        if ("WARNING[" in line or "ERROR[" in line) and any(part in line for part in parts)
    ]


@pytest.mark.parametrize("mode", ["barge", "takeover"])
@pytest.mark.parametrize("hook", [True, False], ids=["hook", "bare"])
async def test_a_stale_leg_is_put_right_by_the_join_itself(lab: Lab, mode: str, hook: bool) -> None:
    log_before = len(lab.pbx.log.read_text())  # other tests end calls at the worst moment, and the log says so
    call = await lab.call("T1", ai_hook=hook)
    await until_stale(lab, call)
    mark = len(lab.events)
    agent = await lab.join(call, mode)
    await expect(call.caller.recording, {"agent"} if mode == "takeover" else {"agent", "ai"})
    await expect(call.ai.recording, {"agent", "caller"})
    assert entered(lab, agent, mark) >= 2  # the short stay, then the real one
    await gone(lab, agent)  # a caller who goes while the agent gives him back is complained of, and rightly
    await call.hangup()
    await lab.no_channels()
    assert complaints(lab.pbx.log.read_text()[log_before:]) == []


async def test_the_short_stay_leaves_the_dead_man_alone(lab: Lab) -> None:
    call = await lab.call("T1")
    await until_stale(lab, call)
    ended = lab.event("UserEvent", UserEvent="TakeoverEnded", Uid=call.uniqueid)
    joined = time.monotonic()
    await lab.join(call, "takeover", deadman=2)
    told = await ended
    assert told.get("Why") == "deadman"
    assert 1.5 < time.monotonic() - joined < 4
    await call.hangup()
    await lab.no_channels()


async def test_many_joins_and_none_stalls(lab: Lab) -> None:
    call = await lab.call("T1")
    for turn in range(30):
        agent = await lab.join(call, "barge" if turn % 3 else "takeover")
        await asyncio.sleep(0.25)
        until = time.monotonic()
        counts = [
            leg.media.report(until - 0.15, until).packets  # type: ignore[attr-defined]  # both are SipCalls in T1
            for leg in (call.caller, call.ai)
        ]
        assert min(counts) > 0 or max(counts) == 0, f"join {turn}: caller and AI got {counts} packets"
        await gone(lab, agent)
    await call.hangup()
    await lab.no_channels()
