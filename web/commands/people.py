"""``takeover user`` and ``takeover token``: who may come in. Works beside a running service, which notices at once."""

import getpass
import re
import sys
from argparse import Namespace
from collections.abc import Awaitable
from typing import cast

from connector.domain.errors import LastAdministrator
from connector.domain.people import ActorRole
from connector.store import Store
from connector.store.accounts import Account
from connector.store.tokens import Token

from ..messages import MAX_PASSWORD, MIN_PASSWORD
from ..passwords import hash_password, hash_secret, new_secret
from .outcome import CommandFailed, Outcome

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_ACTOR = "command-line"


async def user(store: Store, options: Namespace) -> Outcome:
    """add, change, list, password, remove."""
    match options.act:
        case "add":
            return await _add_user(store, options)
        case "change":
            return await _change_user(store, options)
        case "password":
            password = _password(options)
            number = await store.audit.intent(_ACTOR, "set-password", None, {"name": options.name})
            found = await store.accounts.set_password(options.name, await hash_password(password))
            await store.audit.outcome(number, "ok" if found else "not-found", {})
            return _done(found, options.name, f"{options.name} has a new password; older sessions end now")
        case "remove":
            number = await store.audit.intent(_ACTOR, "remove-user", None, {"name": options.name})
            found = await _kept(store, number, store.accounts.remove(options.name))
            return _done(found, options.name, f"{options.name} is removed; sessions and engagements end now")
    accounts = await store.accounts.list()
    return Outcome(
        [f"{one.username:24} {one.role:11} {_reach(one):24} {one.name}" for one in accounts]
        or ["Nobody yet: takeover user add NAME"],
        {
            "users": [
                {
                    "username": one.username,
                    "role": one.role,
                    "name": one.name,
                    "queues": sorted(one.queues),
                    "tenants": sorted(one.tenants),
                }
                for one in accounts
            ]
        },
    )


def _reach(account: Account | Token) -> str:
    """Which calls somebody sees, in few words."""
    parts = [("queues", account.queues), ("tenants", account.tenants)]
    return "; ".join(f"{word} {', '.join(sorted(names))}" for word, names in parts if "*" not in names) or "all calls"


async def token(store: Store, options: Namespace) -> Outcome:
    """add, list, revoke."""
    match options.act:
        case "add":
            return await _add_token(store, options)
        case "revoke":
            number = await store.audit.intent(_ACTOR, "revoke-token", None, {"name": options.name})
            found = await store.tokens.revoke(options.name)
            await store.audit.outcome(number, "ok" if found else "not-found", {})
            if not found:
                raise CommandFailed(
                    f"There is no token {options.name!r} that could be revoked; see: takeover token list"
                )
            return Outcome([f"{options.name} is revoked."], {"revoked": options.name})
    tokens = [one for one in await store.tokens.list() if one.revoked_at is None]
    return Outcome(
        [f"{one.name:24} {one.role:11} {one.ai:24} {_reach(one)}" for one in tokens]
        or ["No tokens yet: takeover token add --help"],
        {
            "tokens": [
                {
                    "name": one.name,
                    "role": one.role,
                    "ai": one.ai,
                    "queues": sorted(one.queues),
                    "tenants": sorted(one.tenants),
                }
                for one in tokens
            ]
        },
    )


async def _add_user(store: Store, options: Namespace) -> Outcome:
    _check_name(options.name)
    if await store.accounts.by_name(options.name) is not None:
        raise CommandFailed(f"There is a user {options.name!r} already; see: takeover user list")
    password = _password(options)
    role = cast("ActorRole", options.role)
    queues, tenants = options.queue or ["*"], options.tenant or ["*"]
    facts = {"name": options.name, "role": role, "queues": ",".join(queues), "tenants": ",".join(tenants)}
    number = await store.audit.intent(_ACTOR, "add-user", None, facts)
    account = await store.accounts.add(
        options.name, options.full_name or options.name, role, await hash_password(password), queues, tenants
    )
    await store.audit.outcome(number, "ok", {"account": account.id})
    return Outcome([f"{account.username} may log in now, as {role}."], {"username": account.username, "role": role})


async def _change_user(store: Store, options: Namespace) -> Outcome:
    given = {"role": options.role, "queues": options.queue, "tenants": options.tenant}
    changes = {name: value for name, value in given.items() if value}
    if not changes:
        raise CommandFailed("Nothing to change: give --role, --queue or --tenant")
    facts = {name: value if isinstance(value, str) else ",".join(value) for name, value in changes.items()}
    number = await store.audit.intent(_ACTOR, "change-user", None, {"name": options.name, **facts})
    found = await _kept(store, number, store.accounts.change(options.name, **changes))
    return _done(found, options.name, f"{options.name} is changed; older sessions end now")


async def _kept(store: Store, number: int, act: Awaitable[bool]) -> bool:
    """Whether there was such an account; what came of it is in the audit. Raises `CommandFailed`."""
    try:
        found = await act
    except LastAdministrator as error:
        await store.audit.outcome(number, error.slug, {})
        raise CommandFailed(f"{error}; nothing was changed") from None
    await store.audit.outcome(number, "ok" if found else "not-found", {})
    return found


async def _add_token(store: Store, options: Namespace) -> Outcome:
    _check_name(options.name)
    if (options.role == "ai") != bool(options.ai):
        raise CommandFailed("--ai: give the name of the AI with --role ai, and only then")
    if options.role == "metrics" and (options.queue or options.tenant):
        raise CommandFailed("--queue, --tenant: figures are the whole house's; give none with --role metrics")
    secret = new_secret()
    queues, tenants = options.queue or ["*"], options.tenant or ["*"]
    facts = {"name": options.name, "role": options.role, "queues": ",".join(queues), "tenants": ",".join(tenants)}
    number = await store.audit.intent(_ACTOR, "add-token", None, facts)
    made = await store.tokens.add(options.name, options.role, options.ai or "", hash_secret(secret), queues, tenants)
    await store.audit.outcome(number, "ok", {"token": made.id})
    lines = [secret, "It is shown this once; send it as: Authorization: Bearer <token>"]
    return Outcome(lines, {"name": made.name, "role": made.role, "ai": made.ai, "token": secret})


def _done(found: bool, name: str, said: str) -> Outcome:
    if not found:
        raise CommandFailed(f"There is no user {name!r}; see: takeover user list")
    return Outcome([f"{said}."], {"username": name})


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise CommandFailed(
            f"name: {name!r} is not accepted; use 1 to 64 letters, digits and . _ @ + -, not first a sign"
        )


def _password(options: Namespace) -> str:
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise CommandFailed("The two passwords differ; nothing was changed")
    if len(password) < MIN_PASSWORD:
        raise CommandFailed(f"password: {len(password)} characters are too few; use at least {MIN_PASSWORD}")
    if len(password) > MAX_PASSWORD:  # the log-in would refuse it
        raise CommandFailed(f"password: {len(password)} characters are too many; use at most {MAX_PASSWORD}")
    return password
