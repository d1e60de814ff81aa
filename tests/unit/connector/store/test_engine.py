"""Transactions whose askers are cancelled, and the closing that follows at once."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from connector.store.engine import Database, make_engine, parsed


def open_database(folder: Path) -> Database:
    return Database(make_engine(parsed(f"sqlite+aiosqlite:///{folder}/some.db")))


@pytest.mark.parametrize("turns", range(0, 40, 4))
async def test_closing_after_a_cancellation_leaves_no_task_behind(tmp_path: Path, turns: int) -> None:
    database = open_database(tmp_path)
    await database.execute(text("CREATE TABLE t (x int)"))
    asking = [asyncio.create_task(database.execute(text("INSERT INTO t VALUES (1)"))) for _ in range(3)]
    for _ in range(turns):  # each turn of the loop interrupts the transactions at another of their steps
        await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await database.close()
    await asyncio.wait(asking)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_transaction_ends_whole_although_its_asker_is_cancelled(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    await database.execute(text("CREATE TABLE t (x int)"))
    asking = asyncio.create_task(database.execute(text("INSERT INTO t VALUES (1)")))
    await asyncio.sleep(0)  # it has begun
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await database.close()
    reopened = open_database(tmp_path)
    assert [row["x"] for row in await reopened.rows(text("SELECT x FROM t"))] == [1]
    await reopened.close()
