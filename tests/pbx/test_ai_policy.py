"""How an AI is treated in a takeover, as the settings say: it hears, it is deaf, or it is hung up."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from connector.domain.calls import Mode
from connector.domain.events import AgentGone, AiGone
from tests.support.adapter import engage, watched
from tests.support.lab import TOPOLOGIES, Lab, Topology, any_tone, heard_by
from web.demo.voice import Recording

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERY = frozenset({"sip-bot", "socket-bot", "web-bot"})


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def no_call_left(lab: Lab) -> AsyncIterator[None]:
    """A test that fails must not spoil the next one's PBX."""
    yield
    for call in list(lab.phone.calls.values()):
        await call.hangup()


async def expect(recording: Recording, heard: set[str], within: float = 5.0) -> None:
    """Returns when these parties' tones, and no other's, arrive for a whole window; a busy machine gets several."""
    deadline = time.monotonic() + within
    while True:
        since = time.monotonic()
        await asyncio.sleep(0.3)
        try:
            found: object = heard_by(recording, since, time.monotonic())
        except RuntimeError as between:
            found = str(between)
        if found == heard:
            return
        assert time.monotonic() < deadline, f"heard {found}, not {heard}"


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_deaf_ai_hears_nothing_of_a_takeover_and_everything_after_it(lab: Lab, topology: Topology) -> None:
    async with watched(lab, deaf=EVERY) as adapter:
        call = await lab.call(topology)
        agent = await engage(adapter, lab, await adapter.call(call), Mode.TAKEOVER)
        await expect(call.caller.recording, {"agent"})
        await expect(agent.leg.recording, {"caller"})
        await expect(call.ai.recording, set())
        await adapter.pbx.switch(agent.engaged, Mode.BARGE)
        await expect(call.ai.recording, {"caller", "agent"})
        await adapter.pbx.switch(agent.engaged, Mode.TAKEOVER)
        await expect(call.ai.recording, set())
        await adapter.pbx.switch(agent.engaged, Mode.MONITOR)
        await expect(call.ai.recording, {"caller"})
        await expect(call.caller.recording, {"ai"})
        await call.hangup()
        await lab.no_channels()


async def test_a_deaf_ai_hears_again_when_the_agent_dies(lab: Lab) -> None:
    async with watched(lab, deaf=EVERY) as adapter:
        call = await lab.call("T1")
        agent = await engage(adapter, lab, await adapter.call(call), Mode.TAKEOVER)
        await expect(call.ai.recording, set())
        agent.leg.abort()
        await adapter.kind(AgentGone)
        await expect(call.ai.recording, {"caller"})
        await expect(call.caller.recording, {"ai"})
        await call.hangup()
        await lab.no_channels()


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_an_ai_that_is_hung_up_leaves_caller_and_agent_together(lab: Lab, topology: Topology) -> None:
    async with watched(lab, hung_up=EVERY) as adapter:
        call = await lab.call(topology, redial=topology)
        agent = await engage(adapter, lab, await adapter.call(call), Mode.TAKEOVER)
        await expect(call.caller.recording, {"agent"})
        since = time.monotonic()
        await adapter.kind(AiGone)
        await asyncio.wait_for(call.ai.ended.wait(), 5)
        await asyncio.sleep(0.5)
        until = time.monotonic()
        assert any_tone(call.caller.recording, since, until).hole_ms(since, until) < 500
        await expect(call.caller.recording, {"agent"})
        await expect(agent.leg.recording, {"caller"})
        again = lab.event("UserEvent", UserEvent="TakeoverAi", Id=call.uniqueid)
        await adapter.pbx.release(agent.engaged)
        await again
        await expect(call.caller.recording, {"ai"}, within=15)
        await call.hangup()
        await lab.no_channels()


async def test_an_ai_that_is_only_whispered_to_stays(lab: Lab) -> None:
    async with watched(lab, hung_up=EVERY, deaf=EVERY) as adapter:
        call = await lab.call("T1")
        await engage(adapter, lab, await adapter.call(call), Mode.WHISPER)
        await expect(call.ai.recording, {"caller", "agent"})
        await asyncio.sleep(0.7)
        assert not call.ai.ended.is_set()
        await call.hangup()
        await lab.no_channels()
