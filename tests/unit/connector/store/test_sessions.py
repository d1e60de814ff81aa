"""Log-ins."""

from datetime import UTC, datetime, timedelta

import pytest

from connector.store import Store

SOON = timedelta(hours=1)


@pytest.fixture
async def anna(store: Store) -> str:
    return (await store.accounts.add("anna", "Anna", "agent", "hash")).id


async def test_a_session_lives_until_it_expires(store: Store, anna: str) -> None:
    now = datetime.now(UTC)
    await store.sessions.add("old", anna, now - timedelta(seconds=1))
    assert await store.sessions.get("old") is None
    await store.sessions.add("new", anna, now + SOON)
    found = await store.sessions.get("new")
    assert found is not None
    assert (found.account, found.expires) == (anna, now + SOON)
    assert await store.sessions.get("nonsense") is None


async def test_log_out_here_and_everywhere(store: Store, anna: str) -> None:
    for name in ("one", "two", "three"):
        await store.sessions.add(name, anna, datetime.now(UTC) + SOON)
    assert await store.sessions.remove("one")
    assert not await store.sessions.remove("one")
    assert await store.sessions.remove_all(anna) == 2
    assert await store.sessions.get("two") is None


async def test_an_account_takes_its_sessions_along(store: Store, anna: str) -> None:
    await store.sessions.add("one", anna, datetime.now(UTC) + SOON)
    await store.accounts.remove("anna")
    assert await store.sessions.get("one") is None
