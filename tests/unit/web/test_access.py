"""Who may use which route and which message: one table, walked over everybody, so that a new route needs a row.

Everybody comes from another machine (through a proxy that is trusted): what is open to this machine alone is closed.
"""

import asyncio
import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any, get_args

import aiohttp
import pytest
from argon2 import PasswordHasher

from connector.domain.calls import CallId, Engagement, EngagementId, Mode, Phase
from connector.domain.people import Act, Actor, ActorRole, Allowed, may
from connector.domain.transcript import Turn
from connector.services import changes
from tests.unit.web.house import PASSWORD, House, Visitor, until
from web import messages
from web import socket as events
from web.passwords import hash_password
from web.routing import Route

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""Quick to verify: these passwords are nobody's."""
BODIES: dict[type[messages.Body], list[dict[str, Any]]] = {
    messages.Nothing: [{}],
    messages.Login: [{"username": "zoe", "password": PASSWORD}],
    messages.Duty: [{"on": True}],
    messages.NewLeg: [{"sdp": "v=0", "type": "offer", "replace": True}],
    messages.ChangeLeg: [{"muted": True}],
    messages.Engage: [{"mode": mode.value} for mode in Mode],
    messages.ChangeEngagement: [*({"mode": mode.value} for mode in Mode), {"hold": False}],
    messages.Release: [{}],
    messages.Coach: [{"text": "tell her"}],
    messages.Escalate: [{"reason": "caller asks"}],
    messages.WrapUp: [{"outcome": "sold"}],
    messages.Dtmf: [{"digits": "1"}],
    messages.Transfer: [{"to": "support"}],
    messages.NewTurn: [{"turn": "1", "speaker": "ai", "text": "Hello", "at": "2026-01-02T03:04:05Z"}],
    messages.Measurement: [{"heard_ms": 31, "gap_ms": 20}],
    messages.NewToken: [{"name": "new", "role": "agent"}],
    messages.NewUser: [{"username": "newcomer", "password": PASSWORD}],
    messages.ChangeUser: [{"role": "supervisor"}],
    messages.SetPassword: [{"password": PASSWORD}],
    messages.ChangePassword: [{"old_password": PASSWORD, "new_password": PASSWORD}],
}
"""Every body that a route takes, in all its kinds of act."""

PEOPLE: dict[str, tuple[ActorRole, str, str]] = {
    "agent": ("agent", "sales", "default"),
    "colleague": ("agent", "sales", "default"),
    "agent of another queue": ("agent", "support", "default"),
    "agent of another tenant": ("agent", "sales", "globex"),
    "supervisor": ("supervisor", "*", "*"),
    "supervisor of the queue": ("supervisor", "sales", "*"),
    "supervisor of another queue": ("supervisor", "support", "*"),
    "supervisor of another tenant": ("supervisor", "*", "globex"),
    "admin": ("admin", "*", "*"),
    "admin of the tenant": ("admin", "*", "default"),
    "admin of another tenant": ("admin", "*", "globex"),
}
"""Role, queue, tenant; the calls are in the queue `sales` of the tenant `default`, and the AI is `acme`."""
MACHINES: dict[str, tuple[ActorRole, str, str, str]] = {
    "ai": ("ai", "acme", "*", "*"),
    "ai of the tenant": ("ai", "acme", "sales", "default"),
    "ai of another tenant": ("ai", "acme", "*", "globex"),
    "another ai": ("ai", "globex", "*", "*"),
    "agent's token": ("agent", "", "*", "*"),
    "agent's token of another tenant": ("agent", "", "*", "globex"),
    "supervisor's token of the tenant": ("supervisor", "", "*", "default"),
    "metrics": ("metrics", "", "*", "*"),
}
"""Role, AI, queue, tenant."""
KNOWN = frozenset({*PEOPLE, *MACHINES})
EVERYBODY = KNOWN | {"stranger"}
AIS = frozenset(name for name in MACHINES if MACHINES[name][0] == "ai")
HANDS = KNOWN - AIS - {"metrics"}
"""Who takes part in calls."""
STRANGERS = frozenset(name for name in KNOWN if "another" in name)
"""Who belongs elsewhere."""
THEIRS = HANDS - STRANGERS
"""Who takes part in these calls."""
ITS_AI = AIS - STRANGERS
OVER = frozenset(name for name in THEIRS if "supervisor" in name or "admin" in name)
"""Who may put a speaker of these calls out."""
READERS = frozenset(name for name in HANDS if "supervisor" in name or "admin" in name)
"""Who reads the audit, each a part of it."""
HOUSE = frozenset({"supervisor", "admin"})
"""Who is restricted to no queue or tenant."""
NOBODY: frozenset[str] = frozenset()

