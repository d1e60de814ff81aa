"""What an attacker tries who reaches the port, has an account, or has an AI's token; each was a hole once."""

import asyncio
import json
import logging
from typing import Any

import pytest
import structlog

from connector.domain.events import CallChanged
from tests.unit.web.house import PASSWORD, House, Visitor, make_call
from web import logs, routing

WRONG = {"username": "anna", "password": "wrong"}
TURN: dict[str, Any] = {"turn": "1", "speaker": "ai", "text": "Hello"}


async def behind_a_proxy(house: House) -> Visitor:
    """Somebody whose requests come through a proxy on this machine, which the settings name."""
    object.__setattr__(house.site, "trusted_proxies", ("127.0.0.0/8",))
    return await house.visitor()


async def test_an_address_of_ones_own_invention_is_not_believed_beside_the_proxys(house: House) -> None:
    """HAProxy adds a line of its own to those that the client sent, where others add to the client's line."""
    visitor = await behind_a_proxy(house)
    headers = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "203.0.113.9")]
    assert (await visitor.ask("GET", "/metrics", headers=headers)).status == 401
    await visitor.ask("POST", "session", WRONG, headers=headers)
    assert (await house.store.audit.read())[0].facts["address"] == "203.0.113.9"


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "Via"])
async def test_a_proxy_that_names_nobody_opens_no_figures_to_everybody(house: House, name: str) -> None:
    visitor = await behind_a_proxy(house)
    assert (await visitor.ask("GET", "/metrics", headers={name: "203.0.113.9"})).status == 401
    assert (await visitor.ask("GET", "/metrics")).status == 200  # the proxy's own machine


async def test_who_has_a_whole_ipv6_network_has_the_attempts_of_one_address(house: House) -> None:
    visitor = await behind_a_proxy(house)
    statuses = [
        (await visitor.ask("POST", "session", WRONG, headers={"X-Forwarded-For": f"2001:db8:1:2::{one:x}"})).status
        for one in range(1, 8)
    ]
    assert statuses == [401] * 5 + [429] * 2
    elsewhere = {"X-Forwarded-For": "2001:db8:1:3::1"}
    assert (await visitor.ask("POST", "session", WRONG, headers=elsewhere)).status == 401


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "1999-12-31T23:59:59Z"]
)
async def test_a_turn_at_an_impossible_time_neither_blinds_the_panels_nor_poisons_the_transcript(
    house: House, at: str
) -> None:
    """It could not be rendered, and with it went whatever else every panel was about to be told."""
    anna, ai, call = await house.person("anna"), await house.machine("bot", "ai", "acme"), house.call()
    socket = await anna.events()
    await socket.receive_json()
    refused = await ai.ask("POST", f"calls/{call}/transcript", TURN | {"at": at})
    assert (refused.status, refused.slug) == (400, "bad-request")
    assert "at" in refused.body["field"]
    fine = TURN | {"at": "2026-01-02T03:04:05+02:00", "text": "Good morning"}
    assert (await ai.ask("POST", f"calls/{call}/transcript", fine)).status == 200
    told = json.dumps(await socket.receive_json(timeout=10))
    assert "Good morning" in told
    assert "2026-01-02T01:04:05.000Z" in told
    [turn] = (await anna.ask("GET", f"calls/{call}/transcript")).body["turns"]
    assert turn["text"] == "Good morning"


@pytest.mark.parametrize("query", ["since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00"])
async def test_an_audit_of_an_impossible_time_is_refused_in_words(house: House, query: str) -> None:
    refused = await (await house.person("sue", "supervisor")).ask("GET", f"audit?{query}")
    assert (refused.status, refused.slug) == (400, "bad-request")


async def test_a_log_in_is_found_in_the_audit_however_the_name_was_typed(house: House) -> None:
    """Who knows a password must not hide his log-in from who looks for that account."""
    await house.account("anna")
    await (await house.visitor()).ask("POST", "session", {"username": " ANNA", "password": PASSWORD})
    sue = await house.person("sue", "supervisor")
    found = await sue.ask("GET", "audit?actor=anna&act=login")
    assert [act["result"] for act in found.body["audit"]] == ["ok"]


