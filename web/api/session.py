"""Logging in and out, who am I, on and off duty."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from typing_extensions import TypedDict

from connector.domain.people import PERMISSIONS, may
from connector.ports import Journal

from ..auth import Guard, Principal, folded
from ..errors import NotLoggedIn, TooManyAttempts, WrongPassword
from ..messages import ChangePassword, Duty, IceServerJson, Login
from ..record import recorded
from ..routing import Ask, Route
from ..site import Site
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
        at_a_panel = "open-leg" in PERMISSIONS[actor.role]
        return {
            "id": actor.id,
            "name": actor.name,
            "role": actor.role,
            "may": sorted(act for act in PERMISSIONS[actor.role] if may(actor, act)),
            "queues": sorted(actor.queues),
            "tenants": sorted(actor.tenants),
            "duty": duty.get(principal.session, {"on": False, "queues": []}),
            "destinations": dict(destinations) if at_a_panel else {},
            "ice_servers": list(ice_servers(actor.id)) if at_a_panel else [],
            "deaf": list(deaf) if at_a_panel else [],
        }

    async def login(ask: Ask) -> web.Response:
        body = ask.body(Login)
        guard.admit(body.username, ask.address)
        # By the name of the account, so that whoever looks for it finds the log-in, however the name was typed.
        async with recorded(journal, folded(body.username), "login", {"address": ask.address}):
            secret, principal = await guard.login(body.username, body.password, ask.address)
        await guard.replaced(ask.who)
        response = web.Response(body=dumps(shown(principal)).encode(), content_type="application/json", charset="utf-8")
        site.set_cookie(response, secret)
        return response

    async def who(ask: Ask) -> Mapping[str, Any]:
        return shown(ask.principal)

    async def logout(ask: Ask) -> web.Response:
        await guard.logout(ask.principal)
        response = web.Response(status=204)
        site.del_cookie(response)
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
