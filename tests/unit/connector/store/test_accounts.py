"""People who log in."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.errors import BadValue, LastAdministrator
from connector.store import Store


async def test_an_account_is_found_by_its_username_in_any_case(store: Store) -> None:
    added = await store.accounts.add("Anna", "Anna A.", "agent", "hash", {"sales"}, {"acme"})
    assert await store.accounts.by_name(" ANNA ") == added
    assert await store.accounts.get(added.id) == added
    assert added.queues == {"sales"}
    assert await store.accounts.by_name("ben") is None
    assert await store.accounts.get("nonsense") is None


async def test_without_restriction_everything_is_covered(store: Store) -> None:
    assert (await store.accounts.add("anna", "Anna", "admin", "hash")).queues == {"*"}


async def test_a_username_is_unique(store: Store) -> None:
    await store.accounts.add("anna", "Anna", "agent", "hash")
    with pytest.raises(BadValue, match="username: 'Anna' is not accepted; it exists already"):
        await store.accounts.add("Anna", "Another", "agent", "hash")


async def test_list_set_password_and_remove(store: Store) -> None:
    for name in ("ben", "anna"):
        await store.accounts.add(name, name.title(), "agent", "old")
    assert [account.username for account in await store.accounts.list()] == ["anna", "ben"]
    assert await store.accounts.set_password("anna", "new")
    assert not await store.accounts.set_password("carl", "new")
    assert [account.password_hash for account in await store.accounts.list()] == ["new", "old"]
    assert await store.accounts.remove("anna")
    assert not await store.accounts.remove("anna")


async def test_a_new_password_ends_every_session_but_the_one_that_is_kept(store: Store) -> None:
    anna = await store.accounts.add("anna", "Anna", "agent", "old")
    ben = await store.accounts.add("ben", "Ben", "agent", "old")
    for key, account in (("office", anna), ("home", anna), ("his", ben)):
        await store.sessions.add(key, account.id, datetime.now(UTC) + timedelta(hours=1))
    assert await store.accounts.set_password("anna", "new", keep="office")
    assert [key for key in ("office", "home", "his") if await store.sessions.get(key)] == ["office", "his"]
    assert await store.accounts.set_password("anna", "newer")
    assert [key for key in ("office", "home", "his") if await store.sessions.get(key)] == ["his"]


async def test_the_last_administrator_stays_one(store: Store) -> None:
    await store.accounts.add("anna", "Anna", "admin", "hash")
    await store.accounts.add("of-one-tenant", "Tom", "admin", "hash", tenants=["acme"])  # administers nothing
    await store.accounts.add("ben", "Ben", "agent", "hash")
    for refused in (
        store.accounts.remove("anna"),
        store.accounts.change("Anna", "agent"),
        store.accounts.change("anna", queues=["sales"]),
        store.accounts.change("anna", tenants=["acme"]),
    ):
        with pytest.raises(LastAdministrator, match="'anna' is the last administrator; add or promote another one"):
            await refused
    (anna, *_) = await store.accounts.list()
    assert (anna.role, anna.queues, anna.tenants) == ("admin", {"*"}, {"*"})
    assert await store.accounts.change("ben", "admin")
    assert await store.accounts.remove("anna")


@pytest.mark.parametrize("acts", [(True, True), (False, False), (True, False)], ids=["remove", "demote", "both"])
async def test_two_administrators_who_take_each_others_rights_at_once_leave_one(
    store: Store, acts: tuple[bool, bool]
) -> None:
    async def attempt(username: str, removes: bool) -> bool:
        try:
            if removes:
                return await store.accounts.remove(username)
            return await store.accounts.change(username, "agent")
        except LastAdministrator:
            return False

    left = ""
    for number in range(20):
        names = f"anna{number}", f"ben{number}"
        for name in names:
            await store.accounts.add(name, name.title(), "admin", "hash")
        if left:
            await store.accounts.remove(left)
        assert sorted(await asyncio.gather(*map(attempt, names, acts))) == [False, True]
        (left,) = [one.username for one in await store.accounts.list() if one.role == "admin"]
