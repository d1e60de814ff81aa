"""The audit on a real database: durable before the effect, chained, and with a reserve for when the store fails."""

import asyncio
import re
import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from connector.domain.calls import CallId
from connector.domain.errors import BadValue, StoreUnavailable
from connector.store import Store
from connector.store import audit as audit_module
from connector.store import store as store_module
from connector.store.chain import Head
from connector.store.engine import Database, make_engine
from connector.store.trail import OPEN, Wanted

from .conftest import KEY, Place

CALL = CallId("main~1.2")


@pytest.fixture(autouse=True)
def writer(request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own writer, and the one that PostgreSQL uses, which SQLite's asynchronous driver can use too."""
    if request.param == "driver":
        monkeypatch.setattr(store_module, "make_writer", lambda url: Database(make_engine(url)))


async def test_intent_and_outcome_are_two_rows(store: Store) -> None:
    number = await store.audit.intent("anna", "takeover", CALL, {"leg": "l1"})
    await store.audit.outcome(number, "ok", {"heard_ms": "31"})
    intent, outcome = await store.audit.read()
    assert (intent.number, intent.kind, intent.actor, intent.act, intent.call) == (
        1,
        "intent",
        "anna",
        "takeover",
        CALL,
    )
    assert intent.facts == {"leg": "l1"}
    assert (outcome.kind, outcome.refers, outcome.actor, outcome.call) == ("outcome", 1, "anna", CALL)
    assert outcome.facts == {"result": "ok", "heard_ms": "31"}


async def test_an_intent_is_durable_when_it_returns(store: Store, place: Place) -> None:
    await store.audit.intent("anna", "takeover", CALL, {})
    async with place.open() as other:  # what another process sees
        assert [row.act for row in await other.audit.read()] == ["takeover"]


async def test_reading_is_filtered(store: Store) -> None:
    for actor, call in (("anna", CALL), ("ben", CALL), ("anna", None)):
        number = await store.audit.intent(actor, "monitor", call, {})
        await store.audit.outcome(number, "ok", {})
    assert len(await store.audit.read()) == 6
    assert len(await store.audit.read(call=CALL)) == 4
    assert len(await store.audit.read(actor="anna")) == 4
    assert len(await store.audit.read(call=CALL, actor="anna")) == 2
    assert await store.audit.read(since=datetime.now(UTC) + timedelta(seconds=1)) == []
    assert [row.number for row in await store.audit.read(limit=2)] == [5, 6]


async def test_two_hundred_acts_at_once_share_their_commits(store: Store) -> None:
    with structlog.testing.capture_logs() as logs:
        numbers = await asyncio.gather(*(store.audit.intent("anna", "monitor", CALL, {}) for _ in range(200)))
    assert sorted(numbers) == list(range(1, 201))
    assert sum(line["event"] == "audit.head" for line in logs) <= 3
    assert await store.audit.verify() == []


async def test_the_head_is_copied_to_the_process_log(store: Store) -> None:
    with structlog.testing.capture_logs() as logs:
        await store.audit.intent("anna", "monitor", CALL, {})
    heads = [line["head"] for line in logs if line["event"] == "audit.head"]
    assert heads == [str(await store.audit.head())]
    assert re.fullmatch(r"1:[0-9a-f]{64}", heads[0])


COPIED = "at, kind, refers, actor, act, call, facts, NULL, mac, tenant, queue"


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("UPDATE audit SET actor = 'ben' WHERE number = 2", {"changed"}),
        ("UPDATE audit SET facts = '{}' WHERE number = 2", {"changed"}),
        ("UPDATE audit SET at = '2020-01-01T00:00:00.000000Z' WHERE number = 4", {"changed"}),
        ("DELETE FROM audit WHERE number = 2", {"missing"}),
        ("DELETE FROM audit WHERE number = 4", {"cut"}),
        ("UPDATE audit SET number = CASE number WHEN 2 THEN 99 ELSE number END", {"missing"}),
        ("UPDATE audit_head SET number = 2", {"head"}),
        ("UPDATE audit_head SET mac = (SELECT mac FROM audit WHERE number = 3)", {"head"}),
        ("UPDATE audit SET call = 'main~9' WHERE number = 3", {"changed"}),
        ("UPDATE audit SET refers = 1 WHERE number = 3", {"changed"}),
        ("UPDATE audit SET kind = 'outcome' WHERE number = 3", {"changed"}),
        ("UPDATE audit SET act = 'monitor' WHERE number = 2", {"changed"}),
        ("UPDATE audit SET facts = 'no json' WHERE number = 2", {"changed"}),
        ("UPDATE audit SET facts = '[1]' WHERE number = 2", {"changed"}),
        ("""UPDATE audit SET facts = '{"leg":"evil","leg":"l1"}' WHERE number = 2""", {"changed"}),
        ("UPDATE audit SET reserve = 'x' WHERE number = 2", {"changed"}),
        ("UPDATE audit SET tenant = 'theirs' WHERE number = 2", {"changed"}),
        ("UPDATE audit SET queue = NULL WHERE number = 2", {"changed"}),
        ("UPDATE audit SET mac = (SELECT mac FROM audit WHERE number = 1) WHERE number = 2", {"changed"}),
        (
            f"INSERT INTO audit SELECT -7, {COPIED} FROM audit LIMIT 1",
            {"changed"},
        ),
        (
            f"INSERT INTO audit SELECT 5, {COPIED} FROM audit LIMIT 1",
            {"changed"},
        ),
        ("DELETE FROM audit", {"cut"}),
    ],
)
async def test_whatever_is_changed_shows(place: Place, statement: str, kinds: set[str]) -> None:
    async with place.open() as store:
        for act in ("monitor", "takeover", "release", "monitor"):
            await store.audit.intent("anna", act, CALL, {"leg": "l1", "tenant": "acme", "queue": ""})
        assert await store.audit.verify() == []
        place.tamper(statement)
        assert kinds <= {fault.kind for fault in await store.audit.verify()}


