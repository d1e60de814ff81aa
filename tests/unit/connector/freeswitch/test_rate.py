"""At which rate an agent's leg is asked for, and what FreeSWITCH is told to offer it."""

from dataclasses import replace

import pytest

from connector.domain.calls import Channels, Mode

from .test_pbx import Site, patch, site

__all__ = ["site"]


@pytest.mark.parametrize(
    ("told", "rate"),
    [
        ("16000", 16_000),
        ("48000", 16_000),
        ("8000", 8000),
        ("12000", 8000),
        ("", 8000),
        ("١٦٠٠٠", 8000),
        ("1 6000", 8000),
    ],
)
async def test_a_leg_is_wide_where_the_callers_line_is(site: Site, told: str, rate: int) -> None:
    assert await site.pbx.rate(await site.call(read_rate=told)) == rate


async def test_a_rate_that_cannot_be_told_is_that_of_a_telephone(site: Site) -> None:
    call = await site.call(read_rate="16000")
    assert await site.pbx.rate(await site.call()) == 8000
    hostile = replace(call, channels=Channels("x", "a b", "y", call.channels.ai_id))
    assert await site.pbx.rate(hostile) == 8000
    gone = replace(call, channels=Channels("x", "nobody", "y", call.channels.ai_id))
    assert await site.pbx.rate(gone) == 8000


async def test_a_rate_is_known_before_anybody_waits_for_it(site: Site) -> None:
    call = await site.call(read_rate="16000")
    before = list(site.fake.commands)
    assert await site.pbx.rate(call) == 16_000
    assert site.fake.commands == before


@pytest.mark.parametrize(("rate", "codec"), [(8000, "PCMU"), (16_000, "L16@16000h@20i")])
async def test_a_leg_is_offered_the_codec_of_its_rate_and_its_pulse_a_narrow_one(
    site: Site, rate: int, codec: str
) -> None:
    await site.pbx.engage(await site.call(), replace(patch(), rate=rate), Mode.TAKEOVER)
    leg, pulse = site.said("originate")
    assert f",absolute_codec_string={codec}," in leg
    assert ",absolute_codec_string=PCMU," in pulse
