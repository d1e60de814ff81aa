"""What the caller hears of an agent: a browser (aiortc), a bad network, a media worker, a real Asterisk, a phone."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from media.pool import MediaSettings, Pool
from tests.support.adapter import Watched, watched
from tests.support.lab import Lab
from tests.support.network import lossy
from tests.support.sound_path import sound_path
from web.demo.speech import recorded

pytestmark = pytest.mark.asyncio(loop_scope="session")

INTELLIGIBLE = 0.85
"STOI. A quiet machine gives 0.96 (the bench `sound` tells), aiortc's own path 0.35; a busy one adds its own jitter."
SENTENCES = ("vm-rec-temp", "vm-newuser", "dir-instr", "vm-review")


@pytest_asyncio.fixture(loop_scope="session")
async def adapter(lab: Lab) -> AsyncIterator[Watched]:
    async with watched(lab) as adapter:
        yield adapter


@pytest_asyncio.fixture(loop_scope="session")
async def pool() -> AsyncIterator[Pool]:
    # A shared machine's ticks are late; admission under load has its own tests.
    async with Pool(MediaSettings(max_lateness_ms=10_000)) as pool:
        yield pool


async def test_ten_percent_loss_on_the_agents_network_leaves_him_intelligible(
    lab: Lab, adapter: Watched, pool: Pool
) -> None:
    async with sound_path(lab, adapter, pool, lossy(0.10)) as path:
        said = []
        for name in SENTENCES:
            # On a busy machine frames come late, so another sentence is said; what is wrong stays wrong, and fails.
            said += await path.hear([recorded(lab.installation.sounds, name, 16_000)])
            if said[-1].stoi >= INTELLIGIBLE:
                break
        assert path.network.dropped > 20
        assert max(one.stoi for one in said) >= INTELLIGIBLE, said