async def test_swapped_rows_show(place: Place) -> None:
    async with place.open() as store:
        for act in ("monitor", "takeover", "release", "monitor"):
            await store.audit.intent("anna", act, CALL, {"leg": "l1"})
        swap = [f"UPDATE audit SET number = {to} WHERE number = {of}" for of, to in ((2, -2), (3, 2), (-2, 3))]
        place.tamper(*swap)
        assert [(fault.number, fault.kind) for fault in await store.audit.verify()][:2] == [
            (2, "changed"),
            (3, "changed"),
        ]


async def test_a_tail_cut_together_with_the_kept_head_shows_against_the_log(place: Place) -> None:
    async with place.open() as store:
        for act in ("monitor", "takeover", "release"):
            await store.audit.intent("anna", act, CALL, {})
        logged = await store.audit.head()
        place.tamper(
            "DELETE FROM audit WHERE number = 3",
            "UPDATE audit_head SET number = 2, mac = (SELECT mac FROM audit WHERE number = 2)",
        )
        assert await store.audit.verify() == []
        assert [fault.kind for fault in await store.audit.verify(head=logged)] == ["cut"]
        assert [fault.kind for fault in await store.audit.verify(head=Head.parse(str(logged)))] == ["cut"]


async def test_the_key_is_needed_to_verify(store: Store) -> None:
    await store.audit.intent("anna", "monitor", CALL, {})
    assert [fault.kind for fault in await store.audit.verify(b"w" * 32)] == ["changed"]
    assert await store.audit.verify(KEY) == []


async def test_two_writers_share_one_chain(place: Place) -> None:
    """The service, and a command beside it."""
    async with place.open() as service, place.open() as command:
        for _ in range(10):
            await asyncio.gather(
                *(writer.audit.intent("anna", "monitor", CALL, {}) for writer in (service, command, service))
            )
        assert [row.number for row in await service.audit.read()] == list(range(1, 31))
        assert await command.audit.verify() == []


async def test_a_locked_store_is_unavailable_and_then_available_again(store: Store, place: Place) -> None:
    await store.audit.intent("anna", "monitor", CALL, {})
    unlock = place.lock()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.audit.intent("anna", "monitor", CALL, {})
    assert time.monotonic() - began < 5
    unlock()
    await store.audit.intent("anna", "monitor", CALL, {})
    assert await store.audit.verify() == []


