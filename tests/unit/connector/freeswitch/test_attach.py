"""An agent's leg among the media bugs on the caller's channel: in an order in which he is heard and the AI is not."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from connector.domain.calls import Call, Mode
from connector.domain.errors import VerbRefused
from connector.domain.events import AgentGone, AiGone, CallChanged, FellBack

from .test_pbx import Site, a_site, patch

RULE = ("bot", "^media-bug/audio_stream$")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with a_site(ais=(RULE,), destinations={"support": "help,100"}) as site:
        yield site


async def streaming(site: Site) -> Call:
    caller = site.fake.stream()
    return (await site.follower.event(CallChanged, lambda e: e.call.channels.caller_id == caller)).call


async def until(true: Callable[[], bool]) -> None:
    """Returns when the fake is in that state; bounded."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what the adapter does by itself, and tells nobody
            await asyncio.sleep(0.01)


async def test_the_silencer_is_there_before_the_agent_and_goes_with_the_last_one(site: Site) -> None:
    call = await streaming(site)
    channel = site.fake.channels[call.channels.caller_id]
    first = await site.pbx.engage(call, patch(), Mode.MONITOR)
    second = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    assert channel.bugs == ["audio_stream", "audio", "eavesdrop", "eavesdrop"]
    assert channel.hushed
    await site.pbx.release(second)
    assert (channel.bugs, channel.hushed) == (["audio_stream", "audio", "eavesdrop"], False)
    await site.pbx.release(first)
    await until(lambda: channel.bugs == ["audio_stream"])


async def test_an_ai_that_begins_anew_behind_a_speaker_is_silenced_again(site: Site) -> None:
    call = await streaming(site)
    channel = site.fake.channels[call.channels.caller_id]
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    site.fake.bug(channel, "audio_stream", begins=False)
    site.fake.bug(channel, "audio_stream")
    assert channel.bugs == ["audio", "eavesdrop", "audio_stream"]
    await until(lambda: channel.bugs == ["audio_stream", "audio", "eavesdrop"])
    leg = site.fake.channels[engaged.patch]
    await until(lambda: channel.hushed and leg.keys == "3")
    await site.pbx.release(engaged)
    assert site.fake.ai_audible(call.channels.caller_id)


async def test_a_listener_out_of_order_is_attached_anew_before_he_speaks(site: Site) -> None:
    call = await streaming(site)
    channel = site.fake.channels[call.channels.caller_id]
    engaged = await site.pbx.engage(call, patch(), Mode.MONITOR)
    for begins in (False, True):
        site.fake.bug(channel, "audio", begins=begins)
    assert channel.bugs == ["audio_stream", "eavesdrop", "audio"]
    await site.pbx.switch(engaged, Mode.BARGE)
    assert channel.bugs == ["audio_stream", "audio", "eavesdrop"]
    assert site.fake.channels[engaged.patch].keys == "3"


async def test_who_listens_out_of_order_keeps_nobody_from_speaking(site: Site) -> None:
    call = await streaming(site)
    channel = site.fake.channels[call.channels.caller_id]
    channel.bugs.append("eavesdrop")  # of a listener who came before the silencer
    await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    assert channel.bugs == ["audio_stream", "eavesdrop", "audio", "eavesdrop"]
    assert channel.hushed


async def test_where_no_order_can_be_had_nobody_speaks_and_the_floor_is_free_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await streaming(site)
    channel = site.fake.channels[call.channels.caller_id]
    listing = "<function>audio</function><function>eavesdrop</function><function>audio_stream</function>"
    monkeypatch.setattr(site.fake, "_listing", lambda _: listing)
    with pytest.raises(VerbRefused, match="not in order"):
        await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    await until(lambda: not site.fake.hash)
    assert not channel.hushed


async def test_the_pbx_itself_leads_a_caller_on_whose_ai_and_agent_are_gone(site: Site) -> None:
    call = await streaming(site)
    channel = site.fake.channels[call.channels.caller_id]
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    site.fake.bug(channel, "audio_stream", begins=False)
    assert (await site.follower.event(AiGone)).paired
    site.fake.hangup(engaged.patch)
    await site.follower.event(AgentGone)
    await site.follower.event(FellBack)
    assert channel.place == "takeover_fallback"


async def test_a_transfer_ends_the_ai_first_and_its_hook_does_not_follow(site: Site) -> None:
    call = await streaming(site)
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    await site.pbx.transfer(call, "support")
    assert site.said(f"uuid_audio_stream {call.channels.caller_id} stop")
    assert site.fake.channels[call.channels.caller_id].place == "100"
    assert engaged.patch not in site.fake.channels
    assert not site.fake.hash


async def test_digits_come_to_the_ai_as_if_the_caller_pressed_them(site: Site) -> None:
    call = await streaming(site)
    with pytest.raises(VerbRefused):  # the one in memory knows no such command
        await site.pbx.send_dtmf(call, "5#")
    assert site.said(f"uuid_recv_dtmf {call.channels.caller_id} 5#@")
