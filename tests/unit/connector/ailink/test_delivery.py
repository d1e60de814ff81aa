"""Webhooks over real HTTP: at least once, in order, and nobody waits for a receiver that hangs."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.ailink import HEADER, Event, Hook, Links, delivery, keeping, verify
from connector.domain.calls import CallId
from connector.domain.errors import StoreUnavailable
from connector.ports import Undelivered

SECRET = "0123456789abcdef01234567"
KINDS = frozenset({"coach", "takeover.ended"})


@dataclass
class Receiver:
    """Somebody's server. `answers` are its next statuses, then 204; `hangs` until it is set."""

    url: str = ""
    got: list[tuple[dict[str, Any], bytes, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hangs: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got.append((json.loads(body), body, request.headers.get(HEADER, "")))
        if self.hangs is not None:
            await self.hangs.wait()
        status = self.answers.pop(0) if self.answers else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else {})

    @property
    def ids(self) -> list[str]:
        return [content["id"] for content, _, _ in self.got]


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", one.handle)
    async with TestServer(app) as server:
        one.url = str(server.make_url("/hook"))
        yield one


@dataclass
class Box:
    """Where events are kept, and the audit of those that were lost. `fault` makes both fail."""

    rows: dict[tuple[str, str], Undelivered] = field(default_factory=dict)
    acts: list[tuple[str, str | None, dict[str, str]]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    fault: bool = False

    async def change(self, added: Sequence[Undelivered], removed: Sequence[tuple[str, str]]) -> None:
        await asyncio.sleep(0)
        if self.fault:
            raise StoreUnavailable("the disk is full")
        for key in removed:
            self.rows.pop(key, None)
        self.rows |= {(one.hook, one.id): one for one in added}

    async def waiting(self) -> Sequence[Undelivered]:
        if self.fault:
            raise StoreUnavailable("the disk is full")
        return list(self.rows.values())

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        if self.fault:
            raise StoreUnavailable("the disk is full")
        self.acts.append((act, call, facts))
        return len(self.acts)

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        self.results.append(result)

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        raise NotImplementedError("no caller hangs on a webhook")


@asynccontextmanager
async def running(hooks: Sequence[Hook], box: Box | None = None, **more: Any) -> AsyncIterator[Links]:
    box = box or Box()
    links = Links(hooks, box, box, back_off_s=(0.01,), **more)
    task = asyncio.create_task(links.run())
    try:
        yield links
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def event(number: int, kind: str = "coach", ai: str = "bot", **more: Any) -> Event:
    return Event(f"e{number}", kind, "lab~1", ai, {"text": "é"}, **more)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for has no event that a test could have
            await asyncio.sleep(0.01)


def hook(one: Receiver, name: str = "a", **more: Any) -> Hook:
    return Hook(name, one.url, SECRET, **({"kinds": KINDS} | more))


async def test_an_event_arrives_signed_with_an_id() -> None:
    async with receiver() as one, running([hook(one)]) as links:
        links.send(event(1))
        await until(lambda: links.counts["a"].delivered == 1)
        content, body, header = one.got[0]
        assert content == {"id": "e1", "type": "coach", "call": "lab~1", "ai": "bot", "text": "é"}
        assert verify(SECRET, header, body, time.time())


async def test_what_fails_comes_again_with_the_same_id_and_in_order() -> None:
    async with receiver() as one, running([hook(one)]) as links:
        one.answers = [500, 429, 503]
        for number in (1, 2, 3):
            links.send(event(number))
        await until(lambda: links.counts["a"].delivered == 3)
        assert one.ids == ["e1"] * 4 + ["e2", "e3"]


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410])
async def test_a_refusal_is_final_and_no_redirect_is_followed(status: int) -> None:
    async with receiver() as one, running([hook(one)]) as links:
        one.answers = [status]
        links.send(event(1))
        links.send(event(2))
        await until(lambda: links.counts["a"].delivered == 1)
        assert one.ids == ["e1", "e2"]
        assert links.counts["a"].refused == 1


async def test_an_address_that_no_resolver_takes_ends_nothing() -> None:
    """The standard library's resolver raises a ``UnicodeError`` for such a name, which is no ``OSError``."""
    box, now = Box(), [1_000.0]
    bad = Hook("bad", "https://bot..example.com/x", kinds=frozenset({"coach"}))
    async with running([bad], box, clock=lambda: now[0]) as links:
        links.send(event(1))
        now[0] += delivery.GIVE_UP_S + 1
        await until(lambda: links.counts["bad"].given_up == 1)


async def test_a_receiver_that_hangs_delays_no_other_and_its_events_come_later() -> None:
    quick = aiohttp.ClientTimeout(total=0.2)
    async with (
        receiver() as slow,
        receiver() as good,
        running([hook(slow, "slow"), hook(good, "good")], timeout=quick) as links,
    ):
        slow.hangs = asyncio.Event()
        for number in (1, 2, 3):
            links.send(event(number))
        await until(lambda: good.ids == ["e1", "e2", "e3"])
        assert set(slow.ids) <= {"e1"}
        slow.hangs.set()
        await until(lambda: links.counts["slow"].delivered == 3)
        assert list(dict.fromkeys(slow.ids)) == ["e1", "e2", "e3"]


