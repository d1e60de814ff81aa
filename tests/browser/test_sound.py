"""Echo in a real Chromium: the worker notices that the caller hears himself, and the panel tells the agent."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from media.audiosocket import AUDIO, encode
from media.pool import MediaSettings, Pool, Quality
from tests.support.chromium_leg import chromium_leg
from tests.support.sound_path import patch
from tests.unit.media.pbx_end import PbxEnd

from .panel_stub import CHROMIUM, PanelStub
from .steps import take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


class Talking(PbxEnd):
    """A caller who speaks in words of random length and loudness."""

    async def _talk(self) -> None:
        chance = np.random.default_rng(1)
        start, samples, loud, left = time.monotonic(), self.endpoint.rate // 50, 0.0, 0
        for number in itertools.count():
            if self.closed.is_set():
                return
            if not left:
                left, loud = int(chance.integers(4, 20)), float(chance.choice([0.0, 800.0, 6000.0]))
            left -= 1
            sound = (chance.standard_normal(samples) * loud).clip(-32000, 32000).astype("<i2")
            self._writer.write(encode(AUDIO[self.endpoint.rate], sound.tobytes()))
            await asyncio.sleep(max(0.0, start + (number + 1) * 0.02 - time.monotonic()))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool() -> AsyncIterator[Pool]:
    # Ticks are late on a shared machine.
    async with Pool(MediaSettings(max_lateness_ms=10_000)) as pool:
        yield pool


async def echo_is(pool: Pool, *, returning: bool, within: float = 40) -> None:
    """Returns when the worker says so."""
    async with asyncio.timeout(within):
        async for event in pool.events():
            if isinstance(event, Quality) and event.facts.patch_received > 0 and event.facts.echo is returning:
                return


async def test_a_loudspeaker_that_reaches_the_microphone_is_noticed_until_a_headset_is_put_on(
    toned: Browser, pool: Pool
) -> None:
    async with chromium_leg(toned, pool, speaks=True) as browser, Talking(await patch(pool, browser.leg, 16_000)):
        await echo_is(pool, returning=False)
        await browser.leak(0.3, 0.12)
        await echo_is(pool, returning=True)
        await browser.plug()
        await echo_is(pool, returning=False)


async def test_the_panel_tells_the_agent_that_the_caller_hears_himself(toned: Browser, stub: PanelStub) -> None:
    stub.logged_in = True
    # Chromium's own fake microphone distorts, and that would be told first.
    async with await toned.new_page(locale="en-GB") as page:
        await page.goto(stub.url)
        await take_over(page, stub)
        await stub.quality(echo=True)
        warning = page.get_by_text("The caller hears an echo of himself")
        await expect(warning).to_be_visible()
        await stub.quality()
        await expect(warning).to_have_count(0)
