"""Callers who do not speak as a telephone does: FreeSWITCH transcodes, wherever the AI is, and nobody hears it. The
agent's line is as wide as the caller's."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from connector.domain.calls import Mode
from media.pool import MediaSettings, Pool
from tests.support.browser_leg import BrowserLeg, power_at, tone
from tests.support.freeswitch import CONFIG, NEEDED, TOPOLOGIES, WIDE, Instance, Topology, home
from tests.support.g722_codec import g722_wide
from tests.support.opus_codec import opus
from tests.support.processes import kill
from tests.support.sound_path import patch
from web.demo.rtp import L16, PCMU, Codec
from web.demo.sip import SipCall
from web.demo.tones import AI_HZ
from web.demo.voice import Recording, Tone

from .test_who_hears_whom import TABLE, a_call, tour

pytestmark = pytest.mark.timeout(90)

G722_MODULE = "mod_spandsp"
CALLER_HIGH, AGENT_HIGH = 6100, 6500
"""Hz: what no telephone carries."""
THERE_DB, ABSENT_DB = -30.0, -60.0
"""A tone of ours comes at -15 to -20; where nobody sends it, G.722 and Opus leave less than -75 (measured)."""
WITHIN_S = 20.0
"""A bound for what comes when it comes; a dead worker's leg ends 5 s after it."""


@pytest.fixture(scope="module")
def wideband() -> Iterator[Instance]:
    """A FreeSWITCH that offers G.722 and L16 too; skips where it has no module for it."""
    prefix = home()
    if prefix is None:
        pytest.skip(NEEDED)
    if not list(prefix.glob(f"lib*/**/{G722_MODULE}.so")):
        pytest.skip(f"the FreeSWITCH that FREESWITCH_HOME names has no {G722_MODULE}, so no G.722")
    modules, codecs = (*CONFIG.modules, G722_MODULE), f"{CONFIG.codecs},G722,L16@16000h"
    with Instance(prefix, replace(CONFIG, modules=modules, codecs=codecs)) as instance:
        yield instance


def spoken(call: SipCall) -> set[int]:
    """The payload types that somebody was sent."""
    return {packet.payload_type for packet in call.media.packets}


@pytest.mark.parametrize("topology", ["T2", "T3", "T4"])
async def test_opus_wherever_the_ai_is(freeswitch: Instance, topology: Topology) -> None:
    async with a_call(freeswitch, topology, codec=opus) as (lab, pbx, made, call):
        await tour(lab, pbx, made, call)
        assert spoken(made.caller) == {opus().payload_type}


@pytest.mark.parametrize("topology", ["T1", "T2"])
async def test_g722_with_an_ai_elsewhere_and_on_his_own_channel(wideband: Instance, topology: Topology) -> None:
    async with a_call(wideband, topology, codec=g722_wide) as (lab, pbx, made, call):
        await tour(lab, pbx, made, call)
        assert spoken(made.caller) == {g722_wide().payload_type}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("codec", [g722_wide, opus, lambda: L16], ids=["g722", "opus", "l16"])
async def test_a_caller_on_a_wideband_line_and_his_agent_hear_each_other_above_4_khz(
    wideband: Instance, topology: Topology, codec: Callable[[], Codec]
) -> None:
    async with a_call(wideband, topology, codec=codec) as (lab, pbx, made, call):
        assert await pbx.rate(call) == 16_000
        endpoint = lab.patch(16_000)
        engaged = await pbx.engage(call, endpoint, Mode.TAKEOVER)
        agent = await lab.agent(endpoint.uuid)
        made.caller.media.source, agent.media.source = Tone(CALLER_HIGH), Tone(AGENT_HIGH)
        for mode in (Mode.TAKEOVER, Mode.MONITOR, Mode.BARGE, Mode.WHISPER):
            if mode is not engaged.mode:
                engaged = await pbx.switch(engaged, mode)
            await until(lambda: level(agent.recording, CALLER_HIGH) > THERE_DB)
            if "agent" in TABLE[mode]["caller"]:
                await until(lambda: level(made.caller.recording, AGENT_HIGH) > THERE_DB)
            else:
                await until(lambda: level(made.caller.recording, AGENT_HIGH) < ABSENT_DB)
        assert spoken(agent) == {WIDE.payload_type}
        await pbx.release(engaged)


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_caller_with_a_telephone_gets_a_narrow_line(wideband: Instance, topology: Topology) -> None:
    async with a_call(wideband, topology) as (_, pbx, _, call):
        assert await pbx.rate(call) == 8000


@pytest.mark.parametrize(
    ("codec", "caller_hz", "agent_hz"), [(g722_wide, CALLER_HIGH, AGENT_HIGH), (lambda: PCMU, 700, 2100)]
)
async def test_from_the_callers_telephone_to_the_agents_browser_and_back(
    wideband: Instance, codec: Callable[[], Codec], caller_hz: int, agent_hz: int
) -> None:
    """All is real: the browser's Opus, the worker, FreeSWITCH, the caller's codec. And at the worker's end the caller
    has the AI again, since a pulse of 8 kHz guards a line of 16 as well."""
    media = MediaSettings(max_lateness_ms=10_000, sip=True)
    async with Pool(media) as pool, BrowserLeg(tone(agent_hz)) as browser:
        opened = await pool.open_leg(await browser.offer(), owner="test")
        await browser.accept(opened.answer)
        await pool.set_leg(opened.leg, suppression=False)  # it would rightly remove a steady tone
        async with a_call(wideband, codec=codec) as (_, pbx, made, call):
            made.caller.media.source = Tone(caller_hz)
            await pbx.engage(call, await patch(pool, opened.leg, await pbx.rate(call)), Mode.TAKEOVER)
            await until(lambda: level(made.caller.recording, agent_hz) > THERE_DB)
            await until(lambda: power_at(browser.hearing(0.5), caller_hz, 48_000) > THERE_DB)
            await until(lambda: level(made.caller.recording, AI_HZ) < THERE_DB)  # half a second later
            kill(pool.stats()[0].pid)
            await until(lambda: level(made.caller.recording, AI_HZ) > THERE_DB)


def level(recording: Recording, hertz: int) -> float:
    """Of a tone in the last half second, dBFS."""
    return power_at(recording.samples()[-recording.rate // 2 :], hertz, recording.rate)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  what is heard has no event
            await asyncio.sleep(0.1)
