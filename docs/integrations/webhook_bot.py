"""A bot that is told by signed webhooks: for platforms that keep no socket open.

    TAKEOVER_URL=https://takeover.example.com TAKEOVER_TOKEN=... WEBHOOK_SECRET=... python webhook_bot.py

It holds the conversations of many calls by their `ai_ref`. The media are somebody else's: your platform calls
`caller_said` when its recogniser has a sentence, and gets what to say, or None while a person speaks.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable

from aiohttp import web
from takeover_client import Dialogue, Event, Seen, Takeover, verify

GREETING = "Hello, this is the automatic assistant."
QUESTIONS = ("How can I help you?", "Could you tell me your order number?", "Is there anything else?")
WANTS_A_PERSON = ("person", "human", "agent")


class WebhookBot:
    """Its conversations, and the route that Takeover calls."""

    def __init__(self, takeover: Takeover, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._takeover = takeover
        self._secret = secret
        self._clock = clock
        self._dialogues: dict[str, Dialogue] = {}
        self._seen = Seen()

    def dialogue(self, ref: str) -> Dialogue:
        """The conversation of one call."""
        return self._dialogues.setdefault(ref, Dialogue(GREETING, QUESTIONS))

    async def caller_said(self, ref: str, text: str) -> str | None:
        """The caller has said something (nothing at the beginning): what the bot says to it."""
        call = await self._takeover.find(ref)
        if call is None:
            return None  # over, or not up yet
        if text:
            await self._takeover.said(call, "caller", text)
        dialogue = self.dialogue(ref)
        if not dialogue.human and any(word in text.lower() for word in WANTS_A_PERSON):
            await self._takeover.ask_human(call, f"The caller asks for a person: {text[:100]}", "urgent")
        answer = dialogue.next()
        if answer is not None:
            await self._takeover.said(call, "ai", answer)
        return answer

    async def webhook(self, request: web.Request) -> web.Response:
        """The route. It answers at once: what takes long belongs behind it."""
        body = await request.read()
        if not verify(self._secret, request.headers.get("Takeover-Signature", ""), body, self._clock()):
            return web.Response(status=401)
        event: Event = json.loads(body)
        if self._seen.first(event["id"]) and event["type"] in ("takeover.started", "takeover.ended", "coach"):
            self.dialogue(event["ai_ref"]).told(event)
        return web.Response(status=204)

    def app(self) -> web.Application:
        """To be served where the settings' webhook points to."""
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_post("/takeover", self.webhook)
        return app


async def main() -> None:
    """Serves until it is interrupted."""
    async with Takeover(os.environ["TAKEOVER_URL"], os.environ["TAKEOVER_TOKEN"]) as takeover:
        runner = web.AppRunner(WebhookBot(takeover, os.environ["WEBHOOK_SECRET"]).app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 8090).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
