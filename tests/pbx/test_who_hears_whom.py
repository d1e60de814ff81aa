"""The truth table: for each mode and each topology, whose tone each party hears; after every live switch, and with a
second agent listening. Through the adapter, on a real Asterisk; the voice chain is not in the way. The topologies are
tried side by side, as nearly all of it is listening."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from connector.domain.calls import Call, Mode
from tests.support.adapter import Agent, Watched, engage, watched
from tests.support.lab import TOPOLOGIES, Lab, LabCall, Topology, heard_by

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETTLED_S = 0.35
"""After a switch: two codecs and a mixer are through, and a stalled join has been found and healed."""
LISTEN_S = 0.3
WITHIN_S = 4.0

TABLE: dict[Mode, dict[str, set[str]]] = {
    Mode.MONITOR: {"caller": {"ai"}, "ai": {"caller"}, "agent": {"caller", "ai"}},
    Mode.WHISPER: {"caller": {"ai"}, "ai": {"caller", "agent"}, "agent": {"caller", "ai"}},
    Mode.BARGE: {"caller": {"ai", "agent"}, "ai": {"caller", "agent"}, "agent": {"caller", "ai"}},
    Mode.TAKEOVER: {"caller": {"agent"}, "ai": {"caller", "agent"}, "agent": {"caller"}},
}
WITHOUT_AGENT: dict[str, set[str]] = {"caller": {"ai"}, "ai": {"caller"}}
TOUR = (
    Mode.MONITOR,
    Mode.WHISPER,
    Mode.MONITOR,
    Mode.BARGE,
    Mode.MONITOR,
    Mode.TAKEOVER,
    Mode.WHISPER,
    Mode.BARGE,
    Mode.WHISPER,
    Mode.TAKEOVER,
    Mode.BARGE,
    Mode.TAKEOVER,
    Mode.MONITOR,
)
"""A way through all twelve switches between two modes."""


def second_hears(mode: Mode) -> set[str]:
    """What an agent hears who monitors the caller's channel: what the caller says, and what the caller hears."""
    return {"caller"} | TABLE[mode]["caller"]


async def expect(call: LabCall, expected: dict[str, set[str]], agent: Agent | None, second: Agent | None) -> None:
    """Returns when everybody hears who they should, for a whole window; a window is taken again for `WITHIN_S`, since
    frames come late on a busy machine. What is wrong stays wrong, and fails."""
    recordings = {"caller": call.caller.recording, "ai": call.ai.recording}
    recordings |= {"agent": agent.leg.recording} if agent else {}
    recordings |= {"second": second.leg.recording} if second else {}
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
            raise AssertionError(f"{call.topology}: expected {expected}, heard {heard}")


@asynccontextmanager
async def a_call(lab: Lab, topology: Topology) -> AsyncIterator[tuple[Watched, LabCall, Call]]:
    async with watched(lab) as adapter:
        lab_call = await lab.call(topology)
        try:
            yield adapter, lab_call, await adapter.call(lab_call)
        finally:
            await lab_call.hangup()


async def in_each_topology(lab: Lab, test: Callable[[Topology], Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for topology in TOPOLOGIES:
            tasks.create_task(test(topology))
    await lab.no_channels()


@pytest.mark.parametrize("second", [False, True], ids=["alone", "with-a-listener"])
@pytest.mark.parametrize("mode", list(Mode))
async def test_in_each_mode_everybody_hears_who_the_table_says(lab: Lab, mode: Mode, second: bool) -> None:
    async def listen(topology: Topology) -> None:
        async with a_call(lab, topology) as (adapter, lab_call, call):
            await expect(lab_call, WITHOUT_AGENT, None, None)
            listener = await engage(adapter, lab, call, Mode.MONITOR) if second else None
            agent = await engage(adapter, lab, call, mode)
            expected = {**TABLE[mode], **({"second": second_hears(mode)} if second else {})}
            await expect(lab_call, expected, agent, listener)
            await adapter.pbx.release(agent.engaged)
            after = {**WITHOUT_AGENT, **({"second": {"caller", "ai"}} if second else {})}
            await expect(lab_call, after, None, listener)

    await in_each_topology(lab, listen)


@pytest.mark.parametrize("second", [False, True], ids=["alone", "with-a-listener"])
async def test_after_every_live_switch_everybody_hears_who_the_table_says(lab: Lab, second: bool) -> None:
    async def tour(topology: Topology) -> None:
        async with a_call(lab, topology) as (adapter, lab_call, call):
            listener = await engage(adapter, lab, call, Mode.MONITOR) if second else None
            agent = await engage(adapter, lab, call, TOUR[0])
            started = time.monotonic()
            for mode in TOUR[1:]:
                agent.engaged = await adapter.pbx.switch(agent.engaged, mode)
                expected = {**TABLE[mode], **({"second": second_hears(mode)} if second else {})}
                await expect(lab_call, expected, agent, listener)
            report = lab_call.rtp.report(started, time.monotonic())
            assert report.lost == 0, topology

    await in_each_topology(lab, tour)


async def test_the_tour_visits_every_switch() -> None:
    assert set(itertools.pairwise(TOUR)) == {(a, b) for a in Mode for b in Mode if a is not b}
