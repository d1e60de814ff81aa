"""The voice bot of docs/integrations on a real Asterisk, with the real service: a call from greeting to handback, and a
call for a person that nobody answers."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from takeover_client import Takeover
from voice_bot import GREETING, QUESTIONS, VoiceBot

from tests.support.agent import Agent
from tests.support.lab import Lab
from tests.support.server import Server
from web.demo.asterisk import Installation
from web.demo.sip import SipCall
from web.demo.tones import AGENT_HZ, CALLER_HZ
from web.demo.voice import Silence, Tone

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOT_HZ = 500
LADDER = [
    {"after_s": 1, "priority": "urgent", "notify": ["supervisors"]},
    {"after_s": 2, "after": "deadline", "transfer": "support"},
]


@dataclass
class Site:
    """A PBX with the bot on it, and the service."""

    lab: Lab
    server: Server
    port: int

    async def dialled(self) -> tuple[SipCall, str]:
        """A caller who was put through to the bot, and the call's id."""
        ref = str(uuid.uuid4())
        headers = {
            "X-Lab-Key": ref,
            "X-Lab-Dial": f"AudioSocket/127.0.0.1:{self.port}/{ref}/c(slin)",
            "X-Lab-Options": "g",
            "X-Lab-Hook": "default,sales,,",
        }
        began = self.lab.event("UserEvent", UserEvent="LabCall", Key=ref)
        caller = await self.lab.phone.call(
            f"sip:ai@{self.lab.pbx.ports.host}:{self.lab.pbx.ports.sip}", headers=headers
        )
        caller.media.source = Silence()
        call = f"lab~{(await began).get('Uniqueid')}"
        await self.known(call)
        return caller, call

    async def known(self, call: str) -> None:
        """Returns when the service has heard of the call: the PBX tells us as soon."""
        async with asyncio.timeout(15):
            while (await self.server.get(f"calls/{call}")).status == 404:  # noqa: ASYNC110 - as `until`
                await asyncio.sleep(0.05)

    async def said(self, call: str) -> list[str]:
        """What the bot has said, by its transcript."""
        turns = (await self.server.get(f"calls/{call}/transcript")).expect(200)["turns"]
        return [str(turn["text"]) for turn in turns if turn["speaker"] == "ai"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(installation: Installation) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(installation))
        ami = lab.pbx.ami
        bots: list[VoiceBot] = []
        listener = await asyncio.start_server(lambda r, w: bots[0].serve(r, w), "127.0.0.1", 0)
        await stack.enter_async_context(listener)
        port = int(listener.sockets[0].getsockname()[1])
        pbx: dict[str, Any] = {"host": ami.host, "port": ami.port, "username": ami.user, "secret": ami.secret}
        pbx |= {
            "ais": [{"name": "bot", "match": f"^AudioSocket/127.0.0.1:{port}/"}],
            "destinations": {"support": "lab-destination,s,1"},
        }
        server = Server(pbx={"lab": pbx}, more={"escalation": {"ladder": LADDER, "caller_digit": "0"}})
        await stack.enter_async_context(server)
        takeover = Takeover(server.url, await server.add_token("bot", role="ai", ai="bot"))
        bots.append(VoiceBot(await stack.enter_async_context(takeover)))
        following = asyncio.create_task(bots[0].follow())
        try:
            yield Site(lab, server, port)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def until(true: Callable[[], bool], within: float = 15) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - what is waited for has no event that a test could have
            await asyncio.sleep(0.05)


async def lines(site: Site, call: str, count: int) -> list[str]:
    """The bot's lines, as soon as there are so many."""
    async with asyncio.timeout(20):
        while True:
            said = await site.said(call)
            if len(said) >= count:
                return said
            await asyncio.sleep(0.1)


def hears(caller: SipCall, hz: int, since: float) -> bool:
    return caller.recording.trace(hz, since, time.monotonic()).first(since) is not None


async def test_the_bot_comes_back_with_the_note_and_without_a_greeting(site: Site) -> None:
    caller, call = await site.dialled()
    async with Agent(site.server.url, await site.server.add_user("anna"), site.server.password) as anna:
        await anna.on_duty()
        await anna.seen(call)
        begun = await lines(site, call, 1)
        assert begun[0] == f"{GREETING} {QUESTIONS[0]}"
        caller.media.source = Tone(CALLER_HZ)  # the caller answers
        await asyncio.sleep(0.6)
        caller.media.source = Silence()
        assert (await lines(site, call, len(begun) + 1))[-1] in QUESTIONS
        since = time.monotonic()
        engaged = (await anna.engage(call)).expect(201)
        await until(lambda: hears(caller, AGENT_HZ, since))
        before = await site.said(call)
        (await anna.release(engaged["id"], "the refund is approved")).expect(204)
        since = time.monotonic()
        after = await lines(site, call, len(before) + 1)
        assert after[len(before)].startswith("Anna told me: the refund is approved. ")
        assert after[len(before)].removeprefix("Anna told me: the refund is approved. ") in QUESTIONS
        assert sum(GREETING in line for line in after) == 1
        await until(lambda: hears(caller, BOT_HZ, since))
    await caller.hangup()
    await site.lab.no_channels()


async def test_a_call_for_a_person_that_nobody_answers_ends_at_the_fallback(site: Site) -> None:
    caller, call = await site.dialled()
    token = await site.server.add_token("platform", role="ai", ai="bot")
    await lines(site, call, 1)
    arrived = site.lab.event("UserEvent", UserEvent="LabDestination", Uid=call.partition("~")[2])
    body = {"reason": "upset", "priority": "normal", "deadline_s": 1}
    asked = await site.server.ask("POST", f"calls/{call}/escalation", token=token, **body)
    assert asked.expect(201)["step"] == 0
    await arrived
    acts = (await site.server.get(f"audit?call={call}")).expect(200)["audit"]
    steps = [row["facts"] for row in acts if row["act"] == "escalation-step"]
    assert {one["step"]: one.get("to") for one in steps} == {"1": None, "2": "support"}
    assert not caller.ended.is_set()
    await caller.hangup()
    await site.lab.no_channels()


async def test_a_caller_asks_for_a_person_with_a_digit(site: Site) -> None:
    caller, call = await site.dialled()
    await lines(site, call, 1)
    caller.media.send_dtmf("0")
    async with asyncio.timeout(15):
        while True:
            asked = (await site.server.get(f"calls/{call}")).expect(200)["escalation"]
            if asked is not None:
                break
            await asyncio.sleep(0.1)
    assert (asked["by"], asked["reason"]) == ("caller", "The caller pressed 0.")
    assert asked["deadline_at"] is None
    await caller.hangup()
    await site.lab.no_channels()
