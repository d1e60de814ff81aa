"""An agent whose network changes in a takeover: the panel, the service, Asterisk and both voices are real."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from tests.support.hearing import first_heard
from tests.support.lab import LabCall
from tests.support.network import UdpForwarder
from tests.support.sound_path import address, detour, hidden
from web.demo.tones import AGENT_HZ, AI_HZ

from .panel_stub import CHROMIUM
from .test_desk import HEARD_S, House, banner, hears, house, on_duty, seated, silent

__all__ = ["house"]  # the fixture

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]

TRIES = 3
IN_TIME_S, BY_ITSELF_S = 1.0, 4.0
"""The new connection must stand within two seconds, or the PBX rightly gives the call back; on a busy machine another
takeover is tried. Whoever asks for it within the first of these is in time; who leaves it to the browser to find out
that the network is dead asks after the second."""


class Roads:
    """Each line of the browser goes to the worker through a network of its own."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.networks: list[UdpForwarder] = []
        self.legs: set[str] = set()
        self._stack = stack

    async def lead(self, route: Route) -> None:
        """Leads the line that is being asked for through a new network."""
        if route.request.method != "POST":
            await route.continue_()
            return
        wish: Any = route.request.post_data_json
        answer = await route.fetch(post_data={**wish, "sdp": hidden(wish["sdp"])})
        told = await answer.json()
        if answer.ok:
            host, port = address(told["sdp"])
            network = await self._stack.enter_async_context(UdpForwarder((host, port), host=host))
            self.networks.append(network)
            self.legs.add(told["leg"])
            told["sdp"] = detour(told["sdp"], network)
        await route.fulfill(response=answer, json=told)


async def agent_is_back(call: LabCall, cut: float) -> bool:
    """Whether the caller hears the agent again, and has not heard the AI since the cut."""
    since = time.monotonic()
    async with asyncio.timeout(HEARD_S):
        while first_heard(call.caller.recording, AGENT_HZ, since, time.monotonic()) is None:
            if call.caller.recording.trace(AI_HZ, cut, time.monotonic()).heard.any():
                return False
            await asyncio.sleep(0.1)
    return True


async def test_an_agent_whose_network_changes_keeps_the_call(house: House, toned: Browser) -> None:
    async with AsyncExitStack() as stack:
        roads = Roads(stack)
        page = await stack.enter_async_context(seated(house, toned))
        await page.route("**/api/v1/legs", roads.lead)
        await on_duty(page)
        took = []
        for _ in range(TRIES):
            call = await house.call()
            await page.locator(f'[data-testid="call-row"][data-call="{house.id(call)}"]').click()
            began = time.monotonic()
            await page.get_by_test_id("mode-takeover").click()
            await hears(call, AGENT_HZ, began)
            await silent(call, AI_HZ)
            lines, cut = len(roads.networks), time.monotonic()
            roads.networks[-1].cut = True
            async with asyncio.timeout(20):
                while len(roads.networks) == lines:  # noqa: ASYNC110  asked for by another process
                    await asyncio.sleep(0.05)
            took.append(time.monotonic() - cut)
            assert len(roads.legs) == 1, "another leg was made: the engagement of the old one is over"
            kept = await agent_is_back(call, cut)
            if kept:
                await banner(page, "live")
            await call.hangup()
            if kept:
                return
            await expect(page.get_by_test_id("duty-off")).to_be_visible()
        assert IN_TIME_S < min(took) < BY_ITSELF_S, f"the call was given back {TRIES} times; asked after {took} s"
