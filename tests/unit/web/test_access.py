"""Who may use which route: walks the whole table, so that a new route is covered by being in it."""

import re
from typing import Any, get_args

import pytest

from connector.domain.people import PERMISSIONS, Act, ActorRole
from tests.unit.web.house import House
from web import messages
from web.routing import Route

BODIES: dict[type[messages.Body], dict[str, Any]] = {
    messages.Nothing: {},
    messages.Login: {"username": "nobody", "password": "x"},
    messages.Duty: {"on": True},
    messages.NewLeg: {"sdp": "v=0", "type": "offer", "replace": True},
    messages.ChangeLeg: {"muted": True},
    messages.Engage: {"mode": "takeover", "leg": "none"},
    messages.ChangeEngagement: {"mode": "barge"},
    messages.Release: {},
    messages.Coach: {"text": "tell her"},
    messages.Escalate: {"reason": "caller asks"},
    messages.WrapUp: {"outcome": "sold"},
    messages.Dtmf: {"digits": "1"},
    messages.Transfer: {"to": "support"},
    messages.NewTurn: {"turn": "1", "speaker": "ai", "text": "Hello", "at": "2026-01-02T03:04:05Z"},
    messages.Measurement: {"heard_ms": 31, "gap_ms": 20},
    messages.NewToken: {"name": "new", "role": "agent"},
}
ROLES: tuple[ActorRole, ...] = get_args(ActorRole)


def act_of(route: Route) -> str:
    """The act with the example body."""
    if callable(route.act):
        assert route.body is not None
        return route.act(route.body.model_validate(BODIES[route.body], strict=False))
    return route.act


async def test_every_route_declares_a_known_act(house: House) -> None:
    known = {*get_args(Act), "public", "login"}
    for route in house.routes():
        assert act_of(route) in known, route.path


async def test_every_body_has_an_example(house: House) -> None:
    assert {route.body for route in house.routes() if route.body is not None} <= set(BODIES)


async def test_only_these_routes_are_open_to_everybody(house: House) -> None:
    public = {f"{route.method} {route.path}" for route in house.routes() if route.act == "public"}
    assert public == {
        "POST /api/v1/session",
        "GET /api/v1/openapi.json",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /",
        "GET /login",
        "GET /static/{path:.+}",
    }


async def test_without_a_session_everything_else_is_refused(house: House) -> None:
    stranger = await house.visitor()
    call = house.call()
    for route in house.routes():
        if route.act == "public":
            continue
        answer = await stranger.ask(route.method, path_of(route, call), example(route))
        assert (answer.status, answer.slug) == (401, "not-logged-in"), route.path


@pytest.mark.parametrize("role", ROLES)
async def test_every_route_asks_may(house: House, role: ActorRole) -> None:
    somebody = await house.machine("one", role, ai="acme" if role == "ai" else "")
    for route in house.routes():
        act = act_of(route)
        if act in ("public", "login"):
            continue
        call = house.call()
        answer = await somebody.ask(route.method, path_of(route, call), example(route))
        refused = answer.status == 403 and answer.body["act"] == act
        assert refused is (act not in PERMISSIONS[role]), (route.method, route.path, answer.status, answer.body)
        house.hang_up(call)


async def test_every_route_with_a_call_asks_about_that_call(house: House) -> None:
    """An agent of another queue gets 403 on each of them, whatever else is in the request."""
    agent = await house.person("anna", queues=("support",))
    call = house.call(queue="sales")
    for route in house.routes():
        if "{call}" in route.path and route.live and act_of(route) in PERMISSIONS["agent"]:
            answer = await agent.ask(route.method, path_of(route, call), example(route))
            assert (answer.status, answer.slug) == (403, "not-allowed"), route.path
            assert answer.body["detail"] == "You are not in the queue 'sales'."


async def test_an_ai_token_sees_its_own_calls_only(house: House) -> None:
    ai = await house.machine("bot", "ai", ai="acme")
    mine, other = house.call("1", ai="acme"), house.call("2", ai="globex")
    listed = await ai.ask("GET", "calls")
    assert [call["id"] for call in listed.body["calls"]] == [mine]
    turn = BODIES[messages.NewTurn]
    assert (await ai.ask("POST", f"calls/{mine}/transcript", turn)).status == 200
    refused = await ai.ask("POST", f"calls/{other}/transcript", turn)
    assert (refused.status, refused.body["detail"]) == (403, "This token belongs to another AI.")


def path_of(route: Route, call: str) -> str:
    """The route's path with something in its places."""
    filled = route.path.replace("{call}", call)
    return re.sub(r"{\w+(:[^}]*)?}", "none", filled)


def example(route: Route) -> dict[str, Any] | None:
    return BODIES[route.body] if route.body is not None else None
