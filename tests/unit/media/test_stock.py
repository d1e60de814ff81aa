"""aiortc's own path as a second tier: chosen when the first does not work, and it carries sound."""

import asyncio
import dataclasses

import pytest

from media import rtc, tier
from media.frame import SAMPLES
from media.peer import PeerLost
from media.pool import Pool
from media.stock import Pcm
from tests.support.browser_leg import BrowserLeg, power_at, tone
from tests.unit.media.conftest import SETTINGS
from tests.unit.media.pbx_end import PbxEnd
from tests.unit.media.test_pool import connected


async def test_an_aiortc_that_the_fast_path_does_not_know_is_used_by_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_arguments: object) -> None:
        raise AttributeError("'RTCDtlsTransport' object has no attribute '_tx_srtp'")

    monkeypatch.setattr(rtc.FastPeer, "send", changed)
    choice = await tier.choose(None)
    assert choice.tier == "stock"
    assert "cannot carry the sound (made for aiortc 1.16" in choice.why
    assert "_tx_srtp" in choice.why
    with pytest.raises(PeerLost, match="_tx_srtp"):
        await tier.choose("fast")


async def test_an_aiortc_without_the_names_that_the_fast_path_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier, "missing", "cannot import name 'connection_kwargs'")
    assert (await tier.choose(None)).why == "cannot import name 'connection_kwargs'"


async def test_this_aiortc_gets_the_fast_path() -> None:
    choice = await tier.choose(None)
    assert (choice.tier, choice.why) == ("fast", "")


async def test_agent_and_caller_hear_each_other_by_aiortc_alone() -> None:
    async with Pool(dataclasses.replace(SETTINGS, tier="stock")) as pool:
        assert [worker.tier for worker in pool.stats()] == ["stock"]
        async with connected(pool, BrowserLeg(tone(1500))) as (browser, leg):
            async with PbxEnd(await pool.open_patch(leg), hertz=400) as pbx, asyncio.timeout(15):
                while power_at(pbx.sound(0.5), 1500, 8000) < -20 or power_at(browser.hearing(0.5), 400, 48000) < -22:  # noqa: ASYNC110  heard, not told
                    await asyncio.sleep(0.1)
            await pool.close_leg(leg)
            assert pool.not_alive_reason(leg) == "no-such-leg"


def test_what_aiortc_lost_is_filled_and_fades() -> None:
    pcm = Pcm()
    loud = tone(440, 0.5)(0)
    assert pcm.length(loud.tobytes()) == 960
    assert (pcm.decode(loud.tobytes()) == loud).all()
    levels = [int(abs(pcm.conceal(SAMPLES)).max()) for _ in range(4)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] < 10_000 < 16_000
    assert len(pcm.recover(b"", SAMPLES)) == SAMPLES
