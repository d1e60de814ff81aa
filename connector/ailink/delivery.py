"""The way of an event to its receivers. Each has a queue and a task of its own: one that hangs delays no other.

At least once and in order, over a restart of the service too: an event is sent again, with the same id, until it is
taken, refused for good (a 4xx that no waiting cures), or older than `GIVE_UP_S`. A queue holds `QUEUE` events; then the
oldest goes. Each one that is lost is in the log, the audit and the metrics.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import aiohttp
import structlog

from ..domain.calls import CallId
from ..ports import EventKeeper, Journal, Undelivered
from . import slack
from .keeping import Keeping
from .signature import HEADER, sign

log = structlog.get_logger(__name__)

QUEUE = 1_000
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
GIVE_UP_S = 900.0
"""What an AI is told a quarter of an hour late helps no caller."""
CURABLE = frozenset({408, 421, 425, 429})
"""4xx that may be different next time."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `data` is ready for JSON; `notify` names hooks that get it whatever they have asked for."""

    id: str
    kind: str
    call: str
    ai: str
    data: Mapping[str, object]
    notify: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Hook:
    """A receiver. `url` and `secret` come from the settings only."""

    name: str
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    slack: bool = False
    ai: str = ""
    """Only of this AI's calls; empty: of all."""
    kinds: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        """Whether it is to get the event."""
        return event.ai == (self.ai or event.ai) and (event.kind in self.kinds or self.name in event.notify)


@dataclass(slots=True)
class Counts:
    """What became of a hook's events."""

    delivered: int = 0
    refused: int = 0
    given_up: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class _Line:
    """A hook with what waits for it."""

    hook: Hook
    waiting: deque[tuple[Undelivered, Event]] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counts = field(default_factory=Counts)


class Links:
    """All hooks. `send` only queues; `run` delivers until it is cancelled."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        keeper: EventKeeper,
        journal: Journal,
        *,
        panel: str = "",
        back_off_s: Sequence[float] = BACK_OFF_S,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`panel` is the panel's address for chat rooms; the rest is for tests."""
        self._lines = [_Line(hook) for hook in hooks]
        self._keeping = Keeping(keeper, journal)
        self._panel = panel
        self._back_off = back_off_s
        self._timeout = timeout
        self._clock = clock

    @property
    def counts(self) -> Mapping[str, Counts]:
        """By the hooks' names."""
        return {line.hook.name: line.counts for line in self._lines}

    def waiting(self, name: str) -> int:
        """How many events a hook has not got yet."""
        return sum(len(line.waiting) for line in self._lines if line.hook.name == name)

    def send(self, event: Event) -> None:
        """Puts the event in line wherever it is wanted."""
        for line in self._lines:
            if line.hook.wants(event):
                kept = Undelivered(line.hook.name, event.id, self._clock(), json.dumps(asdict(event)))
                line.waiting.append((kept, event))
                self._keeping.add(kept)
                self._make_room(line)
                line.wake.set()

    async def run(self) -> None:
        """Delivers what was left by the last run and what comes, over one client session."""
        await self._restore()
        session = aiohttp.ClientSession(
            timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "takeover"}
        )
        async with session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keeping.run(), name="webhooks-kept")
            for line in self._lines:
                tasks.create_task(self._deliver(session, line), name=f"webhook-{line.hook.name}")
            await asyncio.get_running_loop().create_future()

    async def _restore(self) -> None:
        """Puts what was kept in front of what has come meanwhile."""
        old: dict[str, list[tuple[Undelivered, Event]]] = {line.hook.name: [] for line in self._lines}
        for kept in await self._keeping.kept():
            try:
                event = Event(**json.loads(kept.event))
            except (TypeError, ValueError) as error:  # another version's, or damaged: it must not stop the service
                unread = Event(kept.id, "unreadable", "", "", {})
                self._lose(kept, unread, "unreadable", f"it cannot be read ({type(error).__name__})")
                continue
            if kept.hook in old:
                old[kept.hook].append((kept, event))
            else:
                self._lose(kept, event, "removed", "the settings have no such webhook any more")
        for line in self._lines:
            line.waiting.extendleft(reversed(old[line.hook.name]))
            self._make_room(line)
            if line.waiting:
                log.info("webhook.restored", hook=line.hook.name, events=len(old[line.hook.name]))
                line.wake.set()

    def _make_room(self, line: _Line) -> None:
        while len(line.waiting) > QUEUE:
            kept, event = line.waiting.popleft()
            line.counts.dropped += 1
            self._lose(kept, event, "overflow", f"{QUEUE} newer ones wait")

    def _lose(self, kept: Undelivered, event: Event, result: str, why: str) -> None:
        self._keeping.lose(kept, CallId(event.call) if event.call else None, event.kind, result, why)

    async def _deliver(self, session: aiohttp.ClientSession, line: _Line) -> None:
        while True:
            await line.wake.wait()
            line.wake.clear()
            while line.waiting:
                kept, event = line.waiting[0]
                await self._one(session, line, kept, event)
                if line.waiting and line.waiting[0][0] is kept:  # else it was pushed out meanwhile
                    line.waiting.popleft()

    async def _one(self, session: aiohttp.ClientSession, line: _Line, kept: Undelivered, event: Event) -> None:
        """Tries until the event is taken, refused for good, or too old."""
        failures = 0
        while True:
            why = await self._attempt(session, line.hook, event)
            if why is None:
                line.counts.delivered += 1
                self._keeping.remove(kept)
                return
            if why.startswith("refused"):
                line.counts.refused += 1
                self._lose(kept, event, "refused", why)
                return
            if self._clock() - kept.at > GIVE_UP_S:
                line.counts.given_up += 1
                self._lose(kept, event, "given-up", why)
                return
            if failures == 0:
                log.warning("webhook.failed", hook=line.hook.name, id=event.id, why=why)
            await asyncio.sleep(self._back_off[min(failures, len(self._back_off) - 1)])
            failures += 1

    async def _attempt(self, session: aiohttp.ClientSession, hook: Hook, event: Event) -> str | None:
        """None when the receiver has taken it, else why not; `refused` when trying again helps nobody."""
        body, headers = self._written(hook, event)
        try:
            async with session.post(hook.url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:  # the last for "a..b", by resolvers
            return type(error).__name__  # without its words: they hold the address, which may be a secret
        if 200 <= status < 300:
            return None
        if 300 <= status < 500 and status not in CURABLE:
            return f"refused with {status}"
        return f"answered {status}"

    def _written(self, hook: Hook, event: Event) -> tuple[bytes, dict[str, str]]:
        """Body and headers, signed as of now."""
        headers = {"Content-Type": "application/json"}
        if hook.slack:
            return json.dumps(slack.message(event.kind, event.ai, event.data, self._panel)).encode(), headers
        content = {"id": event.id, "type": event.kind, "call": event.call, "ai": event.ai, **event.data}
        body = json.dumps(content, ensure_ascii=False).encode()
        headers[HEADER] = sign(hook.secret, body, int(self._clock()))
        return body, headers
