"""Transactions whose askers are cancelled, and the closing that follows at once."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from connector.store.engine import Database, make_engine, parsed


def open_database(folder: Path) -> Database:
    return Database(make_engine(parsed(f"sqlite+aiosqlite:///{folder}/some.db")))


@pytest.mark.parametrize("after_ms", [1, 2, 3, 5, 8])
async def test_closing_after_a_cancellation_leaves_no_task_behind(tmp_path: Path, after_ms: int) -> None:
    database = open_database(tmp_path)
    await database.execute(text("CREATE TABLE t (x int)"))
    asking = [asyncio.create_task(database.execute(text("INSERT INTO t VALUES (1)"))) for _ in range(12)]
    await asyncio.sleep(after_ms / 1000)  # each interrupts the transactions at another of their steps
    for task in asking:
        task.cancel()
    await asyncio.sleep(0)  # they have heard it
    await database.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}  # else the loop's own cancelling at its end hangs


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
