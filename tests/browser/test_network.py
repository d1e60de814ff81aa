"""A real Chromium on a bad network, both ways: its tone at the PBX's end, the PBX's tone in its play, both counters."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from media.pool import Facts, MediaSettings, Pool, Quality
from tests.support.browser_leg import power_at
from tests.support.chromium_leg import chromium_leg
from tests.support.network import Road, jittery, lossy
from tests.support.sound_path import patch
from tests.unit.media.pbx_end import PbxEnd
from web.demo.tones import AGENT_HZ

from .panel_stub import CHROMIUM

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]

PBX_HZ = 400
PACKETS = 200
"""How many are looked at, each way: four seconds."""
LOSSES = {"clean": 0.0, "loss5": 0.05, "loss10": 0.10, "jitter60": 0.0}
ROADS: dict[str, Road | None] = {
    "clean": None,
    "loss5": lossy(0.05),
    "loss10": lossy(0.10),
    "jitter60": jittery(0.060),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool() -> AsyncIterator[Pool]:
    # The voice chain would rightly remove a steady tone; ticks are late on a shared machine.
    async with Pool(MediaSettings(suppression=False, max_lateness_ms=10_000)) as pool:
        yield pool


async def counted(pool: Pool, leg: str) -> Facts:
    """The worker's counters, once enough packets of the browser have come."""
    async with asyncio.timeout(30):
        async for event in pool.events():
            if isinstance(event, Quality) and event.leg == leg and event.facts.packets_in >= PACKETS:
                return event.facts
    raise AssertionError("the pool tells nothing any more")


async def hears_whole(pbx: PbxEnd, hertz: float, within: float = 15) -> None:
    """Returns when the PBX has had a second of this tone; one torn to pieces has spread over the spectrum."""
    async with asyncio.timeout(within):
        while True:
            sound = pbx.sound(1.0) / 32768.0
            loudness = 10 * np.log10(np.mean(sound**2) + 1e-12) if len(sound) else -120.0
            if loudness > -40 and power_at(pbx.sound(1.0), hertz) > loudness - 3:
                return
            await asyncio.sleep(0.1)  # what is heard has no event


async def test_tones_come_through_bad_networks_both_ways(toned: Browser, pool: Pool) -> None:
    async with asyncio.TaskGroup() as tasks:  # nearly all of it is listening
        for name in ROADS:
            tasks.create_task(come_through(toned, pool, name))


async def come_through(toned: Browser, pool: Pool, name: str) -> None:
    share = LOSSES[name]
    async with chromium_leg(toned, pool, ROADS[name]) as browser:
        endpoint = await patch(pool, browser.leg, 16_000)
        async with PbxEnd(endpoint, hertz=PBX_HZ) as pbx:
            ours = await counted(pool, browser.leg)
            await hears_whole(pbx, AGENT_HZ)
            assert await browser.level(PBX_HZ) > -40
            its = await browser.facts()
    assert its.received > PACKETS / 4, name
    if share:
        assert browser.network.dropped >= share * PACKETS
        assert its.lost > 0, name
        assert ours.recovered + ours.concealed > 0, name
    elif name == "clean":
        assert its.lost == 0
        assert ours.recovered == 0
