"""Databases of earlier versions. `tests/data/store` has dumps of them, made by the program of that time."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.domain.calls import CallId
from connector.domain.errors import StoreUnavailable
from connector.domain.people import EVERYTHING
from connector.store import Store
from connector.store.schema import VERSION
from connector.store.trail import Wanted

from .conftest import Place

DATA = Path(__file__).parents[3] / "data" / "store"
CALL = CallId("lab~1700000000.1")


@pytest.fixture
def old(place: Place) -> Place:
    """A store that version 1 of the schema made: a person, tokens, a past engagement, four rows of audit."""
    for file in (place.file, place.audit_file):
        connection = sqlite3.connect(file)
        connection.executescript((DATA / f"{file.stem}-1.sql").read_text(encoding="utf-8"))
        connection.close()
    return place


def version(place: Place) -> str:
    with sqlite3.connect(place.file) as connection:
        found = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    connection.close()
    return str(found[0])


async def see(store: Store) -> None:
    """Everything that version 1 kept is there, and reaches what it reached."""
    (anna,) = await store.accounts.list()
    assert (anna.username, anna.queues, anna.tenants) == ("anna", {"sales"}, {"acme"})
    assert await store.sessions.get("session-hash") is not None
    token = await store.tokens.by_hash("token-hash")
    assert token is not None
    assert (token.name, token.ai, token.queues, token.tenants) == ("my-platform", "bot", EVERYTHING, EVERYTHING)
    assert await store.tokens.by_hash("old-hash") is None
    (past,) = await store.engagements.of_call(CALL)
    assert (past.ended, past.note) == ("released", "a note")
    assert [turn.text for turn in await store.transcripts.turns(CALL)] == ["Hello"]
    assert await store.audit.verify() == []
    acts = await store.audit.acts(Wanted())
    assert [act.act for act in acts][-2:] == ["add-token", "takeover"]


async def test_a_store_of_version_1_is_upgraded_with_all_that_is_in_it(old: Place) -> None:
    async with old.open() as store:
        await see(store)
    assert version(old) == str(VERSION)


async def test_an_upgraded_store_takes_what_is_new(old: Place) -> None:
    async with old.open() as store:
        await store.tokens.add("theirs", "agent", "", "hash", ["sales"], ["acme"])
        number = await store.audit.intent("anna", "monitor", CALL, {"tenant": "acme", "queue": "sales"})
        await store.audit.outcome(number, "ok", {})
    async with old.open() as store:  # the second start finds nothing to upgrade
        await see(store)
        theirs = await store.tokens.by_hash("hash")
        assert theirs is not None
        assert (theirs.queues, theirs.tenants) == ({"sales"}, {"acme"})
        (act,) = await store.audit.acts(Wanted(tenants=frozenset({"acme"})))
        assert (act.number, act.result) == (number, "ok")


async def test_old_acts_say_not_whose_their_calls_were_so_only_the_whole_house_reads_them(old: Place) -> None:
    async with old.open() as store:
        assert await store.audit.acts(Wanted(queues=frozenset({"sales"}))) == []
        assert len(await store.audit.acts(Wanted(call=CALL))) == 1


async def test_old_turns_are_forgotten_by_the_time_that_they_say(old: Place) -> None:
    async with old.open() as store:
        assert await store.transcripts.forget(datetime(2026, 1, 1, tzinfo=UTC)) == 0
        assert await store.transcripts.forget(datetime(2026, 1, 3, tzinfo=UTC)) == 1


async def test_an_upgrade_that_was_broken_off_is_finished(old: Place) -> None:
    old.tamper("ALTER TABLE audit ADD COLUMN tenant VARCHAR(256)")
    async with old.open() as store:
        await see(store)


async def test_a_database_that_cannot_be_upgraded_is_left_as_it_was(old: Place) -> None:
    unlock = old.lock()
    with pytest.raises(StoreUnavailable, match="locked"):
        async with old.open():
            pass
    unlock()
    assert version(old) == "1"
    async with old.open() as store:
        await see(store)
