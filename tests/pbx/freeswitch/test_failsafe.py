"""Whatever dies under a live takeover, FreeSWITCH itself puts it right: without the service where it says so."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from connector.domain.calls import Mode
from connector.domain.events import AgentGone, CallChanged
from connector.freeswitch import wire
from tests.contract.under_test import followed
from tests.support.agent import Reply
from tests.support.fleet import RemoteAgent, fleet
from tests.support.freeswitch import RULE, TOPOLOGIES, FsCall, FsLab, Instance
from tests.support.hearing import first_heard
from tests.support.processes import children
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
        for name in (endpoint.uuid, wire.pulse_of(endpoint.uuid)):
            await (await lab.agent(name)).media.stop()
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


async def test_an_administrator_who_ends_the_pulse_gives_the_call_back(lab: FsLab) -> None:
    pbx = lab.service()
    async with followed(pbx) as follower:
        made = await lab.call()
        told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == made.uniqueid)
        endpoint = lab.patch()
        await pbx.engage(told.call, endpoint, Mode.TAKEOVER)
        since = time.monotonic()
        assert await lab.api(f"uuid_kill {wire.pulse_of(endpoint.uuid)}") == "+OK"
        gone = await follower.event(AgentGone)
        assert (gone.patch, gone.why) == (endpoint.uuid, "hangup")
        assert await back(made.caller.recording, since) < BACK_S
        await expect(made, WITHOUT_AGENT)
        async with asyncio.timeout(5):
            while len(await lab.channels()) > 2:  # noqa: ASYNC110 - a late table
                await asyncio.sleep(0.05)


@asynccontextmanager
async def a_takeover(lab: FsLab) -> AsyncIterator[tuple[Server, FsCall, RemoteAgent, str]]:
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
        yield server, made, agent, await taken(made, agent, identity)


async def taken(made: FsCall, agent: RemoteAgent, identity: str) -> str:
    reply = await accepted(lambda: agent.engage(identity))
    engagement = str(reply.expect(201)["id"])
    assert await back(made.caller.recording, reply.sent, AGENT_HZ) < BACK_S
    return engagement


@pytest.mark.timeout(180)
@pytest.mark.parametrize("whom", ["service and workers", "workers"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_whoever_is_killed_or_frozen_the_ai_is_back(lab: FsLab, whom: str, how: signal.Signals) -> None:
    async with a_takeover(lab) as (server, made, _, _):
        started = time.monotonic()
        pids = [*([server.pid] if whom != "workers" else []), *children(server.pid)]
        since = time.monotonic()
        for pid in pids:
            os.kill(pid, how)
        try:
            assert await back(made.caller.recording, since) < BACK_S
            await expect(made, WITHOUT_AGENT)
            report = made.caller.media.report(started, time.monotonic())
            assert (report.ssrc_changes, made.caller.reinvites, made.caller.ended.is_set()) == (0, 0, False)
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(180)
async def test_modes_and_returns_on_the_whole_path(lab: FsLab) -> None:
    async with a_takeover(lab) as (_, made, agent, engagement):
        for mode in ("barge", "takeover"):
            (await accepted(lambda mode=mode: agent.switch(engagement, mode))).expect(200)  # type: ignore[misc]
        (await agent.release(engagement)).expect(204)
        assert await back(made.caller.recording, time.monotonic()) < BACK_S
        await taken(made, agent, f"fs~{made.uniqueid}")
