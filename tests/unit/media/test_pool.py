"""The pool with real worker processes, a real browser leg (aiortc) and a PBX's end of the patch."""

import asyncio
import dataclasses
import itertools
import random
import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aioice import stun

from media.audiosocket import UUID, encode
from media.frame import SAMPLES, Frame, to_frame
from media.level import decibels, mean_square
from media.pool import (
    Intruder,
    LegDown,
    LegNotReady,
    LegRefused,
    LegUp,
    MediaSettings,
    Overloaded,
    PatchDown,
    PatchUp,
    Pool,
    Quality,
)
from tests.support.browser_leg import BrowserLeg, power_at, tone
from tests.unit.media.conftest import SETTINGS, Events
from tests.unit.media.pbx_end import PbxEnd
from tests.unit.media.synthetic import noise, speech


@asynccontextmanager
async def connected(pool: Pool, browser: BrowserLeg | None = None) -> AsyncIterator[tuple[BrowserLeg, str]]:
    async with browser or BrowserLeg() as open_browser:
        opened = await pool.open_leg(await open_browser.offer(), owner="anna")
        await open_browser.accept(opened.answer)
        await wait_alive(pool, opened.leg)
        yield open_browser, opened.leg


async def until(condition: Callable[[], bool], within: float = 15) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  what is heard has no event
            await asyncio.sleep(0.05)


def fair(browser: BrowserLeg, pbx: PbxEnd) -> list[Frame]:
    """What the PBX heard while the browser, in this process, sent on time: a busy machine holds it up."""
    sent = browser.microphone.sent_at
    stalls = [(a, b + 0.5) for a, b in itertools.pairwise(sent) if b - a > 0.05]
    begun = pbx.heard_at[0] + 0.5 if pbx.heard_at else 0.0
    return [
        frame
        for at, frame in zip(pbx.heard_at, pbx.heard, strict=False)
        if begun < at < sent[-1] and not any(a < at < b for a, b in stalls)
    ]


async def wait_alive(pool: Pool, leg: str) -> None:
    async with asyncio.timeout(15):
        while not pool.alive(leg):  # noqa: ASYNC110  the pool is asked, as the readiness gate asks it
            await asyncio.sleep(0.02)


async def test_agent_and_caller_hear_each_other(pool: Pool, events: Events) -> None:
    async with connected(pool) as (browser, leg):
        assert (await events.next(LegUp)).leg == leg
        endpoint = await pool.open_patch(leg)
        assert endpoint.rate == 8000
        async with PbxEnd(endpoint, hertz=400) as pbx:
            up = await events.next(PatchUp)
            assert up.accepted <= up.first_frame < up.accepted + 0.5
            await asyncio.sleep(2)
            heard = pbx.sound(1)
            assert power_at(heard, 1500, 8000) > -19
            assert power_at(heard, 900, 8000) < -50
            assert power_at(browser.hearing(1), 400, 48000) > -20
            assert 40 < len(pbx.heard) <= 120
            await pool.close_patch(endpoint.uuid)
            async with asyncio.timeout(5):
                await pbx.closed.wait()
        assert await events.next(PatchDown) == PatchDown(leg, endpoint.uuid, "closed")
        await pool.close_leg(leg)
        assert await events.next(LegDown) == LegDown(leg, "closed")
        assert pool.not_alive_reason(leg) == "no-such-leg"
        await pool.close_leg(leg)
        await pool.close_patch(endpoint.uuid)


async def test_the_voice_chain_lets_speech_through_and_takes_noise_away(pool: Pool, events: Events) -> None:
    talk, hiss = speech(2, -26), noise(2, -45)
    frames = [to_frame((talk + hiss)[i : i + SAMPLES].astype(np.float32)) for i in range(0, len(talk), SAMPLES)]
    async with connected(pool, BrowserLeg(lambda number: frames[number % len(frames)])) as (browser, leg):
        await pool.set_leg(leg, suppression=True)
        async with PbxEnd(await pool.open_patch(leg)) as pbx:
            await events.next(Quality, lambda quality: quality.facts.speaking)
            await asyncio.sleep(2)
            assert decibels(mean_square(pbx.sound(1).astype(np.int16))) > -40
            browser.microphone.source = lambda number: to_frame(noise(0.02, -45, number).astype(np.float32))
            await asyncio.sleep(2)
            assert decibels(mean_square(pbx.sound(0.5).astype(np.int16))) < -53


