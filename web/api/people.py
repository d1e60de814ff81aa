"""People who log in: who they are, whose calls they reach, and their passwords. A change ends the person's sessions."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from connector.domain.errors import LastAdministrator, NotAllowed
from connector.store import Store
from connector.store.accounts import Account

from ..errors import NotFound
from ..messages import ChangeUser, NewUser, SetPassword
from ..passwords import hash_password
from ..routing import Ask, Route
from ..views import stamp


class UserJson(TypedDict):
    id: str
    username: str
    name: str
    """As colleagues see it."""
    role: str
    queues: list[str]
    tenants: list[str]
    """Whose calls the person reaches; ``*`` for all."""
    created_at: str


class UsersJson(TypedDict):
    users: list[UserJson]


def people_routes(store: Store) -> list[Route]:
    """The routes of administrators. The session of who is changed or removed ends within a second (`Guard.watch`)."""

    async def users(_: Ask) -> Mapping[str, Any]:
        return {"users": [_shown(account) for account in await store.accounts.list()]}

    async def add(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(NewUser)
        secret = await hash_password(body.password)
        name = body.name or body.username
        account = await store.accounts.add(body.username, name, body.role, secret, body.queues, body.tenants)
        return _shown(account)

    async def change(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(ChangeUser)
        username = (await another(ask)).username
        await store.accounts.change(username, body.role, body.queues, body.tenants)
        return _shown(await found(username))

    async def set_password(ask: Ask) -> None:
        account = await found(_named(ask))
        await store.accounts.set_password(account.username, await hash_password(ask.body(SetPassword).password))

    async def remove(ask: Ask) -> None:
        await store.accounts.remove((await another(ask)).username)

    async def found(username: str) -> Account:
        account = await store.accounts.by_name(username)
        if account is None:
            raise NotFound(f"There is no user {username[:64]!r}; GET /api/v1/users lists those there are.")
        return account

    async def another(ask: Ask) -> Account:
        """The account of the path, unless it is one's own. That somebody is left who administers: see `Accounts`."""
        account = await found(_named(ask))
        if account.id == ask.actor.id:
            raise NotAllowed("administer", "This is you. Ask another administrator, or use: takeover user.")
        return account

    path, one = "/api/v1/users", "/api/v1/users/{user}"
    return [
        Route("GET", path, "administer", users, "The people who may log in", answer=UsersJson),
        Route(
            "POST",
            path,
            "administer",
            add,
            "A new person",
            NewUser,
            UserJson,
            201,
            word="add-user",
            facts=lambda ask: {"name": ask.body(NewUser).username, **_reach(ask.body(NewUser))},
        ),
        Route(
            "PATCH",
            one,
            "administer",
            change,
            "Another role, other queues or tenants; ends the person's sessions",
            ChangeUser,
            UserJson,
            word="change-user",
            facts=lambda ask: {"name": _named(ask), **_reach(ask.body(ChangeUser))},
            errors=(NotFound, LastAdministrator),
        ),
        Route(
            "PUT",
            f"{one}/password",
            "administer",
            set_password,
            "A new password; ends the sessions of the old one",
            SetPassword,
            status=204,
            word="set-password",
            facts=lambda ask: {"name": _named(ask)},
            errors=(NotFound,),
        ),
        Route(
            "DELETE",
            one,
            "administer",
            remove,
            "Remove a person; ends the sessions, and gives calls back",
            status=204,
            word="remove-user",
            facts=lambda ask: {"name": _named(ask)},
            errors=(NotFound, LastAdministrator),
        ),
    ]


def _named(ask: Ask) -> str:
    return ask.request.match_info["user"][:64]


def _reach(body: NewUser | ChangeUser) -> dict[str, str]:
    """What the audit keeps of a person's rights: those that were given."""
    given = {"role": body.role, "queues": ",".join(body.queues or ()), "tenants": ",".join(body.tenants or ())}
    return {name: value for name, value in given.items() if value}


def _shown(account: Account) -> UserJson:
    return {
        "id": account.id,
        "username": account.username,
        "name": account.name,
        "role": account.role,
        "queues": sorted(account.queues),
        "tenants": sorted(account.tenants),
        "created_at": stamp(account.created_at),
    }
