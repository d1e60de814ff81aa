"""Makes the tables, and brings a database that an earlier version of this program made up to the present schema.

So far each change is an addition: a table, or a column that has a default or may be empty. What is missing is added, so
it does not matter which version made the database, nor where an upgrade was broken off; and a service of the version
before, beside which a newer command is run, goes on.
"""

from collections.abc import Callable

from sqlalchemy import Connection, Insert, MetaData, func, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateColumn

from ..domain.errors import StoreUnavailable
from .engine import Database
from .schema import VERSION, meta

ALONE = 0x74616B65
"""The number of PostgreSQL's advisory lock that whoever changes the schema holds."""


async def create(database: Database, tables: MetaData, first: Insert, row: dict[str, object]) -> None:
    """Makes the tables that are missing, and the one row that is never missing."""
    await _alone(database, tables.create_all)
    try:
        await database.execute(first, [row])
    except IntegrityError:
        return  # it is there: not the first start


async def check(database: Database) -> None:
    """Raises `StoreUnavailable` for a database that a newer program has upgraded."""
    found = (await database.rows(select(meta.c.value).where(meta.c.key == "schema")))[0]["value"]
    if not found.isdecimal() or int(found) > VERSION:
        raise StoreUnavailable(f"its schema is version {found}, this program knows {VERSION}; run the newer program")


async def upgrade(database: Database, tables: MetaData) -> None:
    """Adds the columns and indexes that tables of an earlier version lack."""
    await _alone(database, lambda connection: _add(connection, tables))


async def done(database: Database) -> None:
    """From here on, programs of earlier versions refuse the database."""
    await database.execute(update(meta).where(meta.c.key == "schema").values(value=str(VERSION)))


async def _alone(database: Database, work: Callable[[Connection], None]) -> None:
    """One process at a time: services that share a database may start at the same moment."""

    def locked(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":  # SQLite's own lock comes with the first writing, after the look
            connection.execute(select(func.pg_advisory_xact_lock(ALONE)))
        work(connection)

    try:
        await database.run(locked, bounded=False)  # a large table takes its time, and nobody is here yet
    except StoreUnavailable:  # on SQLite, perhaps another process has done it since we looked: look again
        await database.run(locked, bounded=False)


def _add(connection: Connection, tables: MetaData) -> None:
    there = inspect(connection)
    for table in tables.sorted_tables:
        known = {column["name"] for column in there.get_columns(table.name)}
        name = connection.dialect.identifier_preparer.format_table(table)
        for column in [column for column in table.columns if column.name not in known]:
            added = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {added}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)
