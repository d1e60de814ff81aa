"""The AI dies under a takeover: caller and agent go on; whatever happens to the agent then, the caller hears somebody.

By the PBX alone: no service is there.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.exchange import FALLBACK_HZ
from tests.support.lab import TOPOLOGIES, Lab, LabCall, Topology, any_tone
from tests.support.stack import DIALPLAN, GLOBALS
from web.demo.asterisk import Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOMENTS_MS = range(-40, 201, 8)
"""When the agent's socket closes, from the moment in which the AI hangs up."""
AT_ONCE = 8
WITHIN_S = 2.0
TOGETHER_MS = 20
"""AI and agent that leave closer together than this leave in an order that only the PBX knows."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(installation: Installation) -> AsyncIterator[Lab]:
    """A lab whose fallback is a tone."""
    async with Lab(installation, globals=GLOBALS, dialplan=DIALPLAN) as lab:
        yield lab


def told(lab: Lab, call: LabCall, name: str, since: int) -> list[str]:
    """Why (or just that) this event came for the call."""
    return [
        message.get("Why") or name
        for message in lab.events[since:]
        if message.get("UserEvent") == name and message.get("Uid") == call.uniqueid
    ]


async def hears_somebody(call: LabCall, within: float) -> bool:
    """Whether the caller hears anybody, or the fallback, at the latest so many seconds from now."""
    deadline = time.monotonic() + within
    while (now := time.monotonic()) < deadline:
        await asyncio.sleep(0.1)
        recording = call.caller.recording
        if (
            any_tone(recording, now, now + 0.1).share() > 0.5
            or recording.trace(FALLBACK_HZ, now, now + 0.1).share() > 0.5
        ):
            return True
    return False


async def end_of_both(lab: Lab, topology: Topology, g: bool, moment: float) -> str:
    """One call; returns what broke the promise, or nothing."""
    call = await lab.call(topology, options="gb(ai-mark^s^1)" if g else "b(ai-mark^s^1)")
    agent = await lab.join(call)
    await asyncio.sleep(0.3)
    mark = len(lab.events)

    async def ai() -> None:
        await asyncio.sleep(max(0.0, -moment))
        await call.ai.hangup()

    async def leave() -> None:
        await asyncio.sleep(max(0.0, moment))
        agent.leg.abort()

    await asyncio.gather(ai(), leave())
    heard = await hears_somebody(call, WITHIN_S)
    # An AI that hangs up when nobody speaks any more ends the call as it would without us.
    left = [m.get("Channel") for m in lab.events[mark:] if m.event == "BridgeLeave"]
    given_back = agent.channel in left and call.ai_channel not in left[: left.index(agent.channel)]
    after = any(m.get("UserEvent") == "LabAfterDial" and m.get("Key") == call.key for m in lab.events[mark:])
    free = given_back or moment * 1000 < TOGETHER_MS
    natural = free and (after or not g) and call.caller.ended.is_set()
    stayed = not await leaves(lab, agent.channel)
    await call.hangup()
    if heard or natural:
        return f"{agent.channel} stayed" if stayed else ""
    return f"{topology} g={g} {moment * 1000:+.0f} ms: {'dropped' if call.caller.ended.is_set() else 'in silence'}"


async def leaves(lab: Lab, channel: str) -> bool:
    """Whether this channel is gone, at the latest in 2 s."""
    deadline = time.monotonic() + WITHIN_S
    while channel in await lab.pbx.channels():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


@pytest.mark.timeout(120)
async def test_whenever_the_agent_dies_around_the_ai_the_caller_hears_somebody(lab: Lab) -> None:
    cases = [(TOPOLOGIES[n % 3], bool(n // 3 % 2), ms / 1000) for n, ms in enumerate(MOMENTS_MS)]
    wrong: list[str] = []
    for begin in range(0, len(cases), AT_ONCE):
        wrong += await asyncio.gather(*(end_of_both(lab, *case) for case in cases[begin : begin + AT_ONCE]))
        await lab.no_channels()
    assert [one for one in wrong if one] == []


@pytest.mark.parametrize("by", ["bye", "ami"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_caller_who_hangs_up_is_not_taken_for_one_whose_ai_died(lab: Lab, topology: Topology, by: str) -> None:
    call = await lab.call(topology)
    await lab.join(call)
    await asyncio.sleep(0.3)
    mark = len(lab.events)
    ended = lab.event("UserEvent", UserEvent="TakeoverEnded", Uid=call.uniqueid)
    if by == "bye":
        await call.caller.hangup()
    else:
        await lab.pbx.link.action("Hangup", Channel=call.channel)
    await lab.no_channels()
    await ended  # AMI may be slower than the command line that lists the channels
    assert told(lab, call, "TakeoverFallback", mark) == []
    assert told(lab, call, "TakeoverEnded", mark) == ["caller-hangup"]
    await call.hangup()
