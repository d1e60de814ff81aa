"""An AI platform's side of Takeover: posts its transcript and follows its events through the public API only."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

BACK_OFF_S = (0.2, 0.5, 1.0, 2.0)
POSTS_WAITING = 200  # while the service restarts; a transcript older than that helps nobody
HEARTBEAT_S = 5.0

Event = Mapping[str, Any]
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Post:
    """One request that waits to be sent."""

    path: str
    body: Mapping[str, object]


@dataclass
class Platform:
    """One AI with its token. `run` does the work until it is cancelled; the rest only queues."""

    name: str
    base_url: str
    token: str
    progress: Callable[[str], None]
    on_event: Listener
    on_lost: Callable[[], None]
    """The events stopped: what the AI was told last may be wrong by now."""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    _posts: asyncio.Queue[Post] = field(default_factory=lambda: asyncio.Queue(POSTS_WAITING))
    _told: set[tuple[str, int]] = field(default_factory=set)

    def turn(self, call: str, turn: str, speaker: str, text: str, at: str, *, final: bool) -> None:
        """Appends a turn of the transcript, or updates the one with this id."""
        self._post(
            f"/calls/{call}/transcript", {"turn": turn, "speaker": speaker, "text": text, "at": at, "final": final}
        )

    def ask_human(self, call: str, reason: str) -> None:
        """Asks for a human."""
        self._post(f"/calls/{call}/escalation", {"reason": reason, "priority": "normal", "deadline_s": 120})

    def measured(self, call: str, heard_ms: float, gap_ms: float) -> None:
        """Tells what the caller of this call heard at a takeover."""
        self._post(f"/calls/{call}/measurement", {"heard_ms": heard_ms, "gap_ms": gap_ms})

    async def run(self) -> None:
        """Sends what is queued and follows the events, over any number of the service's lives."""
        headers = {"Authorization": f"Bearer {self.token}"}
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_posts(session), name=f"posts-{self.name}")
            tasks.create_task(self._follow(session), name=f"events-{self.name}")

    def _post(self, path: str, body: Mapping[str, object]) -> None:
        if self._posts.full():
            self._posts.get_nowait()  # the oldest: what is said now matters more
        self._posts.put_nowait(Post(path, body))

    async def _send_posts(self, session: aiohttp.ClientSession) -> None:
        """One at a time: turns keep their order."""
        while True:
            post = await self._posts.get()
            await self.connected.wait()
            try:
                async with session.post(f"{self.base_url}/api/v1{post.path}", json=post.body) as answer:
                    await self._answered(post, answer)
            except (aiohttp.ClientError, TimeoutError):
                continue  # the service went away; `_follow` says so, and a turn's next update carries its text

    async def _answered(self, post: Post, answer: aiohttp.ClientResponse) -> None:
        """Says once per kind of request what the service did not like. That a call is over is nothing to say."""
        kind = post.path.rpartition("/")[2]
        if answer.status < 400 or (kind, answer.status) in self._told:
            return
        text = await answer.text()
        over = answer.status == 410 or "call-unknown" in text  # also one that ended while the service was away
        not_built = kind == "escalation" and answer.status in (404, 405)
        if not over and not not_built:
            self._told.add((kind, answer.status))
            self.progress(f"{self.name}: the service refused a {kind}: {answer.status} {text[:300]}")

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        failures = 0
        while True:
            try:
                url = f"{self.base_url}/api/v1/events"
                async with session.ws_connect(url, heartbeat=HEARTBEAT_S) as socket:
                    await socket.send_json({"type": "hello", "leg": None})
                    failures = 0
                    self.connected.set()
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            self._dispatch(message.data)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if failures == len(BACK_OFF_S):
                    self.progress(f"{self.name}: no events from {self.base_url}: {error or type(error).__name__}")
            if self.connected.is_set():
                self.connected.clear()
                self.on_lost()
            failures += 1
            await asyncio.sleep(BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1])

    def _dispatch(self, text: str) -> None:
        with contextlib.suppress(json.JSONDecodeError):  # not ours to judge: what we cannot read changes nothing
            event = json.loads(text)
            if isinstance(event, dict):
                self.on_event(event)