async def test_sixteen_kilohertz_to_the_pbx(pool: Pool) -> None:
    async with connected(pool, BrowserLeg(tone(6000))) as (browser, leg):
        endpoint = await pool.open_patch(leg, rate=16000)
        async with PbxEnd(endpoint, hertz=5000) as pbx:
            await asyncio.sleep(1.5)
            assert power_at(pbx.sound(0.8), 6000, 16000) > -22
            assert power_at(browser.hearing(0.8), 5000, 48000) > -22


async def test_a_bad_offer_is_refused_with_its_reason(pool: Pool) -> None:
    with pytest.raises(LegRefused, match="m= line"):
        await pool.open_leg("nonsense", owner="anna")
    assert pool.stats()[0].legs == 0


async def test_no_patch_before_the_leg_is_alive(pool: Pool) -> None:
    with pytest.raises(LegNotReady, match="no-such-leg"):
        await pool.open_patch("nobody")
    async with BrowserLeg() as browser:
        opened = await pool.open_leg(await browser.offer(), owner="anna")
        with pytest.raises(LegNotReady, match="connecting"):
            await pool.open_patch(opened.leg)


async def test_one_patch_at_a_time(pool: Pool) -> None:
    async with connected(pool) as (_, leg):
        first = await pool.open_patch(leg)
        with pytest.raises(LegNotReady, match="already-patched"):
            await pool.open_patch(leg)
        await pool.close_patch(first.uuid)
        await pool.open_patch(leg)


async def test_mute_is_silence_at_the_pbx_and_ends(pool: Pool) -> None:
    async with connected(pool) as (_, leg), PbxEnd(await pool.open_patch(leg)) as pbx:
        await pool.set_leg(leg, muted=True)
        await asyncio.sleep(0.8)
        assert not pbx.sound(0.4).any()
        assert pool.alive(leg)
        await pool.set_leg(leg, muted=False)
        await asyncio.sleep(0.8)
        assert power_at(pbx.sound(0.4), 1500, 8000) > -19


async def test_on_hold_the_caller_hears_music_and_the_agent_nothing(pool: Pool) -> None:
    async with connected(pool) as (browser, leg), PbxEnd(await pool.open_patch(leg)) as pbx:
        await asyncio.sleep(0.3)
        await pool.set_leg(leg, hold=True)
        await until(lambda: power_at(browser.hearing(0.5), 400, 48000) < -60)
        await until(lambda: power_at(pbx.sound(0.8), 1500, 8000) < -45)
        assert np.sqrt(np.mean(pbx.sound(0.8).astype(float) ** 2)) > 300


async def test_a_microphone_that_falls_silent_gives_the_call_back(pool: Pool, events: Events) -> None:
    async with connected(pool) as (browser, leg):
        endpoint = await pool.open_patch(leg)
        async with PbxEnd(endpoint) as pbx:
            await asyncio.sleep(0.5)
            browser.sending = False
            await asyncio.sleep(1.2)
            assert pool.not_alive_reason(leg) == "no-microphone"
            noise = pbx.sound(0.2).astype(float)
            assert 1 < np.sqrt(np.mean(noise**2)) < 100
            assert (await events.next(PatchDown)).why == "no-microphone"
            async with asyncio.timeout(5):
                await pbx.closed.wait()
        browser.sending = True
        await wait_alive(pool, leg)
        await pool.open_patch(leg)


