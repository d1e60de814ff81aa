"""Logging in and out, who am I, on and off duty."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from typing_extensions import TypedDict

from connector.domain.people import PERMISSIONS, Allowed, may
from connector.ports import Journal

from ..auth import Guard, Principal, Site
from ..errors import NotLoggedIn, TooManyAttempts, WrongPassword
from ..messages import ChangePassword, Duty, IceServerJson, Login
from ..record import recorded
from ..routing import Ask, Route
from ..views import dumps


class DutyJson(TypedDict):
    on: bool
    queues: list[str]


class SessionJson(TypedDict):
    id: str
    name: str
    role: str
    may: list[str]
    queues: list[str]
    tenants: list[str]
    duty: DutyJson
    destinations: dict[str, list[str]]
    ice_servers: list[IceServerJson]
    deaf: list[str]
    """AIs that hear nothing while a person speaks in their place."""


def session_routes(
    guard: Guard,
    site: Site,
    journal: Journal,
    close_leg: Callable[[str], Awaitable[None]],
    destinations: Mapping[str, list[str]],
    ice_servers: Callable[[str], Sequence[IceServerJson]],
    deaf: Sequence[str] = (),
) -> list[Route]:
    """`close_leg` closes the leg of a session; `destinations` are the keys that each PBX can transfer to."""
    duty: dict[str, DutyJson] = {}

    async def forget(principal: Principal, _why: str) -> None:
        duty.pop(principal.session, None)

    guard.on_end(forget)

    def shown(principal: Principal) -> SessionJson:
        actor = principal.actor
        return {
            "id": actor.id,
            "name": actor.name,
            "role": actor.role,
            "may": sorted(act for act in PERMISSIONS[actor.role] if isinstance(may(actor, act), Allowed)),
            "queues": sorted(actor.queues),
            "tenants": sorted(actor.tenants),
            "duty": duty.get(principal.session, {"on": False, "queues": []}),
            "destinations": dict(destinations),
            "ice_servers": list(ice_servers(actor.id)) if "open-leg" in PERMISSIONS[actor.role] else [],
            "deaf": list(deaf),
        }

    async def login(ask: Ask) -> web.Response:
        body = ask.body(Login)
        address = site.address(ask.request)
        guard.admit(body.username, address)
        async with recorded(journal, body.username, "login", {"address": address}):
            secret, principal = await guard.login(body.username, body.password, address)
        if ask.who is not None and ask.who.by_cookie:
            await guard.logout(ask.who)  # one browser, one session: the one it had is over
        response = web.Response(body=dumps(shown(principal)).encode(), content_type="application/json", charset="utf-8")
        set_cookie(response, site, secret)
        return response

    async def who(ask: Ask) -> Mapping[str, Any]:
        return shown(ask.principal)

    async def logout(ask: Ask) -> web.Response:
        await guard.logout(ask.principal)
        response = web.Response(status=204)
        response.del_cookie(site.cookie, path="/", secure=site.https, httponly=True, samesite="Strict")
        return response

    async def set_duty(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(Duty)
        duty[ask.principal.session] = {"on": body.on, "queues": list(body.queues)}
        if not body.on:
            await close_leg(ask.principal.session)
        return duty[ask.principal.session]

    async def change_password(ask: Ask) -> None:
        body = ask.body(ChangePassword)
        account = await guard.account(ask.principal)
        guard.admit(account.username, ask.address)
        async with recorded(journal, ask.actor.id, "change-password", {"address": ask.address}):
            await guard.change_password(ask.principal, account, body.old_password, body.new_password, ask.address)

    path = "/api/v1/session"
    return [
        Route(
            "POST",
            path,
            "public",
            login,
            "Log in",
            Login,
            SessionJson,
            record="inside",
            errors=(NotLoggedIn, TooManyAttempts),
        ),
        Route("GET", path, "login", who, "Who am I, what may I do", answer=SessionJson),
        Route(
            "DELETE",
            path,
            "login",
            logout,
            "Log out; my engagements end",
            status=204,
            record="best",
            word="logout",
            limited=False,
        ),
        Route(
            "PUT",
            f"{path}/duty",
            "open-leg",
            set_duty,
            "Go on or off duty",
            Duty,
            DutyJson,
            record="best",
            word="duty",
            facts=lambda ask: {"on": str(ask.body(Duty).on).lower()},
        ),
        Route(
            "PUT",
            f"{path}/password",
            "login",
            change_password,
            "A new password of one's own; ends one's other sessions",
            ChangePassword,
            status=204,
            record="inside",
            errors=(WrongPassword, TooManyAttempts),
        ),
    ]


def set_cookie(response: web.StreamResponse, site: Site, secret: str) -> None:
    """Hands the browser its session. No lifetime: it ends with the browser, or before that on the server."""
    response.set_cookie(site.cookie, secret, path="/", secure=site.https, httponly=True, samesite="Strict")
