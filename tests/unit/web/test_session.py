"""Logging in and out, and what must not work."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connector.domain.calls import Mode, Phase
from connector.domain.errors import StoreUnavailable
from connector.store import Store
from connector.store.accounts import Accounts
from connector.store.sessions import Sessions
from tests.unit.web.house import PASSWORD, House, until, until_closed
from web.auth import Principal
from web.passwords import hash_password

LOGIN = {"username": "anna", "password": PASSWORD}


async def test_login_tells_who_one_is_and_sets_a_guarded_cookie(house: House) -> None:
    await house.account("anna", "supervisor")
    visitor = await house.visitor()
    answer = await visitor.ask("POST", "session", LOGIN)
    assert (answer.status, answer.body["name"], answer.body["role"]) == (200, "Anna", "supervisor")
    assert "override" in answer.body["may"]
    assert answer.body["destinations"] == {"lab": ["support"]}
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie  # plain http, where a Secure cookie would not come back
    assert (await visitor.ask("GET", "session")).body["name"] == "Anna"


async def test_by_https_the_cookie_is_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    async with House(tmp_path, https=True) as house:
        await house.account("anna")
        answer = await (await house.visitor()).ask("POST", "session", LOGIN)
        assert answer.status == 200
        assert answer.headers["Set-Cookie"].startswith("__Host-takeover=")
        assert "Secure" in answer.headers["Set-Cookie"]
        assert "max-age" in answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("username", ["anna", "nobody"])
async def test_a_wrong_password_and_an_unknown_name_read_the_same(house: House, username: str) -> None:
    await house.account("anna")
    answer = await (await house.visitor()).ask("POST", "session", {"username": username, "password": "wrong"})
    assert (answer.status, answer.slug) == (401, "not-logged-in")
    assert answer.body["detail"] == "The name or the password is wrong."


async def test_login_makes_a_fresh_session_whatever_cookie_came_along(house: House) -> None:
    await house.account("anna")
    planted = await house.visitor(Cookie="takeover=planted-by-somebody")
    answer = await planted.ask("POST", "session", LOGIN)
    assert answer.status == 200
    assert "planted-by-somebody" not in answer.headers["Set-Cookie"]
    attacker = await house.visitor(Cookie="takeover=planted-by-somebody")
    assert (await attacker.ask("GET", "session")).status == 401


async def test_a_second_login_ends_the_browsers_first_session(house: House) -> None:
    await house.account("anna")
    visitor = await house.visitor()
    first = (await visitor.ask("POST", "session", LOGIN)).headers["Set-Cookie"].split(";")[0]
    await visitor.ask("POST", "session", LOGIN)
    assert (await (await house.visitor(Cookie=first)).ask("GET", "session")).status == 401
    assert (await visitor.ask("GET", "session")).status == 200


async def test_failed_logins_wait_longer_and_longer_per_account_and_address(house: House) -> None:
    await house.account("anna")
    await house.account("ben")
    visitor = await house.visitor()
    wrong = {"username": "anna", "password": "wrong"}
    assert [(await visitor.ask("POST", "session", wrong)).status for _ in range(6)] == [401] * 5 + [429]
    answer = await visitor.ask("POST", "session", LOGIN)
    assert (answer.status, answer.slug, answer.headers["Retry-After"]) == (429, "too-many-attempts", "1")
    assert answer.body["detail"] == "Too many failed attempts. Try again in 1 s."
    assert (await visitor.ask("POST", "session", {"username": "ben", "password": PASSWORD})).status == 200
    house.now += 1
    assert (await visitor.ask("POST", "session", LOGIN)).status == 200


async def test_parallel_guesses_are_counted_too(house: House) -> None:
    await house.account("anna")
    visitor = await house.visitor()
    wrong = {"username": "anna", "password": "wrong"}
    answers = await asyncio.gather(*(visitor.ask("POST", "session", wrong) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [401] * 5 + [429] * 7


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({}, 200),
    ],
)
async def test_unsafe_requests_with_a_cookie_come_from_our_own_pages(
    house: House, headers: dict[str, str], status: int
) -> None:
    anna = await house.person("anna")
    answer = await anna.ask("PUT", "session/duty", {"on": True}, headers=headers)
    assert answer.status == status
    if status == 403:
        assert answer.slug == "not-allowed"
    assert (await anna.ask("GET", "session", headers=headers)).status == 200  # reading is safe


async def test_login_from_a_foreign_page_is_refused(house: House) -> None:
    await house.account("anna")
    visitor = await house.visitor(Origin="https://evil.example")
    assert (await visitor.ask("POST", "session", LOGIN)).status == 403


async def test_a_foreign_page_cannot_open_the_events(house: House) -> None:
    anna = await house.person("anna")
    for origin in ("https://evil.example", "null", ""):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await anna.client.ws_connect(f"{house.url}/api/v1/events", headers={"Origin": origin})
        assert refused.value.status == 403


async def test_tokens_need_no_origin(house: House) -> None:
    machine = await house.machine("bench", "agent")
    assert (await machine.ask("PUT", "session/duty", {"on": True})).status == 200


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", "bearer\twrong"])
async def test_wrong_authorization_headers(house: House, header: str) -> None:
    visitor = await house.visitor(Authorization=header)
    answer = await visitor.ask("GET", "calls")
    assert (answer.status, answer.slug) == (401, "not-logged-in")


async def test_a_wrong_token_does_not_fall_back_to_the_cookie(house: House) -> None:
    anna = await house.person("anna")
    assert (await anna.ask("GET", "session", headers={"Authorization": "Bearer wrong"})).status == 401


async def test_logout_gives_the_call_back_and_closes_leg_and_sockets(house: House) -> None:
    anna = await house.person("anna")
    call, leg = house.call(), await anna.leg()
    socket = await anna.events(leg)
    colleague = await (await house.person("ben")).events()
    assert (await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})).status == 201
    assert (await anna.ask("DELETE", "session")).status == 204
    await until(lambda: not house.registry.engagements())
    assert house.legs.open == {}
    assert (await until_closed(socket))[1] == 4401
    async with asyncio.timeout(5):
        while '"ended":"logout"' not in str((await colleague.receive()).data):
            pass
    assert (await anna.ask("GET", "session")).status == 401


async def test_one_time_links_work_once(house: House) -> None:
    await house.account("anna")
    visitor = await house.visitor()
    link = house.guard.link("anna")
    answer = await visitor.ask("GET", f"/login?once={link}")
    assert answer.status == 200
    assert (await visitor.ask("GET", "session")).body["name"] == "Anna"
    again = await (await house.visitor()).ask("GET", f"/login?once={link}")
    assert (again.status, again.slug) == (401, "not-logged-in")


async def test_one_time_links_expire(house: House) -> None:
    await house.account("anna")
    link = house.guard.link("anna")
    house.now += 601
    assert (await (await house.visitor()).ask("GET", f"/login?once={link}")).status == 401


async def test_sessions_survive_a_restart_of_the_service(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        anna = await house.person("anna")
        cookie = anna.client.headers["Cookie"]
    async with House(tmp_path) as house:
        assert (await (await house.visitor(Cookie=cookie)).ask("GET", "session")).status == 200


async def test_an_expired_session_ends_with_all_that_hangs_on_it(tmp_path: Path) -> None:
    async with House(tmp_path, lifetime=timedelta(seconds=0.2)) as house:
        anna = await house.person("anna")
        await anna.leg()
        await asyncio.sleep(0.25)
        assert (await anna.ask("GET", "session")).status == 401
        await house.guard.recheck()
        assert house.legs.open == {}


async def other_process(house: House, act: str) -> None:
    """What `takeover user ...` does beside the running service."""
    store: Store = house.store
    match act:
        case "role" | "queues":
            await store.accounts.change("anna", *(("supervisor",) if act == "role" else (None, ["support"])))
        case "remove":
            await store.accounts.remove("anna")
        case "password":
            await store.accounts.set_password("anna", await hash_password("something new"))
        case "revoke":
            await store.tokens.revoke("anna")


@pytest.mark.parametrize("act", ["remove", "password", "revoke", "role", "queues"])
async def test_what_another_process_takes_away_ends_here(house: House, act: str) -> None:
    anna = await (house.machine("anna", "agent") if act == "revoke" else house.person("anna"))
    call, leg = house.call(), await anna.leg()
    engaged = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    assert engaged.status == 201
    await house.guard.recheck()
    assert [one.phase for one in house.registry.engagements()] == [Phase.ACTIVE]
    await other_process(house, act)
    await house.guard.recheck()
    await until(lambda: not house.registry.engagements())
    assert (await anna.ask("GET", "session")).status == 401


async def test_two_browsers_of_one_agent_do_not_disturb_each_other(house: House) -> None:
    office, home = await house.person("anna"), await house.person("anna")
    call, leg = house.call(), await office.leg()
    await office.ask("POST", f"calls/{call}/engagements", {"mode": "monitor", "leg": leg})
    await home.ask("DELETE", "session")
    assert [one.mode for one in house.registry.engagements()] == [Mode.MONITOR]


async def test_logins_are_audited_with_their_address(house: House) -> None:
    await house.account("anna")
    visitor = await house.visitor()
    await visitor.ask("POST", "session", {"username": "anna", "password": "wrong"})
    await visitor.ask("POST", "session", LOGIN)
    rows = await house.store.audit.read()
    assert [row.facts["result"] for row in rows if row.kind == "outcome"] == ["not-logged-in", "ok"]
    assert rows[0].facts["address"] == "127.0.0.1"
    assert await house.store.audit.verify() == []


async def test_who_comes_in_during_a_look_at_the_store_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look has an older list of accounts than the log-in: that must not read as revoked."""
    real = Accounts.list
    came = []

    async def slow(self: Accounts) -> object:
        found = await real(self)
        came.append(await house.person("anna"))
        return found

    monkeypatch.setattr(Accounts, "list", slow)
    await house.guard.recheck()
    assert (await came[0].ask("GET", "session")).status == 200