async def test_without_signalling_a_silent_microphone_gives_the_call_back_at_once(pool: Pool, events: Events) -> None:
    async with connected(pool) as (browser, leg), PbxEnd(await pool.open_patch(leg)) as pbx:
        pool.signal_lost(leg)
        await asyncio.sleep(1)
        assert not pbx.closed.is_set()
        browser.sending = False
        assert (await events.next(PatchDown, within=1.8)).why == "signal-lost"


async def test_signalling_that_came_back_counts_as_never_lost(pool: Pool) -> None:
    async with connected(pool) as (browser, leg), PbxEnd(await pool.open_patch(leg)) as pbx:
        pool.signal_lost(leg)
        pool.signal_back(leg)
        browser.sending = False
        await asyncio.sleep(0.9)
        assert not pbx.closed.is_set()


async def test_a_new_call_hears_nothing_of_the_last_one(pool: Pool) -> None:
    async with connected(pool) as (browser, leg):
        first = await pool.open_patch(leg)
        async with PbxEnd(first):
            await asyncio.sleep(0.5)
            await pool.close_patch(first.uuid)
        browser.microphone.source = tone(2500)
        # Time for what is on its way, not for what lies in the 40 ms that the buffer starts with.
        await asyncio.sleep(0.035)
        async with PbxEnd(await pool.open_patch(leg)) as pbx:
            await asyncio.sleep(0.8)
            whole = np.concatenate(pbx.heard)
            for start in range(0, len(whole) - 160, 160):
                assert power_at(whole[start : start + 160], 1500, 8000) < -30
            # Frame by frame: a late packet on a busy machine breaks the phase of a longer piece.
            assert max(power_at(frame, 2500, 8000) for frame in pbx.heard[-15:]) > -20


async def test_an_intruder_is_reported_and_gets_nothing(pool: Pool, events: Events) -> None:
    async with connected(pool) as (_, leg):
        endpoint = await pool.open_patch(leg)
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        stranger = uuid.uuid4()
        writer.write(encode(UUID, stranger.bytes))
        intruder = await events.next(Intruder)
        assert (intruder.uuid, intruder.why) == (str(stranger), "uuid not expected")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_pbx_that_does_not_call_is_reported(pool: Pool, events: Events) -> None:
    async with connected(pool) as (_, leg):
        endpoint = await pool.open_patch(leg)
        assert await events.next(PatchDown, within=8) == PatchDown(leg, endpoint.uuid, "no-call")
        await pool.open_patch(leg)


async def test_a_browser_that_goes_takes_its_patch_along(pool: Pool, events: Events) -> None:
    async with connected(pool) as (browser, leg):
        endpoint = await pool.open_patch(leg)
        async with PbxEnd(endpoint) as pbx:
            await browser.close()
            assert await events.next(LegDown) == LegDown(leg, "browser-gone")
            assert await events.next(PatchDown) == PatchDown(leg, endpoint.uuid, "leg-down")
            async with asyncio.timeout(5):
                await pbx.closed.wait()


async def test_a_new_connection_goes_on_with_the_call(pool: Pool, events: Events) -> None:
    async with connected(pool) as (old, leg), BrowserLeg(tone(2500)) as new:
        endpoint = await pool.open_patch(leg)
        async with PbxEnd(endpoint, hertz=400) as pbx:
            await asyncio.sleep(0.5)
            renewed = await pool.renew_leg(leg, await new.offer())
            assert renewed.leg == leg
            await new.accept(renewed.answer)
            await until(lambda: power_at(pbx.sound(0.3), 2500, 8000) > -25)
            await until(lambda: power_at(new.hearing(0.3), 400, 48000) > -25)
            await until(lambda: old.state == "closed")
            assert power_at(pbx.sound(0.3), 1500, 8000) < -30
            assert not pbx.closed.is_set()
        assert len([event for event in events.seen if isinstance(event, LegUp)]) == 2
        assert not [event for event in events.seen if isinstance(event, LegDown)]
        await pool.close_leg(leg)
        assert (await events.next(LegDown)).why == "closed"


