"""An Asterisk and a FreeSWITCH behind one service: what happens to one is nothing to the calls of the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.agent import Agent, Json
from tests.support.exchange import ExchangeCall
from tests.support.freeswitch import NEEDED, RULE, FsLab, Instance, home
from tests.support.lab import Lab, expect
from tests.support.server import Server
from web.demo.asterisk import Installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

WITHIN_S = 20.0
"""A bound for what comes when it comes; nothing waits that long unless something is wrong."""


@dataclass
class House:
    """Both PBXs with their people, and the one service."""

    asterisk: Lab
    freeswitch: FsLab
    switch: Instance
    server: Server

    async def calls(self, down: str) -> tuple[ExchangeCall, ExchangeCall]:
        """A call on the PBX that will go down, and one on the other."""
        on_asterisk, on_freeswitch = await self.asterisk.call("T1"), await self.freeswitch.call()
        return (on_asterisk, on_freeswitch) if down == "asterisk" else (on_freeswitch, on_asterisk)

    async def kill(self, pbx: str) -> None:
        if pbx == "asterisk":
            await self.asterisk.pbx.kill()
        else:
            self.switch.kill()

    async def start(self, pbx: str) -> None:
        await (self.asterisk if pbx == "asterisk" else self.freeswitch).restart()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(installation: Installation) -> AsyncIterator[House]:
    prefix = home()
    if prefix is None:
        pytest.skip(NEEDED)
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(installation))
        switch = await stack.enter_async_context(Instance(prefix))
        other = await stack.enter_async_context(FsLab(switch))
        ami = lab.pbx.ami
        pbx = {
            "asterisk": {"host": ami.host, "port": ami.port, "username": ami.user, "secret": ami.secret},
            "freeswitch": {
                "kind": "freeswitch",
                "port": switch.ports.esl,
                "secret": switch.password,
                "ais": [{"name": RULE[0], "match": RULE[1]}],
            },
        }
        yield House(lab, other, switch, await stack.enter_async_context(Server(pbx=pbx)))


def told(pbx: str, up: bool) -> Callable[[Json], bool]:
    """Whether a change says this of a PBX."""
    return lambda change: change.get("kind") == "pbx" and change["pbx"]["name"] == pbx and change["pbx"]["up"] is up


@pytest.mark.parametrize("down", ["asterisk", "freeswitch"])
async def test_one_is_killed_and_the_takeover_on_the_other_goes_on(house: House, down: str) -> None:
    other = "freeswitch" if down == "asterisk" else "asterisk"
    lost, kept = await house.calls(down)
    lost_id, kept_id = f"{down}~{lost.uniqueid}", f"{other}~{kept.uniqueid}"
    server = house.server
    async with Agent(server.url, await server.add_user("anna"), server.password) as anna:
        await anna.on_duty()
        await anna.seen(lost_id)
        await anna.seen(kept_id)
        engagement = (await anna.engage(kept_id)).expect(201)["id"]
        await expect(kept.caller.recording, {"agent"}, within=WITHIN_S)

        gone = anna.when(told(down, up=False), timeout=WITHIN_S)
        since = time.monotonic()
        await house.kill(down)
        assert (await gone)["pbx"]["why"]
        refused = await server.ask("POST", f"calls/{lost_id}/hangup")
        assert (refused.status, refused.slug) == (503, "pbx-unavailable")
        assert down in str(refused.body), "the answer names which one is gone"
        await expect(kept.caller.recording, {"agent"}, within=WITHIN_S)
        assert engagement not in anna.ended

        back = anna.when(told(down, up=True), timeout=WITHIN_S)
        await house.start(down)
        await back
        async with asyncio.timeout(WITHIN_S):
            while lost_id in anna.calls:  # noqa: ASYNC110 - told by an event, as a fact that stays
                await asyncio.sleep(0.05)
        again, _ = await house.calls(down)
        await anna.seen(f"{down}~{again.uniqueid}")
        (await anna.release(engagement)).expect(204)
        await expect(kept.caller.recording, {"ai"}, within=WITHIN_S)
        report = kept.caller.media.report(since, time.monotonic())
        assert (report.lost, report.ssrc_changes, kept.caller.reinvites) == (0, 0, 0)
    for phone in (house.asterisk.phone, house.freeswitch.phone):
        await asyncio.gather(*(call.hangup() for call in list(phone.calls.values())))