async def test_throttled_attempts_do_not_fill_the_audit(house: House) -> None:
    visitor = await house.visitor()
    for _ in range(9):
        await visitor.ask("POST", "session", {"username": "anna", "password": "wrong"})
    assert len(await house.store.audit.read()) == 10  # five attempts, each with its outcome


async def test_a_name_in_other_cases_has_no_attempts_of_its_own(house: House) -> None:
    visitor = await house.visitor()
    for name in ("anna", "Anna", "ANNA", " anna", "aNNa"):
        await visitor.ask("POST", "session", {"username": name, "password": "wrong"})
    assert (await visitor.ask("POST", "session", {"username": "annA", "password": "wrong"})).status == 429


async def test_log_ins_by_link_are_audited(house: House) -> None:
    await house.account("anna")
    await (await house.visitor()).ask("GET", f"/login?once={house.guard.link('anna')}")
    await (await house.visitor()).ask("GET", "/login?once=wrong")
    rows = await house.store.audit.read()
    assert [row.facts["result"] for row in rows if row.kind == "outcome"] == ["ok", "not-logged-in"]
    assert rows[0].actor == "one-time-link"


@pytest.mark.parametrize("how", ["logout", "remove", "password", "role", "expiry"])
async def test_whoever_loses_the_session_is_out_of_the_call_within_a_second(tmp_path: Path, how: str) -> None:
    async with House(tmp_path) as house:
        anna = await house.person("anna")
        watching = asyncio.create_task(house.guard.watch())
        try:
            call, leg = house.call(), await anna.leg()
            socket = await anna.events(leg)
            assert (await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})).status == 201
            if how == "logout":
                await anna.ask("DELETE", "session")
            elif how == "expiry":
                ((key, principal),) = house.guard._live.items()
                house.guard._live[key] = replace(principal, expires=datetime.now(UTC))
            else:
                await other_process(house, how)
            async with asyncio.timeout(5):  # a second on a quiet machine: half of one passes between two looks
                while house.registry.engagements():  # noqa: ASYNC110 - a bound is what is tested
                    await asyncio.sleep(0.01)
            assert (await until_closed(socket))[1] == 4401
            assert house.legs.open == {}
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def test_a_request_under_way_does_not_bring_a_session_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the session ends, its row is still in the store: whoever comes in then must not become known by it."""
    anna = await house.person("anna")
    came: list[int] = []
    real = Sessions.remove

    async def slow(self: Sessions, key: str) -> bool:
        came.append((await anna.ask("GET", "session")).status)
        return await real(self, key)

    monkeypatch.setattr(Sessions, "remove", slow)
    assert (await anna.ask("DELETE", "session")).status == 204
    assert came == [401]
    assert (await anna.ask("GET", "session")).status == 401


async def test_one_failing_farewell_does_not_keep_the_rest_of_a_session_alive(house: House) -> None:
    anna = await house.person("anna")
    leg = await anna.leg()
    socket = await anna.events(leg)
    await socket.receive()

    async def broken(_principal: object, _why: str) -> None:
        raise RuntimeError("the media is gone")

    house.guard._ended.insert(0, broken)
    assert (await anna.ask("DELETE", "session")).status == 204
    assert house.legs.open == {}
    assert (await until_closed(socket))[1] == 4401
    assert (await anna.ask("GET", "session")).status == 401


async def test_a_session_is_new_at_every_log_in(house: House) -> None:
    await house.account("anna")
    visitor = await house.visitor()
    cookies = {(await visitor.ask("POST", "session", LOGIN)).headers["Set-Cookie"].split(";")[0] for _ in range(3)}
    assert len(cookies) == 3


async def test_every_unsafe_route_and_the_socket_ask_where_a_cookie_comes_from(house: House) -> None:
    """CSRF: walked over the router's own table, so that no new route is left out."""
    anna = await house.person("root", "admin")
    call = house.call()
    for route in house.routes():
        path = re.sub(r"{\w+}", "one", route.path.replace("{call}", call))
        if route.safe and route.path != "/api/v1/events":
            continue
        for origin in ("https://evil.example", "null", ""):
            more: dict[str, Any] = {"Origin": origin}
            if route.safe:
                more |= {"Upgrade": "websocket", "Connection": "Upgrade"}
            answer = await anna.ask(route.method, path, None, headers=more)
            assert (answer.status, answer.slug) == (403, "not-allowed"), (route.method, path, origin)
            assert answer.body["title"] == "The request comes from another site"


async def test_a_store_that_cannot_be_written_keeps_no_revoked_session_alive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await house.person(name) for name in ("anna", "ben", "cleo")]
    for person in people:
        assert (await person.ask("GET", "session")).status == 200
    ended: list[str] = []

    async def end(principal: Principal, why: str) -> None:
        ended.append(principal.actor.name)

    async def full(_: str) -> None:
        raise StoreUnavailable("the disk is full")

    house.guard.on_end(end)
    for name in ("anna", "ben", "cleo"):
        await house.store.accounts.remove(name)
    monkeypatch.setattr(Sessions, "remove", lambda _, key: full(key))
    with pytest.raises(StoreUnavailable):
        await house.guard.recheck()
    assert sorted(ended) == ["Anna", "Ben", "Cleo"], "all in the first round"
    for person in people:
        assert (await person.ask("GET", "session")).status == 401
