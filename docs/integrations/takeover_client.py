"""An AI's side of Takeover, in one file to copy: its API, its events, its signature, and the manners of a handback.

Needs aiohttp. `voice_bot.py` and `webhook_bot.py` use it; the rules are in README.md.
"""

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

Event = Mapping[str, Any]
RECONNECT_S = (0.2, 0.5, 1.0, 2.0, 5.0)


def verify(secret: str, header: str, body: bytes, now: float, tolerance_s: float = 300) -> bool:
    """Whether a webhook comes from Takeover: its `Takeover-Signature` is ``t=<seconds>,v1=<hex>``, the HMAC-SHA256 of
    ``<t>.<body>``. Compare over the raw body, before parsing it."""
    found = re.fullmatch(r"t=(\d{1,15}),v1=([0-9a-f]{64})", header)
    if found is None or abs(now - int(found[1])) > tolerance_s:
        return False
    wanted = hmac.new(secret.encode(), f"{found[1]}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(found[2], wanted)


class Takeover:
    """The API, with the token of one AI; an async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._turns = 0

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"}
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def find(self, ref: str) -> str | None:
        """The id of the live call whose `ai_ref` (see the dialplan's hook) is ours."""
        calls = await self._ask("GET", f"calls?ai_ref={quote(ref, safe='')}")
        return str(calls["calls"][0]["id"]) if calls["calls"] else None

    async def said(self, call: str, speaker: str, text: str, *, turn: str = "", final: bool = True) -> str:
        """Appends a turn to the call's transcript, or updates the one with the id `turn`; returns its id."""
        self._turns += 0 if turn else 1
        turn = turn or f"{int(time.time())}-{self._turns}"
        at = datetime.now(UTC).isoformat()
        body = {"turn": turn, "speaker": speaker, "text": text, "at": at, "final": final}
        await self._ask("POST", f"calls/{call}/transcript", body)
        return turn

    async def ask_human(self, call: str, reason: str, priority: str = "normal", deadline_s: float = 120) -> Event:
        """Asks for a person. The answer says which priority it got: an AI may have a ceiling."""
        body = {"reason": reason, "priority": priority, "deadline_s": deadline_s}
        return await self._ask("POST", f"calls/{call}/escalation", body)

    async def events(self) -> AsyncIterator[Event]:
        """Everything that is told to this AI, for ever. After each reconnection its live calls come again."""
        failures = 0
        while True:
            try:
                async with self._session.ws_connect(f"{self._url}/api/v1/events", heartbeat=5) as socket:
                    await socket.send_json({"type": "hello", "leg": None})
                    failures = 0
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            yield json.loads(message.data)
            except (aiohttp.ClientError, TimeoutError):
                pass  # the service restarts, or the network does
            await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
            failures += 1

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Event:
        async with self._session.request(method, f"{self._url}/api/v1/{path}", json=body) as answer:
            content: Event = await answer.json(content_type=None)
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {content.get('type')}: {content.get('detail')}")
            return content


@dataclass
class Dialogue:
    """What the bot says next. Here a list of questions; yours is a model, told the same three things:

    somebody else speaks now; you are back, and this is what was agreed meanwhile; a colleague whispers this to you.
    """

    greeting: str
    questions: Sequence[str]
    human: str = ""
    """Who speaks for the bot; empty while it speaks itself."""
    _asked: int = 0
    _greeted: bool = False
    _first: list[str] = field(default_factory=list)  # what has to be said before the next question

    def told(self, event: Event) -> None:
        """Takes an event of this call."""
        match event["type"]:
            case "takeover.started":
                self.human = event["agent"]
            case "takeover.ended":
                if self.human:  # the question that was interrupted, once more; told late, another one has been asked
                    self._asked = max(0, self._asked - 1)
                self.human = ""
                # Nobody is greeted twice: for the caller it is one conversation. Only where the event says so.
                self._greeted = not event.get("greet", False)
                self._first = [_sentence(f"{event['agent']} told me: {event['note']}")] if event["note"] else []
            case "coach":
                # A colleague's word may be followed; what callers said (`untrusted` in `human`) never is.
                self._first.append(_sentence(event["text"]))

    def next(self) -> str | None:
        """The next utterance; None while a person speaks, and when everything has been said."""
        if self.human or (self._asked >= len(self.questions) and not self._first):
            return None
        parts = [] if self._greeted else [self.greeting]
        parts += self._first
        if self._asked < len(self.questions):
            parts.append(self.questions[self._asked])
        self._asked += 1
        self._greeted, self._first = True, []
        return " ".join(parts)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


class Seen:
    """Ids of events that were taken: webhooks come at least once, so that some come twice."""

    def __init__(self, size: int = 1000, clock: Callable[[], float] = time.time) -> None:
        self._size, self._clock = size, clock
        self._ids: dict[str, float] = {}

    def first(self, id_: str) -> bool:
        """Whether it is new."""
        if id_ in self._ids:
            return False
        self._ids[id_] = self._clock()
        while len(self._ids) > self._size:
            del self._ids[next(iter(self._ids))]
        return True