async def test_a_new_connection_that_never_stands_changes_nothing() -> None:
    async with Pool(dataclasses.replace(SETTINGS, connect_s=4.0)) as pool, connected(pool) as (old, leg):
        async with BrowserLeg() as new, PbxEnd(await pool.open_patch(leg)) as pbx:
            await pool.renew_leg(leg, await new.offer())
            await asyncio.sleep(4.5)
            await until(lambda: pool.alive(leg) and power_at(pbx.sound(0.3), 1500, 8000) > -25)
            assert not pbx.closed.is_set()
        await old.close()
        async with asyncio.timeout(10):
            while pool.not_alive_reason(leg) != "no-such-leg":  # noqa: ASYNC110  the pool is asked
                await asyncio.sleep(0.05)
        with pytest.raises(LegNotReady, match="no-such-leg"):
            await pool.renew_leg(leg, "v=0")


async def test_a_browser_that_never_connects_is_dropped() -> None:
    async with Pool(dataclasses.replace(SETTINGS, connect_s=1.0)) as pool, BrowserLeg() as browser:
        events = Events(pool)
        opened = await pool.open_leg(await browser.offer(), owner="anna")
        assert await events.next(LegDown) == LegDown(opened.leg, "ice-timeout")
        assert pool.not_alive_reason(opened.leg) == "no-such-leg"
        await events.stop()


async def test_a_browser_that_hides_its_addresses_is_found(pool: Pool) -> None:
    async with BrowserLeg() as browser:
        offer = re.sub(r"(a=candidate:\S+ \d \S+ \d+) \S+ ", rf"\1 {uuid.uuid4()}.local ", await browser.offer())
        assert ".local" in offer
        opened = await pool.open_leg(offer, owner="anna")
        await browser.accept(opened.answer)
        await wait_alive(pool, opened.leg)


async def test_five_percent_loss_leaves_the_voice_whole(pool: Pool, events: Events) -> None:
    async with connected(pool, BrowserLeg(loss=0.05)) as (browser, leg), PbxEnd(await pool.open_patch(leg)) as pbx:
        await events.next(Quality, lambda q: q.facts.packets_in > 200 and q.facts.lost > 0)
        await events.next(Quality, lambda q: q.facts.recovered > 0)
        await until(lambda: len(fair(browser, pbx)) > 150, within=40)
        frames = fair(browser, pbx)
        assert sum(power_at(frame, 1500, 8000) < -30 for frame in frames) < 0.04 * len(frames)


async def test_quality_tells_levels_and_counts(pool: Pool, events: Events) -> None:
    async with connected(pool) as (_, leg), PbxEnd(await pool.open_patch(leg)):
        quality = await events.next(Quality, lambda q: q.facts.patch_received > 30 and q.facts.rtt_ms is not None)
        facts = quality.facts
        assert facts.connected
        assert facts.level_in == pytest.approx(-17, abs=1)
        assert facts.lost == 0
        assert facts.rtt_ms is not None
        assert facts.rtt_ms < 500
        assert facts.packets_out > 30
        assert facts.played > 30
        assert facts.target_ms > 0
        totals = pool.totals().lines
        assert totals["played"] >= facts.played
        assert totals["patch_received"] >= facts.patch_received
        await pool.close_leg(leg)
        assert pool.totals().lines["played"] >= totals["played"]


async def test_the_limits_of_a_worker_hold() -> None:
    async with Pool(dataclasses.replace(SETTINGS, max_legs_per_worker=1)) as pool, BrowserLeg() as browser:
        offer = await browser.offer()
        await pool.open_leg(offer, owner="anna")
        with pytest.raises(Overloaded, match="1 of 1 legs"):
            await pool.open_leg(offer, owner="bert")
        assert not pool.stats()[0].admits
        assert pool.totals().refused == 1