async def test_a_receiver_that_is_down_is_found_when_it_is_back() -> None:
    async with receiver() as one:
        async with TestServer(web.Application()) as server:
            port = server.port
        down = Hook("a", f"http://127.0.0.1:{port}/", SECRET, kinds=KINDS)
        async with running([down]) as links:
            links.send(event(1))
            await until(lambda: links.waiting("a") == 1)
            app = web.Application()
            app.router.add_post("/", one.handle)
            async with TestServer(app, port=port):
                await until(lambda: links.counts["a"].delivered == 1)
    assert one.ids == ["e1"]


async def test_an_old_event_is_given_up_aloud() -> None:
    clock, box = [0.0], Box()
    async with receiver() as one, running([hook(one)], box, clock=lambda: clock[0]) as links:
        one.answers = [500] * 1000
        links.send(event(1))
        await until(lambda: len(one.got) > 2)
        clock[0] = delivery.GIVE_UP_S + 1
        await until(lambda: links.counts["a"].given_up == 1)
        assert links.waiting("a") == 0
        await until(lambda: box.results == ["given-up"])
        facts = {"hook": "a", "event": "e1", "kind": "coach", "why": "answered 500"}
        assert box.acts == [("webhook", "lab~1", facts)]
        assert box.rows == {}


async def test_what_waits_when_the_service_stops_is_sent_by_the_next_one_with_the_same_id_and_in_order() -> None:
    box = Box()
    async with receiver() as one:
        one.hangs = asyncio.Event()
        async with running([hook(one)], box) as links:
            for number in (1, 2):
                links.send(event(number))
            await until(lambda: one.ids == ["e1"])
        assert [key[1] for key in box.rows] == ["e1", "e2"]
        one.hangs = None
        next_one = Links([hook(one)], box, box, back_off_s=(0.01,))
        next_one.send(event(3))  # before it runs, as an escalation that is restored may
        running_on = asyncio.create_task(next_one.run())
        await until(lambda: next_one.counts["a"].delivered == 3)
        assert one.ids == ["e1", "e1", "e2", "e3"]
        await until(lambda: not box.rows)
        running_on.cancel()
        await asyncio.wait([running_on])


async def test_an_event_that_cannot_be_read_stops_nothing_and_is_said_aloud() -> None:
    box = Box()
    for number, text in enumerate(("no json", "[]", '{"id": "1", "unknown": 2}')):
        box.rows["a", str(number)] = Undelivered("a", str(number), time.time(), text)
    async with receiver() as one, running([hook(one)], box) as links:
        links.send(event(9))
        await until(lambda: one.ids == ["e9"] and len(box.results) == 3)
        assert box.results == ["unreadable"] * 3
        assert {call for _, call, _ in box.acts} == {None}
        await until(lambda: box.rows == {})


async def test_what_was_delivered_is_not_kept() -> None:
    box = Box()
    async with receiver() as one, running([hook(one)], box) as links:
        for number in range(20):
            links.send(event(number))
        await until(lambda: links.counts["a"].delivered == 20)
    assert box.rows == {}


async def test_events_of_a_webhook_that_was_taken_out_of_the_settings_are_lost_aloud() -> None:
    box = Box()
    async with receiver() as one:
        one.hangs = asyncio.Event()
        async with running([hook(one)], box) as links:
            links.send(event(1))
            await until(lambda: len(box.rows) == 1)
    async with running([], box):
        await until(lambda: box.results == ["removed"])
    assert box.rows == {}


async def test_a_store_that_fails_delays_nothing_and_gets_it_when_it_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RETRY_S", 0.01)
    box = Box(fault=True)
    async with receiver() as one, receiver() as down, running([hook(one), hook(down, "b")], box) as links:
        down.hangs = asyncio.Event()
        for number in (1, 2):
            links.send(event(number))
        await until(lambda: links.counts["a"].delivered == 2)
        box.fault = False
        await until(lambda: list(box.rows) == [("b", "e1"), ("b", "e2")])


async def test_a_full_queue_loses_its_oldest_and_says_so() -> None:
    async with receiver() as one, running([hook(one)]) as links:
        one.hangs = asyncio.Event()
        for number in range(delivery.QUEUE + 5):
            links.send(event(number))
        assert links.waiting("a") == delivery.QUEUE
        assert links.counts["a"].dropped == 5


async def test_each_gets_what_it_asked_for_and_what_a_step_names_it_for() -> None:
    async with (
        receiver() as one,
        receiver() as other,
        running([hook(one, ai="bot"), hook(other, "chat", slack=True, kinds=frozenset())], panel="https://p") as links,
    ):
        links.send(event(1))
        links.send(event(2, ai="another"))
        links.send(event(3, "escalation.step"))
        links.send(event(4, "escalation.step", notify=("supervisors", "chat")))
        links.send(event(5, "takeover.ended"))
        await until(lambda: links.counts["a"].delivered == 2 and links.counts["chat"].delivered == 1)
        assert one.ids == ["e1", "e5"]
        (content, _, header), *rest = other.got
        assert "nobody has come" in content["text"]
        assert (rest, header) == ([], "")


async def test_addresses_and_secrets_do_not_show() -> None:
    shown = repr(Hook("a", "https://chat.example/T0/secret", SECRET))
    assert "chat.example" not in shown
    assert SECRET not in shown