async def test_a_full_disk_is_unavailable(place: Place) -> None:
    async with place.open() as store:
        # SQLite's own limit gives the very error that a full disk gives.
        await store.audit._writer.run(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
        with pytest.raises(StoreUnavailable, match="full"):
            await store.audit.intent("anna", "monitor", CALL, {"padding": "x" * 100_000})
        number = await store.audit.emergency_intent("anna", "takeover", CALL, {"leg": "l1"})
        assert number < 0
        await until_flushed(store)  # so short a row has room in the page that is there
        assert [row.act for row in await store.audit.read()] == ["takeover"]


# ---- the reserve ----


async def until_flushed(store: Store) -> None:
    async with asyncio.timeout(5):
        while store.audit._reserve.entries:  # noqa: ASYNC110 - nothing outside needs to know
            await asyncio.sleep(0.01)


async def test_an_emergency_intent_and_its_outcome_reach_the_store_when_it_recovers(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "RECOVERY_S", 0.05)
    unlock = place.lock()
    number = await store.audit.emergency_intent("anna", "takeover", CALL, {"leg": "l1"})
    await store.audit.outcome(number, "ok", {})
    assert len(store.audit._reserve.entries) == 2
    unlock()
    await until_flushed(store)
    intent, outcome = await store.audit.read()
    assert (intent.act, intent.facts) == ("takeover", {"leg": "l1"})
    assert (outcome.refers, outcome.facts["result"]) == (intent.number, "ok")
    assert await store.audit.verify() == []


async def test_an_outcome_after_the_recovery_refers_to_the_stored_intent(store: Store) -> None:
    number = await store.audit.emergency_intent("anna", "takeover", CALL, {})
    await until_flushed(store)
    await store.audit.outcome(number, "ok", {})
    intent, outcome = await store.audit.read()
    assert outcome.refers == intent.number


async def test_nothing_in_the_reserve_is_lost_by_a_crash(place: Place) -> None:
    async with place.open() as store:
        unlock = place.lock()
        number = await store.audit.emergency_intent("anna", "takeover", CALL, {"leg": "l1"})
        await store.audit.outcome(number, "ok", {})
        crash = place.reserve.read_bytes()
        unlock()
    place.reserve.write_bytes(crash)  # as if the process had died with the store locked
    place.tamper("DELETE FROM audit", f"UPDATE audit_head SET number = 0, mac = '{Head().mac}'")
    async with place.open() as store:
        await until_flushed(store)
        assert [(row.kind, row.act, row.refers) for row in await store.audit.read()] == [
            ("intent", "takeover", None),
            ("outcome", "takeover", 1),
        ]
        assert await store.audit.verify() == []


async def test_a_crash_between_storing_and_clearing_stores_nothing_twice(place: Place) -> None:
    async with place.open() as store:
        number = await store.audit.emergency_intent("anna", "takeover", CALL, {})
        await store.audit.outcome(number, "ok", {})
        crash = place.reserve.read_bytes()
        await until_flushed(store)
        rows = len(await store.audit.read())
    place.reserve.write_bytes(crash)
    async with place.open() as store:
        await until_flushed(store)
        assert len(await store.audit.read()) == rows
        assert await store.audit.verify() == []


async def test_a_full_reserve_stops_nobody(place: Place) -> None:
    async with place.open(reserve_size=600) as store:
        unlock = place.lock()
        with structlog.testing.capture_logs() as logs:
            numbers = [await store.audit.emergency_intent("anna", "takeover", CALL, {}) for _ in range(10)]
        unlock()
        assert numbers == [-number for number in range(1, 11)]
        assert sum(line["event"] == "audit.reserve" for line in logs) == 10, "the process log has them all"
        assert any(line["event"] == "audit.reserve-in-memory-only" for line in logs)


# ---- opening and closing ----


async def test_what_was_accepted_is_written_before_the_store_closes(place: Place) -> None:
    async with place.open() as store:
        tasks = [asyncio.create_task(store.audit.intent("anna", "monitor", CALL, {})) for _ in range(20)]
        await asyncio.sleep(0)
    assert sorted(await asyncio.gather(*tasks)) == list(range(1, 21))
    with pytest.raises(StoreUnavailable, match="being closed"):
        await store.audit.intent("anna", "monitor", CALL, {})


async def test_a_short_key_is_refused(place: Place) -> None:
    with pytest.raises(BadValue, match="at least 32 random bytes"):
        async with place.open(key=b"short"):
            pass


async def test_a_long_audit_is_verified_row_by_row(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "COMMIT_S", 60.0)  # so many at once may take a crowded machine longer
    async with place.open() as store:
        numbers = await asyncio.gather(
            *(store.audit.intent("anna", "monitor", CALL, {"padding": "x" * 1_000}) for _ in range(3_000))
        )
        assert len(numbers) == 3_000
        tracemalloc.start()
        assert await store.audit.verify() == []
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000, "all the rows are more than twice that"


async def test_an_audit_is_verified_while_it_is_written(store: Store) -> None:
    await store.audit.intent("anna", "monitor", CALL, {})

    async def write() -> None:
        for _ in range(50):
            await store.audit.intent("anna", "monitor", CALL, {})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for _ in range(10):
            assert await store.audit.verify() == []


async def test_acts_are_read_with_what_came_of_them(store: Store) -> None:
    done = await store.audit.intent("anna", "takeover", CALL, {"leg": "l1"})
    await store.audit.outcome(done, "ok", {"heard_ms": "31"})
    await store.audit.intent("ben", "monitor", None, {"note": '"result":"ok"'})
    going_on, ended = await store.audit.acts(Wanted())
    assert (ended.actor, ended.result, ended.facts) == ("anna", "ok", {"leg": "l1", "heard_ms": "31"})
    assert ended.ended_at is not None
    assert (going_on.actor, going_on.result, going_on.ended_at) == ("ben", None, None)
    assert await store.audit.acts(Wanted(result="ok")) == [ended]
    assert await store.audit.acts(Wanted(result=OPEN)) == [going_on]
    assert await store.audit.acts(Wanted(actors=["ben", "eve"])) == [going_on]
    assert await store.audit.acts(Wanted(until=ended.at)) == []
    assert await store.audit.acts(Wanted(), before=going_on.number) == [ended]
    assert await store.audit.acts(Wanted(call=CALL, act="takeover"), limit=1) == [ended]


async def test_an_older_audit_gets_its_index(place: Place) -> None:
    async with place.open():
        pass
    place.tamper("DROP INDEX audit_refers")
    async with place.open() as store:
        place.tamper("DROP INDEX audit_refers")  # fails when it is not there again
        assert await store.audit.acts(Wanted()) == []
