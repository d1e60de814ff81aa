"""A store in a folder of the test's own, and ways to break it.

What a test says of `store` alone holds on SQLite and on a real PostgreSQL; what it breaks by `place` is SQLite's.
"""

import inspect
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from connector.store import Store
from tests.support.postgres import Postgres

KEY = bytes(range(32))


@dataclass(frozen=True)
class Place:
    """Where a store lies."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "takeover.db"

    @property
    def audit_file(self) -> Path:
        return self.folder / "takeover-audit.db"

    @property
    def reserve(self) -> Path:
        return self.folder / "audit.reserve"

    def open(self, key: bytes = KEY, reserve_size: int = 64 * 1024) -> AbstractAsyncContextManager[Store]:
        return Store.open(f"sqlite+aiosqlite:///{self.file}", key, self.reserve, reserve_size=reserve_size)

    def tamper(self, *statements: str, file: Path | None = None) -> None:
        """What somebody with access to the file (the audit's, unless another is named) but not to the key can do."""
        connection = sqlite3.connect(file or self.audit_file)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def lock(self, file: Path | None = None) -> Callable[[], None]:
        """Holds the database (the audit's) as another process would; returns what lets it go."""
        connection = sqlite3.connect(file or self.audit_file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")

        def unlock() -> None:
            connection.execute("ROLLBACK")
            connection.close()

        return unlock


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both databases, for a test that needs nothing of one of them; and each way that the audit is written."""
    kinds = ["sqlite"] if "place" in inspect.signature(metafunc.function).parameters else ["sqlite", "postgresql"]
    if "writer" in metafunc.fixturenames:
        both = [("sqlite", "thread"), *((kind, "driver") for kind in kinds)]
        metafunc.parametrize(("kind", "writer"), both, indirect=["writer"])
    elif "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", kinds)


@pytest.fixture
def kind() -> str:
    """The database behind `store`."""
    return "sqlite"


@pytest.fixture
async def store(place: Place, kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if kind == "sqlite":
        opening = place.open()
    else:
        server: Postgres = request.getfixturevalue("postgres")
        opening = Store.open(server.url(server.database()), KEY, place.reserve, reserve_size=64 * 1024)
    async with opening as store:
        yield store
