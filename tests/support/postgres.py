"""A real PostgreSQL of the tests' own: no root's rights, no port, no data of anybody else's."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

NEEDED = "NOT TESTED: the store on PostgreSQL, as there is none here (Debian's `postgresql`, or `initdb` on PATH)."
PATIENCE_S = 60
_DEBIAN = Path("/usr/lib/postgresql")
_USER = "takeover"


def programs() -> Path | None:
    """The folder with PostgreSQL's programs; None where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    needed = ("initdb", "postgres", "pg_ctl", "psql")
    return next((folder for folder in folders if all((folder / name).exists() for name in needed)), None)


class Postgres:
    """A context manager: a server that listens on a socket in a folder of its own, and is gone with it."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        # Not in pytest's folder: the server refuses to run as root, and nobody else may look in there.
        self.folder = Path(tempfile.mkdtemp(prefix="takeover-postgres-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        try:
            self._run("initdb", "-D", "data", "-U", _USER, "--auth=trust", "--encoding=UTF8", "--no-sync")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Returns when it takes connections."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-t", str(PATIENCE_S), "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """As a crash would: every connection breaks."""
        self._run("pg_ctl", "-D", "data", "-w", "-t", str(PATIENCE_S), "-m", "immediate", "stop")

    @property
    def pid(self) -> int:
        """Of the process that is everybody's parent here."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def database(self) -> str:
        """Makes a new, empty one; its name."""
        name = f"test{next(self._numbers)}"
        self._run(*self._psql("postgres"), f"--command=CREATE DATABASE {name}")
        return name

    def url(self, database: str) -> str:
        """As the store takes it."""
        return f"postgresql+asyncpg://{_USER}@/{database}?host={self.folder}"

    def tell(self, database: str, *statements: str) -> None:
        """Runs statements in one transaction, as somebody else who may use the database."""
        self._run(*self._psql(database), "--single-transaction", *(f"--command={one}" for one in statements))

    def lock(self, database: str, table: str) -> Callable[[], None]:
        """Keeps everybody else away from a table; returns what lets it go."""
        command = [str(self._programs / self._psql(database)[0]), *self._psql(database)[1:]]
        holder = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **self._as
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        print(f"BEGIN; LOCK TABLE {table};\n\\echo locked", file=holder.stdin, flush=True)
        assert holder.stdout.readline() == "locked\n"

        def unlock() -> None:
            holder.communicate("ROLLBACK;\n", timeout=PATIENCE_S)

        return unlock

    def _psql(self, database: str) -> list[str]:
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--host={self.folder}", f"--username={_USER}"]
        return ["psql", *options, f"--dbname={database}"]

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S, **self._as)
