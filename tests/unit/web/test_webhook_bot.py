"""The generic webhook bot of docs/integrations against the web: signed events in, transcript and escalation out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import takeover_client
from aiohttp.test_utils import TestServer
from takeover_client import Dialogue, Takeover
from webhook_bot import GREETING, QUESTIONS, WebhookBot

from connector import ailink
from connector.domain.calls import CallId
from connector.domain.events import CallGone
from web import webhooks
from web.passwords import hash_secret
from web.settings import parse

from .house import House, until

SECRET = "0123456789abcdef0123456789abcdef"
REF = "6a9f2c1e-0000-4000-8000-000000000001"


@dataclass
class Joined:
    """A bot that is told by webhooks, and its call."""

    bot: WebhookBot
    url: str
    call: CallId
    links: ailink.Links

    async def told(self, count: int) -> None:
        await until(lambda: self.links.counts["bot"].delivered == count)

    async def turns(self, house: House) -> list[tuple[str, str]]:
        return [(turn.speaker, turn.text) for turn in await house.parts.transcripts.turns(self.call)]


@asynccontextmanager
async def joined(house: House) -> AsyncIterator[Joined]:
    await house.store.tokens.add("bot", "ai", "acme", hash_secret("its-token"))
    async with Takeover(house.url, "its-token") as takeover:
        bot = WebhookBot(takeover, SECRET)
        async with TestServer(bot.app()) as server:
            url = str(server.make_url("/takeover"))
            text = f"""
pbx: {{lab: {{kind: asterisk, username: u, secret: s, ais: [{{name: acme, match: ^PJSIP/acme-}}]}}}}
webhooks: {{bot: {{url: "{url}", secret: {SECRET}, ai: acme}}}}
"""
            links = webhooks.links(parse(text, variables={}), house.registry, house.store.outbox, house.parts.journal)
            running = asyncio.create_task(links.run())
            try:
                yield Joined(bot, url, house.call("1", ref=REF), links)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running


async def test_after_a_handback_the_bot_uses_the_note_and_does_not_greet_again(house: House) -> None:
    anna = await house.person("anna")
    async with joined(house) as at:
        assert await at.bot.caller_said(REF, "") == f"{GREETING} {QUESTIONS[0]}"
        assert await at.bot.caller_said(REF, "Where is my refund?") == QUESTIONS[1]
        engaged = await anna.ask("POST", f"calls/{at.call}/engagements", {"mode": "takeover", "leg": await anna.leg()})
        await at.told(1)
        assert await at.bot.caller_said(REF, "Oh, a real person!") is None, "it is silent while a person speaks"
        note = {"note": "the refund is approved", "outcome": "solved"}
        await anna.ask("POST", f"engagements/{engaged.body['id']}/release", note)
        await at.told(2)
        answer = await at.bot.caller_said(REF, "Thank you.")
        assert answer == f"Anna told me: the refund is approved. {QUESTIONS[1]}"
        spoken = [text for speaker, text in await at.turns(house) if speaker == "ai"]
        assert spoken[-1] == answer
        assert sum(GREETING in text for text in spoken) == 1


async def test_the_bot_follows_a_coach_and_asks_for_a_person(house: House) -> None:
    anna = await house.person("anna")
    async with joined(house) as at:
        await at.bot.caller_said(REF, "")
        await anna.ask("POST", f"calls/{at.call}/coach", {"text": "the shop is closed on Monday"})
        await at.told(1)
        answer = await at.bot.caller_said(REF, "Can I talk to a person?")
        assert answer == f"the shop is closed on Monday. {QUESTIONS[1]}"
        asked = (await anna.ask("GET", f"calls/{at.call}")).body["escalation"]
        assert (asked["priority"], asked["by"]) == ("urgent", "bot")
        await at.told(2)  # escalation.raised
        house.registry.apply(CallGone(at.call, "hangup"))
        assert await at.bot.caller_said(REF, "Hello?") is None


async def test_the_bot_believes_only_what_is_signed_and_takes_it_once(house: House) -> None:
    async with joined(house) as at, aiohttp.ClientSession() as stranger:
        body = b'{"id":"1","type":"takeover.started","agent":"Mallory","ai_ref":"' + REF.encode() + b'"}'
        now = int(time.time())
        for header in ("", ailink.sign("another secret of 24 characters", body, now), ailink.sign(SECRET, body, 1)):
            async with stranger.post(at.url, data=body, headers={ailink.HEADER: header}) as answer:
                assert answer.status == 401
        assert at.bot.dialogue(REF).human == ""
        coach = b'{"id":"2","type":"coach","text":"once","ai_ref":"' + REF.encode() + b'"}'
        for _ in range(2):
            async with stranger.post(at.url, data=coach, headers={ailink.HEADER: ailink.sign(SECRET, coach, now)}) as a:
                assert a.status == 204
        assert at.bot.dialogue(REF).next() == f"{GREETING} once. {QUESTIONS[0]}"


def test_the_bots_own_check_agrees_with_the_service() -> None:
    header = ailink.sign(SECRET, b"body", 1000)
    assert takeover_client.verify(SECRET, header, b"body", 1000)
    assert not takeover_client.verify(SECRET, header, b"bodY", 1000)
    assert not takeover_client.verify(SECRET, header, b"body", 1301)


def test_where_the_settings_say_so_the_bot_greets_again() -> None:
    dialogue = Dialogue("Hello.", ["One?", "Two?"])
    assert dialogue.next() == "Hello. One?"
    dialogue.told({"type": "takeover.started", "agent": "Anna"})
    assert dialogue.next() is None
    dialogue.told({"type": "takeover.ended", "agent": "Anna", "note": "", "greet": True})
    assert dialogue.next() == "Hello. One?"


def test_of_a_takeover_that_the_bot_never_heard_of_it_takes_the_note_and_repeats_no_question() -> None:
    dialogue = Dialogue("Hello.", ["One?", "Two?"])
    assert dialogue.next() == "Hello. One?"
    dialogue.told({"type": "takeover.ended", "agent": "Anna", "note": "it is paid"})
    assert dialogue.next() == "Anna told me: it is paid. Two?"
