"""People who log in."""

import pytest

from connector.domain.errors import BadValue
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