async def test_legs_go_to_the_emptiest_worker() -> None:
    async with Pool(dataclasses.replace(SETTINGS, workers=2)) as pool, BrowserLeg() as browser:
        offer = await browser.offer()
        for _ in range(4):
            await pool.open_leg(offer, owner="anna")
        assert [worker.legs for worker in pool.stats()] == [2, 2]


async def test_ports_and_addresses_are_those_of_the_settings() -> None:
    settings = dataclasses.replace(SETTINGS, udp_ports=(42000, 42099), public_addresses=("203.0.113.9", "127.0.0.1"))
    async with Pool(settings) as pool, BrowserLeg() as browser:
        opened = await pool.open_leg(await browser.offer(), owner="anna")
        candidates = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+)", opened.answer)
        assert [address for address, _ in candidates] == ["203.0.113.9", "127.0.0.1"]
        assert all(42000 <= int(port) <= 42099 for _, port in candidates)
        await browser.accept(opened.answer)
        await wait_alive(pool, opened.leg)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_an_address_that_no_pbx_can_call_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="audiosocket_host"):
        Pool(MediaSettings(audiosocket_host=host))


async def test_garbage_at_the_browsers_port_does_not_end_the_leg(pool: Pool, events: Events) -> None:
    chance = random.Random(7)
    stun = bytes.fromhex("000100082112a442") + bytes(12)
    wires = [
        b"",
        b"\x00",
        b"\x80",
        b"\x80\x00" * 1000,
        stun,
        stun + b"\x00\x06\x00\xff",
        stun + b"\x00\x20\x00\x04abcd",
    ]
    wires += [chance.randbytes(chance.randrange(1, 1600)) for _ in range(300)]
    wires += [bytes([first]) + chance.randbytes(60) for first in range(256)]
    async with connected(pool) as (_, leg):
        opened = await pool.open_leg(await (spare := BrowserLeg()).offer(), owner="bert")
        found = re.findall(r"a=candidate:\S+ 1 udp \d+ ([\d.]+) (\d+)", opened.answer)
        targets = [(address, int(port)) for address, port in found]
        assert targets
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for address, port in targets:
                for wire in wires:
                    sender.sendto(wire, (address, port))
            await spare.accept(opened.answer)
            await wait_alive(pool, opened.leg)
            for address, port in targets:
                for wire in wires:
                    sender.sendto(wire, (address, port))
            await asyncio.sleep(0.5)
            assert pool.alive(opened.leg)
        assert pool.alive(leg)
        assert not [event for event in events.seen if isinstance(event, LegDown)]
        await spare.close()


async def test_messages_that_stun_cannot_read_end_no_worker(pool: Pool, events: Events) -> None:
    """The browser's port is read in the ticks of all: what is raised there would be everybody's end."""
    async with connected(pool) as (_, other), BrowserLeg() as browser:
        offer = await browser.offer()
        opened = await pool.open_leg(offer, owner="bert")
        await browser.accept(opened.answer)
        await wait_alive(pool, opened.leg)
        ours, theirs = (re.findall(r"a=ice-(?:ufrag|pwd):(\S+)", sdp) for sdp in (opened.answer, offer))
        signed = stun.Message(
            stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": f"{ours[0]}:{theirs[0]}"}
        )
        signed.add_message_integrity(ours[1].encode())  # without a priority, which a new address needs
        short = bytes.fromhex("000100082112a442") + bytes(12) + bytes.fromhex("0024000200010000")
        named = bytes([0, 6, 0, len(ours[0]) + 1]) + ours[0].encode() + b":"
        named = bytes.fromhex("0001") + (len(named) + 11).to_bytes(2) + bytes.fromhex("2112a442") + bytes(12) + named
        wires = [short, bytes(signed), named + bytes(3) + bytes.fromhex("0024000200010000")]
        for address, port in re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+)", opened.answer):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as stranger:
                for wire in wires:
                    stranger.sendto(wire, (address, int(port)))
        await asyncio.sleep(1)
        assert not [event for event in events.seen if isinstance(event, LegDown)]
        assert pool.alive(opened.leg)
        assert pool.alive(other)
