"""Machines that use the API."""

import pytest

from connector.domain.errors import BadValue
from connector.domain.people import EVERYTHING
from connector.store import Store


async def test_a_token_works_until_it_is_revoked(store: Store) -> None:
    added = await store.tokens.add("bot platform", "ai", "bot", "hash-1")
    assert await store.tokens.by_hash("hash-1") == added
    assert await store.tokens.by_hash("hash-2") is None
    assert await store.tokens.revoke("bot platform")
    assert not await store.tokens.revoke("bot platform")
    assert await store.tokens.by_hash("hash-1") is None
    (listed,) = await store.tokens.list()
    assert listed.revoked_at is not None


async def test_a_token_reaches_the_queues_and_tenants_that_it_was_given(store: Store) -> None:
    await store.tokens.add("theirs", "agent", "", "hash-1", ["sales", "support"], ["acme"])
    await store.tokens.add("everybody's", "agent", "", "hash-2")
    theirs, everybodys = await store.tokens.by_hash("hash-1"), await store.tokens.by_hash("hash-2")
    assert theirs is not None
    assert everybodys is not None
    assert (theirs.queues, theirs.tenants) == ({"sales", "support"}, {"acme"})
    assert (everybodys.queues, everybodys.tenants) == (EVERYTHING, EVERYTHING)


async def test_a_name_is_used_once(store: Store) -> None:
    await store.tokens.add("monitoring", "supervisor", "", "hash-1")
    await store.tokens.revoke("monitoring")
    with pytest.raises(BadValue, match="revoked ones count"):
        await store.tokens.add("monitoring", "supervisor", "", "hash-2")