Row = tuple[frozenset[str], frozenset[str]]
"""Who may, and from whom it is hidden (404); everybody else is refused (403), a stranger has to log in (401)."""
CALL = "/api/v1/calls/{call}"
TABLE: Mapping[str, Row] = {
    "GET /": (EVERYBODY, NOBODY),
    "GET /login": (EVERYBODY, NOBODY),
    "GET /static/{path:.+}": (EVERYBODY, NOBODY),
    "GET /healthz": (EVERYBODY, NOBODY),
    "GET /readyz": (EVERYBODY, NOBODY),
    "GET /metrics": (HOUSE | {"metrics"}, NOBODY),
    "GET /api/v1/openapi.json": (EVERYBODY, NOBODY),
    "POST /api/v1/session": (EVERYBODY, NOBODY),
    "GET /api/v1/session": (KNOWN, NOBODY),
    "DELETE /api/v1/session": (KNOWN, NOBODY),
    "PUT /api/v1/session/duty": (HANDS, NOBODY),
    "PUT /api/v1/session/password": (frozenset(PEOPLE), NOBODY),
    "GET /api/v1/calls": (KNOWN - {"metrics"}, NOBODY),
    f"GET {CALL}": (THEIRS | ITS_AI, NOBODY),
    f"GET {CALL}/transcript": (THEIRS | ITS_AI, NOBODY),
    f"GET {CALL}/recording": (THEIRS | ITS_AI, NOBODY),
    f"POST {CALL}/transcript": (ITS_AI, NOBODY),
    f"POST {CALL}/measurement": (ITS_AI, NOBODY),
    f"POST {CALL}/escalation": (THEIRS | ITS_AI, NOBODY),
    f"DELETE {CALL}/escalation": (THEIRS | ITS_AI, NOBODY),
    f"POST {CALL}/coach": (THEIRS, NOBODY),
    f"POST {CALL}/engagements": (THEIRS, NOBODY),
    f"POST {CALL}/hangup": (THEIRS, NOBODY),
    f"POST {CALL}/transfer": (THEIRS, NOBODY),
    f"POST {CALL}/dtmf": (THEIRS, NOBODY),
    f"POST {CALL}/wrap-up": (frozenset({"agent"}), HANDS - {"agent"}),
    "PATCH /api/v1/engagements/{engagement}": (frozenset({"agent"}), NOBODY),
    "POST /api/v1/engagements/{engagement}/release": (OVER | {"agent"}, NOBODY),
    "POST /api/v1/legs": (HANDS, NOBODY),
    "GET /api/v1/legs": (HANDS, NOBODY),
    "PATCH /api/v1/legs/{leg}": (frozenset({"agent"}), HANDS - {"agent"}),
    "DELETE /api/v1/legs/{leg}": (frozenset({"agent"}), HANDS - {"agent"}),
    "POST /api/v1/tokens": (frozenset({"admin"}), NOBODY),
    "GET /api/v1/tokens": (frozenset({"admin"}), NOBODY),
    "DELETE /api/v1/tokens/{token}": (frozenset({"admin"}), NOBODY),
    "POST /api/v1/users": (frozenset({"admin"}), NOBODY),
    "GET /api/v1/users": (frozenset({"admin"}), NOBODY),
    "PATCH /api/v1/users/{user}": (frozenset({"admin"}), NOBODY),
    "PUT /api/v1/users/{user}/password": (frozenset({"admin"}), NOBODY),
    "DELETE /api/v1/users/{user}": (frozenset({"admin"}), NOBODY),
    "GET /api/v1/audit": (READERS, NOBODY),
    "GET /api/v1/audit/export": (READERS, NOBODY),
    "GET /api/v1/events": (KNOWN - {"metrics"}, NOBODY),
}
"""The call, the engagement in it and the leg are the agent's (`agent` is in the call, `wrap-up` is after it)."""


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


