"""Nobody can ask faster than the house can answer, and nobody's way out is ever closed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.web.house import House, until, until_closed
from web import app
from web import socket as events
from web.routing import Limits
from web.throttle import Attempts, Bucket, Buckets


@pytest_asyncio.fixture
async def strict(tmp_path: Path) -> AsyncIterator[House]:
    """A house that hears each person three times, and an AI five times."""
    async with House(tmp_path) as house:
        limits = Limits(per_second=0.001, burst=3, ai_per_second=0.001, ai_burst=5)
        server = TestServer(app.build(replace(house.parts, limits=limits)))
        async with server:
            house.url = str(server.make_url("")).rstrip("/")
            yield house


async def test_who_asks_too_often_is_told_when_to_come_back(strict: House) -> None:
    anna, ben = await strict.person("anna"), await strict.person("ben")
    assert [(await anna.ask("GET", "calls")).status for _ in range(5)] == [200, 200, 200, 429, 429]
    answer = await anna.ask("GET", "calls")
    assert (answer.slug, answer.headers["Content-Type"]) == ("too-many-requests", "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 1
    assert (await ben.ask("GET", "calls")).status == 200


async def test_two_browsers_of_one_person_share_the_limit(strict: House) -> None:
    first, second = await strict.person("anna"), await strict.person("anna")
    assert [(await one.ask("GET", "calls")).status for one in (first, second, first, second)] == [200, 200, 200, 429]


async def test_an_ai_may_say_its_turns_more_often(strict: House) -> None:
    ai, call = await strict.machine("bot", "ai", "acme"), strict.call()
    turn = {"turn": "1", "speaker": "ai", "text": "Hello", "at": "2026-01-02T03:04:05Z", "final": False}
    said = [(await ai.ask("POST", f"calls/{call}/transcript", turn)).status for _ in range(6)]
    assert said == [200] * 5 + [429]


async def test_what_is_on_record_an_ai_may_not_ask_more_often(strict: House) -> None:
    ai, call = await strict.machine("bot", "ai", "acme"), strict.call()
    asked = [(await ai.ask("POST", f"calls/{call}/escalation", {"reason": "help"})).status for _ in range(4)]
    assert asked == [201] * 3 + [429]


async def test_a_way_out_is_never_refused(strict: House) -> None:
    anna = await strict.person("anna")
    call, leg = strict.call(), await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    assert [(await anna.ask("GET", "calls")).status for _ in range(2)] == [200, 429]
    assert (await anna.ask("POST", f"engagements/{made.body['id']}/release")).status == 204
    assert (await anna.ask("DELETE", f"legs/{leg}")).status == 204
    assert (await anna.ask("DELETE", "session")).status == 204


async def test_unknown_secrets_are_counted_per_address(house: House) -> None:
    house.guard._guesses = Buckets(rate=0.001, burst=2)
    known = await house.person("anna")
    guesser = await house.visitor(Authorization="Bearer guess")
    assert [(await guesser.ask("GET", "calls")).status for _ in range(3)] == [401, 401, 429]
    assert (await known.ask("GET", "session")).status == 200


async def test_a_socket_that_talks_too_much_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_MESSAGES", (0.001, 5.0))
    anna = await house.person("anna")
    socket = await anna.events()
    for _ in range(10):
        await socket.send_json({"type": "resume", "rev": 0})
    said, code = await until_closed(socket)
    assert "urn:takeover:too-many-requests" in said[-1]
    assert code == 4429


async def test_one_person_opens_so_many_sockets_and_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_SOCKETS", 2)
    anna, ben = await house.person("anna"), await house.person("ben")
    sockets = [await anna.events(), await anna.events()]
    await until(lambda: len(house.hub) == 2)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await anna.events()
    assert refused.value.status == 503
    sockets.append(await ben.events())
    await sockets[0].close()
    await until(lambda: len(house.hub) == 2)
    sockets.append(await anna.events())


async def test_nor_many_at_the_same_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket counts from when it is asked for, not from when its handshake is through."""
    monkeypatch.setattr(events, "_SOCKETS", 2)
    prepare, asked = aiohttp.web.WebSocketResponse.prepare, asyncio.Event()

    async def slowly(self: aiohttp.web.WebSocketResponse, request: aiohttp.web.BaseRequest) -> Any:
        await asked.wait()
        return await prepare(self, request)

    monkeypatch.setattr(aiohttp.web.WebSocketResponse, "prepare", slowly)
    anna = await house.person("anna")
    opening = [asyncio.create_task(anna.events()) for _ in range(5)]
    await until(lambda: sum(one.done() for one in opening) == 3)  # refused while the others are still on their way
    asked.set()
    answers = await asyncio.gather(*opening, return_exceptions=True)
    assert sum(isinstance(answer, aiohttp.WSServerHandshakeError) for answer in answers) == 3
    del answers
    opening.clear()
    await until(lambda: len(house.hub) == 0)  # whoever goes counts no more


@given(st.lists(st.floats(0, 2), max_size=100))
def test_a_bucket_lets_through_its_rate_and_its_burst(pauses: list[float]) -> None:
    bucket, now, passed = Bucket(rate=2, burst=5), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        passed += wait == 0
        assert wait >= 0
    assert passed <= 5 + 2 * now + 1e-6


def test_waiting_as_long_as_told_is_enough() -> None:
    bucket: Any = Bucket(rate=3, burst=2)
    assert [bucket.take(0.0), bucket.take(0.0)] == [0, 0]
    wait = bucket.take(0.0)
    assert bucket.take(wait + 1e-9) == 0


def test_buckets_forget_the_longest_untouched() -> None:
    buckets = Buckets(rate=1, burst=1)
    for number in range(20_000):
        buckets.take(str(number), 0.0)
    assert len(buckets._known) == 10_000


def test_ones_own_log_ins_do_not_buy_guesses_at_others() -> None:
    """Whoever has an account of the house, or one address with its people, could try a few common passwords on every
    other account: each log-in that succeeded made the address new again."""
    attempts, guessed = Attempts(), 0
    for number in range(2_000):
        if attempts.take(f"colleague-{number}", "203.0.113.7", now=number / 1_000) == 0:
            guessed += 1
        if attempts.take("mallory", "203.0.113.7", now=number / 1_000) == 0:
            attempts.succeeded("mallory", "203.0.113.7")
    assert guessed == 100
    assert attempts.take("anna", "203.0.113.8", now=2) == 0


def test_an_office_logs_in_at_nine() -> None:
    """Hundreds behind one address, some of whom mistype."""
    attempts = Attempts()
    for number in range(400):
        now = number * 0.1
        if number % 5 == 0:
            assert attempts.take(f"agent-{number}", "203.0.113.7", now) == 0
        assert attempts.take(f"agent-{number}", "203.0.113.7", now) == 0
        attempts.succeeded(f"agent-{number}", "203.0.113.7")


def test_guesses_at_one_account_wait_longer_and_longer() -> None:
    attempts = Attempts()
    waits = [attempts.take("anna", "203.0.113.7", 0.0) for _ in range(6)]
    assert waits == [0, 0, 0, 0, 0, 1]
    attempts.succeeded("anna", "203.0.113.7")
    assert attempts.take("anna", "203.0.113.7", 0.0) == 0
