"""A disk that hangs, as a frozen network file system does: what touches it gets neither an answer nor an error."""

import os
import sqlite3
import threading
from typing import Any

import pytest


class HangingDisk:
    """Holds up SQLite's statements and writes by `os.pwrite`, from `hang` until `heal`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._goes_on = threading.Event()
        self._goes_on.set()
        connect, pwrite = sqlite3.connect, os.pwrite

        def connected(*args: Any, **more: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **more)
            connection.set_progress_handler(self._wait, 1)
            return connection

        def written(file: int, data: bytes, at: int) -> int:
            self._wait()
            return pwrite(file, data, at)

        for module in (sqlite3, sqlite3.dbapi2):  # aiosqlite asks the one, SQLAlchemy the other
            patch.setattr(module, "connect", connected)
        patch.setattr(os, "pwrite", written)

    def hang(self) -> None:
        """From now on nothing comes back."""
        self._goes_on.clear()

    def heal(self) -> None:
        """What hung goes on."""
        self._goes_on.set()

    def _wait(self) -> int:
        self._goes_on.wait()
        return 0
