"""Opening the store."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from connector.domain.errors import BadValue, StoreUnavailable
from connector.store import Store
from connector.store.schema import audit_metadata, metadata

from .conftest import KEY, Place


async def test_what_was_kept_is_there_after_a_restart(place: Place) -> None:
    async with place.open() as store:
        await store.accounts.add("anna", "Anna", "agent", "hash")
        await store.audit.intent("anna", "monitor", None, {})
    async with place.open() as store:
        assert [account.username for account in await store.accounts.list()] == ["anna"]
        assert await store.audit.verify() == []
        await store.audit.intent("anna", "monitor", None, {})
        assert [row.number for row in await store.audit.read()] == [1, 2]


async def test_commits_of_the_audit_are_synced_and_the_file_is_in_wal_mode(store: Store, place: Place) -> None:
    synchronous = await store.audit._writer.run(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar())
    mode = await store.audit._writer.run(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar())
    assert (synchronous, mode) == (2, "wal")  # 2 is FULL
    foreign_keys = await store.accounts._database.run(lambda c: c.exec_driver_sql("PRAGMA foreign_keys").scalar())
    assert foreign_keys == 1


@pytest.mark.parametrize("url", ["nonsense", "mysql+aiomysql://db/x", "sqlite+aiosqlite://", "sqlite:///x"])
async def test_a_url_that_is_none_is_refused_with_the_remedy(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"store\.url"):
        async with Store.open(url, KEY, tmp_path / "reserve"):
            pass


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open"):
        async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/no/such.db", KEY, tmp_path / "reserve"):
            pass


async def test_a_file_that_is_no_database_is_unavailable(place: Place) -> None:
    place.file.write_text("this is not a database, and it is long enough to be taken for one" * 20)
    with pytest.raises(StoreUnavailable, match="not a database"):
        async with place.open():
            pass


async def test_a_newer_schema_is_left_alone(place: Place) -> None:
    async with place.open():
        pass
    place.tamper("UPDATE meta SET value = '99' WHERE key = 'schema'", file=place.file)
    with pytest.raises(StoreUnavailable, match="version 99"):
        async with place.open():
            pass


async def test_an_error_inside_passes_through_as_it_is(place: Place) -> None:
    with pytest.raises(KeyError):
        async with place.open():
            raise KeyError("not wrapped in a group")


async def test_errors_show_no_parameters(store: Store, place: Place) -> None:
    unlock = place.lock(place.file)
    with pytest.raises(StoreUnavailable) as caught:
        await store.accounts.add("secret-name", "Secret Name", "agent", "secret-hash")
    unlock()
    assert "secret" not in str(caught.value).lower()


def test_the_schema_is_postgresqls_too() -> None:
    for table in (*metadata.sorted_tables, *audit_metadata.sorted_tables):
        assert str(CreateTable(table).compile(dialect=postgresql.dialect())).strip()  # type: ignore[no-untyped-call]


def test_sqlite_is_new_enough() -> None:
    assert sqlite3.sqlite_version_info >= (3, 22)