async def somebody(house: House, name: str) -> Visitor:
    """A fresh session, or a fresh token, of somebody of the table."""
    far = {"X-Forwarded-For": "203.0.113.9"}
    if name in MACHINES:
        machine = await house.machine(f"{name} {len(await house.store.tokens.list())}", *MACHINES[name])
        machine.client.headers.update(far)
        return machine
    if name == "stranger":
        return await house.visitor(**far)
    person = await house.person(await known(house, name))
    person.client.headers.update(far)
    return person


async def known(house: House, name: str) -> str:
    """The account of somebody of the table; returns the username."""
    role, queue, tenant = PEOPLE[name]
    username = name.replace(" ", "-").replace("'", "")
    if await house.store.accounts.by_name(username) is None:
        await house.store.accounts.add(username, name, role, HASH, [queue], [tenant])
    return username


class Scene:
    """One call with the agent in it, her leg and a token: what the places of a path stand for."""

    def __init__(self, house: House, agent: Visitor) -> None:
        self.house, self.agent, self.count = house, agent, 0

    async def set(self, route: Route) -> dict[str, str]:
        """Fresh things for one request on this route."""
        self.count += 1
        call = self.house.call(str(self.count))
        places = {"call": str(call), "path": "app.js"}
        if "{token}" in route.path:
            places["token"] = f"spare-{self.count}"
            await self.house.store.tokens.add(places["token"], "agent", "", places["token"])
        if "{user}" in route.path:
            places["user"] = f"spare-{self.count}"
            await self.house.store.accounts.add(places["user"], "Spare", "agent", "no password")
        if "{leg}" in route.path or "{engagement}" in route.path or route.path.endswith("wrap-up"):
            places["leg"] = await self.agent.leg()
        if "{engagement}" in route.path or route.path.endswith("wrap-up"):
            body = {"mode": "barge", "leg": places["leg"]}
            made = await self.agent.ask("POST", f"calls/{call}/engagements", body)
            assert made.status == 201, made.body
            places["engagement"] = made.body["id"]
        if route.path.endswith("wrap-up"):
            await self.agent.ask("POST", f"engagements/{places['engagement']}/release")
            async with asyncio.timeout(60):
                while not any(past.ended for past in await self.house.store.engagements.of_call(call)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        return places

    async def clear(self) -> None:
        """The call is over; nobody is in any."""
        for call in self.house.registry.calls():
            self.house.hang_up(call.id)
        await until(lambda: not self.house.registry.engagements())


async def status_of(
    house: House, who: Visitor, route: Route, places: Mapping[str, str], body: dict[str, Any] | None
) -> tuple[int, Any]:
    """What a request gets; for the WebSocket, of its handshake."""
    path = re.sub(r"{(\w+)(:[^}]*)?}", lambda match: places[match[1]], route.path)
    if route.path == "/api/v1/events":
        try:
            async with who.client.ws_connect(f"{house.url}{path}"):
                return route.status, None
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status, None
    if route.body is messages.Engage and body is not None:
        opened = await who.ask("POST", "legs", BODIES[messages.NewLeg][0])
        body = {**body, "leg": opened.body["leg"] if opened.status == 201 else "none"}
    answer = await who.ask(route.method, path, body)
    return answer.status, answer.body


def bodies_of(route: Route) -> list[dict[str, Any]] | list[None]:
    return BODIES[route.body] if route.body is not None else [None]


async def test_the_table_has_a_row_for_every_route_and_no_other(house: House) -> None:
    assert {name_of(route) for route in house.routes()} == set(TABLE)


async def test_every_body_has_an_example(house: House) -> None:
    assert {route.body for route in house.routes() if route.body is not None} == set(BODIES)


async def test_every_route_declares_a_known_act(house: House) -> None:
    for route in house.routes():
        for body in bodies_of(route):
            act: Any = route.act
            if callable(act):
                assert route.body is not None
                given = {**(body or {}), **({"leg": "none"} if route.body is messages.Engage else {})}
                act = act(route.body.model_validate(given, strict=False))
            assert act in {*get_args(Act), "public", "login"}, route.path


@pytest.mark.parametrize("name", sorted(EVERYBODY))
async def test_every_route_answers_everybody_as_the_table_says(house: House, name: str) -> None:
    object.__setattr__(house.site, "trusted_proxies", ("127.0.0.0/8",))
    await house.store.accounts.add("zoe", "Zoe", "agent", await hash_password(PASSWORD), ["sales"], ["default"])
    agent = await somebody(house, "agent")
    scene = Scene(house, agent)
    who = agent if name == "agent" else await somebody(house, name)
    for route in sorted(house.routes(), key=lambda route: route.path == "/api/v1/session" and not route.safe):
        allowed, hidden = TABLE[name_of(route)]
        for body in bodies_of(route):
            places = await scene.set(route)
            status, answer = await status_of(house, who, route, places, body)
            if name in allowed:
                expected = 303 if route.path == "/" and name not in PEOPLE and name not in MACHINES else route.status
            elif name == "stranger":
                expected = 401
            else:
                expected = 404 if name in hidden else 403
            assert status == expected, (name, name_of(route), body, answer)
            await scene.clear()
            if route.path == "/api/v1/session" and not route.safe:
                who = await somebody(house, name)  # that session is over


async def test_a_speaker_is_overridden_by_supervisors_of_the_call_only(house: House) -> None:
    agent = await somebody(house, "agent")
    leg = await agent.leg()
    for number, name in enumerate(sorted(KNOWN)):
        path = f"calls/{house.call(str(number))}/engagements"
        assert (await agent.ask("POST", path, {"mode": "takeover", "leg": leg})).status == 201
        who = await somebody(house, name)
        opened = await who.ask("POST", "legs", BODIES[messages.NewLeg][0])
        body = {
            "mode": "takeover",
            "leg": opened.body["leg"] if opened.status == 201 else "none",
            "override": {"reason": "she asked for me"},
        }
        assert (await who.ask("POST", path, body)).status == (201 if name in OVER else 403), name
        await Scene(house, agent).clear()


async def test_lists_show_ones_own_calls_only(house: House) -> None:
    mine, other = house.call("1"), house.call("2", queue="secret", tenant="secret", ai="secret")
    for name in sorted(KNOWN - {"metrics"}):
        listed = await (await somebody(house, name)).ask("GET", "calls")
        expected = {mine} if name in THEIRS | ITS_AI else set()
        if name in HOUSE | {"agent's token"}:
            expected = {mine, other}
        assert {call["id"] for call in listed.body["calls"]} == expected, name


async def test_a_session_shows_what_one_may(house: House) -> None:
    """What the panel offers is what the table allows."""
    for name in sorted(KNOWN):
        answer = await (await somebody(house, name)).ask("GET", "session")
        offered = set(answer.body["may"])
        for act, row in {"read-audit": "GET /api/v1/audit", "administer": "GET /api/v1/tokens"}.items():
            assert (act in offered) is (name in TABLE[row][0]), (name, act)


# ---- the WebSocket: what everybody may say, and what everybody is told ----

SAYS: Mapping[str, dict[str, Any]] = {
    "hello": {"type": "hello", "leg": None},
    "ping": {"type": "ping", "t": 1},
    "resume": {"type": "resume", "rev": 0},
}
"""Every message of a client; whoever may open the socket may send it, and it is about oneself alone."""


def test_every_message_of_a_client_has_an_example() -> None:
    kinds = get_args(events.Incoming.model_fields["root"].annotation)
    assert {get_args(kind.model_fields["type"].annotation)[0] for kind in kinds} == set(SAYS)


@pytest.mark.parametrize("message", SAYS)
async def test_whoever_may_open_the_socket_may_say_all_of_it(house: House, message: str) -> None:
    for name in sorted(KNOWN - {"metrics"}):
        socket = await (await somebody(house, name)).events()
        await socket.send_json(SAYS[message])
        assert "problem" not in await answered(socket)


async def answered(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    """The types of all that is told until a ping is answered."""
    await socket.send_json(SAYS["ping"])
    told = []
    while (kind := (await socket.receive_json(timeout=60))["type"]) != "pong":
        told.append(kind)
    return told


CHANGES: Mapping[type, frozenset[str]] = {
    changes.CallUpserted: THEIRS | ITS_AI,
    changes.CallRemoved: THEIRS | ITS_AI,
    changes.EngagementChanged: THEIRS,
    changes.PbxChanged: HANDS,
    changes.TurnChanged: THEIRS,
    changes.TalkingChanged: THEIRS,
    changes.Measured: THEIRS,
    changes.DtmfSeen: NOBODY,
    changes.AiNotice: ITS_AI,
}
"""Who is told of which change of the call."""


def example_of(kind: type, house: House, call: CallId) -> changes.Change:
    rev = house.registry.rev + 1
    found = house.registry.call(call)
    engagement = Engagement(
        EngagementId("e"), call, "somebody", "Somebody", "l", Mode.MONITOR, Phase.ACTIVE, datetime.now(UTC)
    )
    examples: dict[type, changes.Change] = {
        changes.CallUpserted: changes.CallUpserted(rev, replace(found, ai=replace(found.ai, ref="renamed"))),
        changes.CallRemoved: changes.CallRemoved(rev, call, "hangup"),
        changes.EngagementChanged: changes.EngagementChanged(rev, engagement),
        changes.PbxChanged: changes.PbxChanged(rev, changes.PbxState("lab", up=False, why="gone")),
        changes.TurnChanged: changes.TurnChanged(
            rev, call, Turn("t", "caller", "Hello", datetime.now(UTC), final=True)
        ),
        changes.TalkingChanged: changes.TalkingChanged(rev, call, "caller", on=True),
        changes.Measured: changes.Measured(rev, call, {"heard_ms": 31.0}),
        changes.DtmfSeen: changes.DtmfSeen(rev, call, "caller", "5"),
        changes.AiNotice: changes.AiNotice(rev, call, "acme", "coach", {"text": "tell her"}),
    }
    return examples[kind]


def test_every_change_has_a_row() -> None:
    assert set(get_args(changes.Change)) == set(CHANGES)


async def test_everybody_is_told_of_ones_own_calls_only(house: House) -> None:
    call = house.call()
    sockets = {name: await (await somebody(house, name)).events() for name in sorted(KNOWN - {"metrics"})}
    for socket in sockets.values():
        await answered(socket)
    for kind in sorted(CHANGES, key=lambda kind: kind is changes.CallRemoved):
        house.hub.publish(example_of(kind, house, call))
        await asyncio.sleep(0.1)
        told = {name for name, socket in sockets.items() if await answered(socket)}
        assert told == CHANGES[kind], kind


# ---- the audit: each reads the acts on the calls that are his, and no others ----


async def read_by(who: Visitor, query: str = "") -> set[str | None]:
    """The calls of all acts that somebody is shown."""
    return {act["call"] for act in (await who.ask("GET", f"audit?limit=500{query}")).body["audit"]}


async def exported_by(who: Visitor, query: str = "") -> set[str | None]:
    lines = (await who.ask("GET", f"audit/export?format=csv{query}")).body.splitlines()
    return {row["call"] or None for row in csv.DictReader(lines)}


async def test_everybody_reads_ones_own_part_of_the_audit(house: House) -> None:
    """Of every queue and tenant there is a call; acts on it come from the web, the services and the emergency."""
    places = list(product(("sales", "support", ""), ("default", "globex", "")))
    root = await house.person("root", "admin")
    for number, (queue, tenant) in enumerate(places):
        call = house.call(str(number), queue=queue, tenant=tenant)
        await root.ask("GET", f"calls/{call}/transcript")
        await root.ask("POST", f"calls/{call}/coach", {"text": "tell her"})
    for name in sorted(READERS):
        role, queues, tenants = PEOPLE[name] if name in PEOPLE else (MACHINES[name][0], *MACHINES[name][2:])
        actor = Actor("x", "x", role, {queues}, {tenants})
        theirs: set[str | None] = {
            call.id for call in house.registry.calls() if isinstance(may(actor, "see", call), Allowed)
        }
        who = await somebody(house, name)
        everything = theirs | ({None} if name in HOUSE else set())
        assert await read_by(who) == await exported_by(who) == everything, name
        assert await read_by(who, "&act=coach") == theirs, name
        for one in house.registry.calls():
            asked = f"&call={one.id}"
            assert await read_by(who, asked) == await exported_by(who, asked) == theirs & {one.id}, name
    assert await house.store.audit.verify() == []


async def test_an_act_on_a_call_that_is_over_is_its_tenants_too(house: House) -> None:
    agent = await somebody(house, "agent")
    scene = Scene(house, agent)
    (wrap_up,) = [route for route in house.routes() if route.path.endswith("wrap-up")]
    places = await scene.set(wrap_up)
    await scene.clear()
    house.registry._ended.clear()  # ten minutes later, or after a restart
    assert (await agent.ask("POST", f"calls/{places['call']}/wrap-up", {"outcome": "sold"})).status == 204
    assert await read_by(await somebody(house, "supervisor of the queue"), "&act=wrap-up") == {places["call"]}
    assert await read_by(await somebody(house, "supervisor of another queue"), "&act=wrap-up") == set()
