"""Nothing happens unseen: every route that changes something leaves a row, whoever asked and whatever came of it."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest

from connector.domain.errors import StoreUnavailable
from connector.store.audit import Audit
from connector.store.trail import Done, Wanted
from tests.unit.web.house import PASSWORD, House
from tests.unit.web.test_access import TABLE, Scene, bodies_of, name_of, somebody, status_of
from web.passwords import hash_password
from web.routing import Route

DATA = {
    "POST /api/v1/calls/{call}/transcript",
    "POST /api/v1/calls/{call}/measurement",
    "PATCH /api/v1/legs/{leg}",
}
"""No acts: what was said is kept as such, a figure is kept nowhere, and a microphone is one's own."""


def unsafe(house: House) -> list[Route]:
    return [route for route in house.routes() if not route.safe]


async def newest(house: House, after: int) -> list[Done]:
    """The acts since a number, without what a scene leaves behind."""
    return [act for act in await house.store.audit.acts(Wanted()) if act.number > after]


async def last(house: House) -> int:
    return (await house.store.audit.head()).number


async def settled(house: House, after: int, wanted: tuple[str, str | None, str]) -> bool:
    """Whether the row appears: an outcome may be written a moment after the answer."""
    for _ in range(500):
        found = [(act.actor, act.call, act.result) for act in await newest(house, after)]
        if wanted in found:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_what_is_no_act_is_said_by_its_route(house: House) -> None:
    assert {name_of(route) for route in house.routes() if route.recording == "data"} == DATA


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way out waits half a second for its record; on a busy machine that is too short to prove that there is one."""
    monkeypatch.setattr("web.record._PATIENCE", 10)


@pytest.mark.usefixtures("patient")
async def test_every_mutation_is_in_the_audit_with_actor_call_and_result(house: House) -> None:
    await house.store.accounts.add("zoe", "Zoe", "agent", await hash_password(PASSWORD), ["sales"], ["default"])
    agent, admin = await somebody(house, "agent"), await somebody(house, "admin")
    ids = {name: (await who.ask("GET", "session")).body["id"] for name, who in (("agent", agent), ("admin", admin))}
    scene = Scene(house, agent)
    for route in sorted(unsafe(house), key=lambda route: route.path == "/api/v1/session"):
        if name_of(route) in DATA:
            continue
        name = "agent" if "agent" in TABLE[name_of(route)][0] else "admin"
        for body in bodies_of(route):
            places = await scene.set(route)
            before = await last(house)
            status, answer = await status_of(house, agent if name == "agent" else admin, route, places, body)
            assert status == route.status, (name_of(route), answer)
            actor = "zoe" if name_of(route) == "POST /api/v1/session" else ids[name]
            about_call = "{call}" in route.path or "{engagement}" in route.path
            call = places["call"] if about_call else None
            if body != {"mode": "barge"} or "{engagement}" not in route.path:  # from barge to barge nothing changes
                assert await settled(house, before, (actor, call, "ok")), (name_of(route), body)
            await scene.clear()
            if name_of(route) == "POST /api/v1/session":
                agent = scene.agent = await somebody(house, "agent")
    assert await house.store.audit.verify() == []


@pytest.mark.usefixtures("patient")
async def test_every_refused_mutation_is_in_the_audit_too(house: House) -> None:
    agent, other = await somebody(house, "agent"), await somebody(house, "agent of another queue")
    who = (await other.ask("GET", "session")).body["id"]
    scene = Scene(house, agent)
    for route in unsafe(house):
        allowed, hidden = TABLE[name_of(route)]
        if "agent of another queue" in allowed | hidden:
            continue
        for body in bodies_of(route):
            places = await scene.set(route)
            before = await last(house)
            assert (await status_of(house, other, route, places, body))[0] == 403
            about_call = "{call}" in route.path or "{engagement}" in route.path
            call = places["call"] if about_call else None
            assert await settled(house, before, (who, call, "not-allowed")), name_of(route)
            await scene.clear()


@pytest.mark.usefixtures("patient")
async def test_opening_a_transcript_is_on_record(house: House) -> None:
    anna, call = await house.person("anna"), house.call()
    await anna.ask("GET", f"calls/{call}/transcript")
    (done,) = await house.store.audit.acts(Wanted(call=call))
    assert (done.act, done.result, done.actor) == (
        "read-transcript",
        "ok",
        (await anna.ask("GET", "session")).body["id"],
    )


async def test_what_failed_is_on_record_as_failed(house: House) -> None:
    admin = await house.person("root", "admin")
    assert (await admin.ask("DELETE", "tokens/none")).status == 404
    (act,) = await house.store.audit.acts(Wanted(act="revoke-token"))
    assert (act.result, act.facts["name"], act.facts["origin"]) == ("not-found", "none", "127.0.0.1")


async def test_without_an_audit_a_way_out_stays_open_and_the_rest_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, agent = await house.person("root", "admin"), await house.person("anna")

    async def full(*_: object) -> int:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(Audit, "intent", full)
    refused = await admin.ask("POST", "tokens", {"name": "bot", "role": "agent"})
    assert (refused.status, refused.slug) == (503, "store-unavailable")
    assert await house.store.tokens.list() == []
    assert (await admin.ask("GET", "audit")).slug == "store-unavailable"
    assert len(await agent.leg()) > 0
    assert (await agent.ask("PUT", "session/duty", {"on": False})).status == 200
    assert (await agent.ask("DELETE", "session")).status == 204
    assert (await agent.ask("GET", "session")).status == 401


# ---- reading it ----


async def act(house: House, actor: str, name: str, result: str | None, **facts: str) -> int:
    number = await house.store.audit.intent(actor, name, None, facts)
    if result is not None:
        await house.store.audit.outcome(number, result, {})
    return number


async def test_the_audit_is_read_page_by_page(house: House) -> None:
    sue = await house.person("sue", "supervisor")
    for number in range(7):
        await act(house, "somebody", "monitor", "ok", number=str(number))
    seen: list[str] = []
    page = await sue.ask("GET", "audit?actor=somebody&limit=3")
    while True:
        seen += [row["facts"]["number"] for row in page.body["audit"]]
        assert len(page.body["audit"]) <= 3
        if page.body["next"] is None:
            break
        page = await sue.ask("GET", f"audit?actor=somebody&limit=3&cursor={page.body['next']}")
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("act=monitor", {"monitor"}),
        ("actor=ben", {"hangup"}),
        ("result=not-allowed", {"hangup"}),
        ("result=open", {"transfer", "audit"}),
        ("result=ok&act=takeover", {"takeover"}),
        ("until=2020-01-01T00:00:00Z", set()),
        ("since=2020-01-01T00:00:00Z&actor=anna", {"monitor", "takeover", "transfer"}),
    ],
)
async def test_the_audit_is_filtered(house: House, query: str, found: set[str]) -> None:
    sue = await house.person("sue", "supervisor")
    await act(house, "anna", "monitor", "ok")
    await act(house, "anna", "takeover", "ok")
    await act(house, "anna", "transfer", None)
    await act(house, "ben", "hangup", "not-allowed", note='"result":"ok"')
    rows = (await sue.ask("GET", f"audit?{query}")).body["audit"]
    assert {row["act"].replace("read-", "") for row in rows} == found


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "cursor=-1", "since=yesterday", "result=a%25", "act=A", "nonsense=1"]
)
async def test_a_wrong_filter_is_named(house: House, query: str) -> None:
    answer = await (await house.person("sue", "supervisor")).ask("GET", f"audit?{query}")
    assert (answer.status, answer.body["field"]) == (400, f"query {query.partition('=')[0]}")


async def test_people_and_tokens_are_found_by_name(house: House) -> None:
    sue, anna = await house.person("sue", "supervisor"), await house.person("anna")
    await anna.ask("PUT", "session/duty", {"on": True})
    rows = (await sue.ask("GET", "audit?actor=anna")).body["audit"]
    assert [(row["actor_name"], row["act"], row["result"]) for row in rows] == [("anna", "duty", "ok")]


async def test_reading_the_audit_is_in_the_audit(house: House) -> None:
    sue = await house.person("sue", "supervisor")
    await sue.ask("GET", "audit?actor=anna")
    await sue.ask("GET", "audit/export?format=csv")
    rows = (await sue.ask("GET", "audit?actor=sue")).body["audit"]
    assert [(row["act"], row["facts"].get("actor")) for row in rows if row["result"] == "ok"] == [
        ("export-audit", None),
        ("read-audit", "anna"),
    ]


FORMULAS = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a "quoted", text\r\nand a line']


@pytest.mark.parametrize("formula", FORMULAS)
async def test_a_spreadsheet_finds_no_formula_in_the_export(house: House, formula: str) -> None:
    sue = await house.person("sue", "supervisor")
    await act(house, formula, "monitor", "ok", note=formula)
    exported = await sue.ask("GET", "audit/export?act=monitor")
    assert exported.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert exported.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    (row,) = list(csv.DictReader(io.StringIO(exported.body, newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    assert row["actor"].removeprefix("'") == formula
    assert json.loads(row["facts"]) == {"note": formula}


async def test_the_export_has_every_page(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.api.audit.MAX_LIMIT", 3)
    sue = await house.person("sue", "supervisor")
    numbers = [await act(house, "somebody", "monitor", "ok") for _ in range(8)]
    async with sue.client.get(f"{house.url}/api/v1/audit/export?format=jsonl&actor=somebody") as exported:
        assert exported.content_type == "application/x-ndjson"
        rows: list[dict[str, Any]] = [json.loads(line) async for line in exported.content]
    assert [row["number"] for row in rows] == numbers[::-1]
    assert (await sue.ask("GET", "audit/export?format=xlsx")).body["remedy"] == "known are csv, jsonl"