async def test_machines_are_not_told_what_only_people_at_a_panel_need(house: House) -> None:
    for role, ai in (("ai", "acme"), ("metrics", "")):
        machine = await house.machine(role, role, ai)  # type: ignore[arg-type]
        session = (await machine.ask("GET", "session")).body
        assert (session["destinations"], session["ice_servers"], session["deaf"]) == ({}, [], [])


async def test_a_log_in_by_link_ends_the_browsers_first_session(house: House) -> None:
    anna = await house.person("anna")
    leg = await anna.leg()
    answer = await anna.ask("GET", f"/login?once={house.guard.link('anna')}")
    assert answer.status == 200
    assert leg not in house.legs.open


async def test_links_that_are_right_use_up_no_attempts(house: House) -> None:
    await house.account("anna")
    for _ in range(8):
        visitor = await house.visitor()
        assert (await visitor.ask("GET", f"/login?once={house.guard.link('anna')}")).status == 200


async def test_who_speaks_in_a_call_that_left_the_queue_can_return_it_and_do_no_more(house: House) -> None:
    anna, call = await house.person("anna", queues=("sales",)), house.call()
    leg = await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "barge", "leg": leg})
    house.registry.apply(CallChanged(make_call(queue="vip")))
    for method, path, body in (
        ("PATCH", f"engagements/{made.body['id']}", {"mode": "takeover"}),
        ("POST", f"calls/{call}/transfer", {"to": "support"}),
        ("POST", f"calls/{call}/hangup", {}),
        ("GET", f"calls/{call}/transcript", None),
    ):
        refused = await anna.ask(method, path, body)
        assert (refused.status, refused.slug) == (403, "not-allowed")
    assert (await anna.ask("POST", f"engagements/{made.body['id']}/release")).status == 204
    again = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "monitor", "leg": leg})
    assert (again.status, again.slug) == (403, "not-allowed")


async def test_who_supervises_a_call_is_decided_by_its_queue_of_now(house: House) -> None:
    anna, call = await house.person("anna"), house.call()
    old = await house.person("old", "supervisor", ("sales",))
    new = await house.person("new", "supervisor", ("vip",))
    leg = await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "barge", "leg": leg})
    house.registry.apply(CallChanged(make_call(queue="vip")))
    path = f"engagements/{made.body['id']}/release"
    assert (await old.ask("POST", path)).status == 403
    assert (await new.ask("POST", path)).status == 204


async def said(house: House, data: bytes) -> bytes:
    """What the port says to some bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_who_never_ends_his_request_is_not_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would hold a connection for ever, and needs no account for that."""
    monkeypatch.setattr(routing, "_BODY_DEADLINE", 0.05)
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    answer = await said(house, head + b'Content-Length: 60\r\nConnection: close\r\n\r\n{"username":')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"send it at once" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
async def test_what_is_no_http_fills_no_log_with_traces(
    house: House, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Port scanners send such things day and night; an administrator would look for a fault of ours."""
    logs.configure(form="json")
    assert (await said(house, data)).startswith(b"HTTP/1.")
    logged = capsys.readouterr().err
    assert "Traceback" not in logged
    assert "exception" not in logged
    assert "error" not in logged


def test_what_is_logged_steers_no_terminal_and_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form="console")
    structlog.get_logger().warning("refused", path="/a\x1b[2J\u202e", name="B\u00fccher GmbH")
    logging.getLogger("a.library").warning("from %s", "x\n2026-01-01T00:00:00Z [error] forged")
    first, second = capsys.readouterr().err.splitlines()
    assert r"path=/a\x1b[2J\u202e" in first
    assert "B\u00fccher GmbH" in first
    assert r"x\n2026" in second
    assert "\x1b" not in first + second
