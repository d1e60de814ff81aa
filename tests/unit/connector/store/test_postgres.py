"""A real PostgreSQL that is shared, locked, restarted, frozen, tampered with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from connector.domain.calls import CallId
from connector.domain.errors import StoreUnavailable
from connector.store import Store, engine
from connector.store import audit as audit_module
from connector.store.trail import Wanted
from tests.support.postgres import Postgres
from tests.support.processes import descendants, frozen

from .conftest import KEY

CALL = CallId("main~1.2")
T = TypeVar("T")


@dataclass(frozen=True)
class Shared:
    """A database of the test's own, on a server that all tests share."""

    server: Postgres
    name: str
    folder: Path

    def open(self, node: str = "one") -> AbstractAsyncContextManager[Store]:
        return Store.open(self.server.url(self.name), KEY, self.folder / node, reserve_size=4096)

    def tell(self, *statements: str) -> None:
        self.server.tell(self.name, *statements)


@pytest.fixture
def shared(postgres: Postgres, tmp_path: Path) -> Shared:
    return Shared(postgres, postgres.database(), tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for here never comes."""
    monkeypatch.setattr(engine, "CONNECT_S", 0.5)
    monkeypatch.setattr(engine, "COMMAND_S", 0.5)
    monkeypatch.setattr(audit_module, "COMMIT_S", 0.5)
    monkeypatch.setattr(audit_module, "RECOVERY_S", 0.05)


@pytest.fixture
async def store(shared: Shared) -> AsyncIterator[Store]:
    async with shared.open() as store:
        yield store


async def back(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of a store that comes back; on a busy machine not with the first question."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_several_services_make_one_empty_database_at_once(shared: Shared) -> None:
    async def start(node: str) -> None:
        async with shared.open(node) as store:
            await store.audit.intent(node, "monitor", CALL, {})

    await asyncio.gather(*(start(f"node{number}") for number in range(4)))
    async with shared.open() as store:
        assert await store.audit.verify() == []
        assert len(await store.audit.read()) == 4


async def test_two_services_share_one_chain(shared: Shared, store: Store) -> None:
    async with shared.open("two") as other:
        for _ in range(10):
            await asyncio.gather(
                *(one.audit.intent("anna", "monitor", CALL, {}) for one in (store, other, store)),
            )
        assert [row.number for row in await store.audit.read()] == list(range(1, 31))
        assert await other.audit.verify() == []


async def test_what_somebody_changes_shows(shared: Shared, store: Store) -> None:
    for act in ("monitor", "takeover", "release"):
        await store.audit.intent("anna", act, CALL, {"leg": "l1"})
    shared.tell("UPDATE audit SET actor = 'ben' WHERE number = 2", "DELETE FROM audit WHERE number = 3")
    assert [fault.kind for fault in await store.audit.verify()] == ["changed", "cut"]


async def test_a_locked_audit_is_unavailable_and_then_available_again(
    shared: Shared, impatient: None, store: Store
) -> None:
    unlock = shared.server.lock(shared.name, "audit_head")
    with pytest.raises(StoreUnavailable):
        await store.audit.intent("anna", "monitor", CALL, {})
    number = await store.audit.emergency_intent("anna", "takeover", CALL, {"leg": "l1"})
    await store.audit.outcome(number, "ok", {})
    unlock()

    async def moved() -> None:
        if not await store.audit.acts(Wanted(act="takeover", result="ok")):
            raise StoreUnavailable("it is in the reserve")

    await back(moved)
    assert await store.audit.verify() == []


async def test_a_server_that_crashed_and_came_back_is_used_again(shared: Shared, impatient: None, store: Store) -> None:
    await store.accounts.add("anna", "Anna", "agent", "hash")
    shared.server.stop()
    with pytest.raises(StoreUnavailable):
        await store.accounts.list()
    with pytest.raises(StoreUnavailable):
        await store.audit.intent("anna", "monitor", CALL, {})
    shared.server.start()
    assert [one.username for one in await back(store.accounts.list)] == ["anna"]
    await back(lambda: store.audit.intent("anna", "monitor", CALL, {}))
    assert await store.audit.verify() == []


async def test_a_server_that_hangs_is_unavailable(shared: Shared, impatient: None, store: Store) -> None:
    await store.accounts.list()
    with frozen(shared.server.pid, *descendants(shared.server.pid)):
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable):
                await store.accounts.list()
            with pytest.raises(StoreUnavailable):
                await store.audit.intent("anna", "monitor", CALL, {})
    assert await back(store.accounts.list) == []


async def test_columns_that_an_older_version_lacks_are_added(shared: Shared) -> None:
    async with shared.open() as store:
        await store.tokens.add("bot", "ai", "acme", "hash")
        await store.audit.intent("anna", "monitor", CALL, {"tenant": "acme", "queue": ""})
    shared.tell(
        "ALTER TABLE tokens DROP COLUMN queues, DROP COLUMN tenants",
        "DROP INDEX audit_tenant",
        "UPDATE meta SET value = '1' WHERE key = 'schema'",
    )
    async with shared.open() as store:
        (token,) = await store.tokens.list()
        assert (token.queues, token.tenants) == ({"*"}, {"*"})
        assert await store.audit.verify() == []
