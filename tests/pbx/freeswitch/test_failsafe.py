"""Whatever dies under a live takeover, FreeSWITCH itself puts it right: without the service where it says so."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from connector.domain.calls import Mode
from connector.domain.events import CallChanged
from tests.contract.under_test import followed
from tests.support.agent import Reply
from tests.support.fleet import fleet
from tests.support.freeswitch import RULE, TOPOLOGIES, FsLab, Instance
from tests.support.hearing import first_heard
from tests.support.processes import children, kill
from tests.support.server import Server
from web.demo.tones import AGENT_HZ, AI_HZ
from web.demo.voice import Recording

from .test_who_hears_whom import WITHOUT_AGENT, a_call, expect

BACK_S = 3.0
"""A bound that proves who acted: the media time-out is 0.8 s, the dead-man 5 s and more."""


@pytest_asyncio.fixture
async def lab(freeswitch: Instance) -> AsyncIterator[FsLab]:
    async with FsLab(freeswitch) as lab:
        yield lab
        await lab.api("hupall")
        await lab.no_channels()


async def back(recording: Recording, since: float, hertz: float = AI_HZ, within: float = 8) -> float:
    """Seconds from `since` until the tone is there to stay."""
    while time.monotonic() < since + within:
        await asyncio.sleep(0.1)
        at = first_heard(recording, hertz, since, time.monotonic())
        if at is not None:
            return at - since
    raise AssertionError(f"{hertz} Hz was not heard within {within} s")


async def test_a_silent_worker_gives_the_ai_back(freeswitch: Instance) -> None:
    async with a_call(freeswitch, media_timeout_ms=800) as (lab, pbx, made, call):
        endpoint = lab.patch()
        await pbx.engage(call, endpoint, Mode.TAKEOVER)
        agent = await lab.agent(endpoint.uuid)
        await asyncio.sleep(0.3)
        await agent.media.stop()
        assert await back(made.caller.recording, time.monotonic()) < BACK_S
        await expect(made, WITHOUT_AGENT)


async def test_without_the_service_the_pbx_pairs_and_falls_back(lab: FsLab) -> None:
    pbx = lab.service()
    async with followed(pbx) as follower:
        made = await lab.call()
        told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == made.uniqueid)
        endpoint = lab.patch()
        await pbx.engage(told.call, endpoint, Mode.TAKEOVER)
    agent = await lab.agent(endpoint.uuid)
    await made.ai.hangup()
    await expect(made, {"caller": {"agent"}, "ai": set(), "agent": {"caller"}}, agent=agent)
    await agent.hangup()
    async with asyncio.timeout(5):
        while "takeover_redial" not in await lab.api("show channels as json"):  # noqa: ASYNC110 - a late table
            await asyncio.sleep(0.05)
    assert not made.caller.ended.is_set()


async def test_ai_and_agent_die_together_and_the_caller_is_led_on(lab: FsLab) -> None:
    """Five times at once: whichever of the two ends first, nobody is left in silence."""
    pbx = lab.service()
    async with followed(pbx) as follower:
        for _ in range(5):
            made = await lab.call(settle=0)
            told = await follower.event(CallChanged, lambda e, c=made.uniqueid: e.call.channels.caller_id == c)  # type: ignore[misc]
            endpoint = lab.patch()
            await pbx.engage(told.call, endpoint, Mode.TAKEOVER)
            agent = await lab.agent(endpoint.uuid)
            await asyncio.gather(made.ai.hangup(), agent.hangup())
            async with asyncio.timeout(5):
                while await lab.api(f"uuid_exists {made.uniqueid}") == "true":
                    if "takeover_fallback" in str(await lab.api(f"uuid_dump {made.uniqueid}")):
                        break
                    await asyncio.sleep(0.05)
            assert await lab.api(f"uuid_getvar {made.uniqueid} destination_number") != "takeover_hold"
            await made.hangup()


async def test_a_service_that_starts_sees_every_call_that_is_there(lab: FsLab) -> None:
    calls = {(await lab.call(topology)).uniqueid for topology in TOPOLOGIES}
    async with asyncio.timeout(5):
        while not calls <= set(await lab.channels()):  # noqa: ASYNC110 - a late table
            await asyncio.sleep(0.1)
    async with followed(lab.service()) as follower:
        assert {call.channels.caller_id for call in follower.live().values()} == calls


async def accepted(ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """Asks until the leg is ready: the browser and the worker share a busy machine with other tests."""
    async with asyncio.timeout(30):
        while (reply := await ask()).slug == "leg-not-ready":  # noqa: ASYNC110 - told to the panel only
            await asyncio.sleep(0.3)
        return reply


@pytest.mark.timeout(180)
async def test_service_and_workers_are_killed_and_the_ai_is_back(lab: FsLab) -> None:
    """The whole path is real: browser side, worker, SIP leg, service, FreeSWITCH."""
    pbx = {
        "kind": "freeswitch",
        "port": lab.pbx.ports.esl,
        "secret": lab.pbx.password,
        "ais": [{"name": RULE[0], "match": RULE[1]}],
    }
    async with Server(pbx={"fs": pbx}) as server, fleet() as crew:
        agent = await crew.join(server.url, await server.add_user("anna"), server.password)
        made = await lab.call()
        identity = f"fs~{made.uniqueid}"
        await agent.seen(identity)
        reply = await accepted(lambda: agent.engage(identity))
        engagement = str(reply.expect(201)["id"])
        assert await back(made.caller.recording, reply.sent, AGENT_HZ) < BACK_S
        for mode in ("barge", "takeover"):
            (await accepted(lambda mode=mode: agent.switch(engagement, mode))).expect(200)  # type: ignore[misc]
        (await agent.release(engagement)).expect(204)
        since = time.monotonic()
        assert await back(made.caller.recording, since) < BACK_S
        reply = await accepted(lambda: agent.engage(identity))
        reply.expect(201)
        await back(made.caller.recording, reply.sent, AGENT_HZ)
        pids = [server.pid, *children(server.pid)]
        since = time.monotonic()
        for pid in pids:
            kill(pid)
        assert await back(made.caller.recording, since) < BACK_S
        await expect(made, WITHOUT_AGENT)
        report = made.caller.media.report(reply.sent, time.monotonic())
        assert (report.ssrc_changes, made.caller.reinvites) == (0, 0)
