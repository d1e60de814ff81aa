"""``takeover backup``: a copy of all that the service keeps, whole also while the service writes."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from connector.store.engine import audit_place, is_sqlite, parsed, readable

from ..settings import Settings
from .outcome import CommandFailed, Outcome

BESIDE = ("audit.reserve", "instance")
"""Files of `data_dir` that belong to the databases; the audit's key is the settings' own."""


def backup(settings: Settings, folder: Path) -> Outcome:
    """Copies databases, key, reserve, instance and marks into a new folder, and looks whether the copies are whole."""
    place = parsed(settings.store_url)
    if not is_sqlite(place):
        raise CommandFailed(
            f"store.url: {readable(place)} is no file; copy it with pg_dump, and of {str(settings.data_dir)!r} "
            "audit.key, audit.reserve, instance and marks"
        )
    databases = [Path(one.database or "") for one in (place, audit_place(place))]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CommandFailed(f"{str(folder)!r} is not empty; name a folder that is, or is not there yet")
        for database in databases:
            _copy(database, folder / database.name)
        beside = [settings.audit_key_file, *(settings.data_dir / name for name in BESIDE)]
        for file in [file for file in beside if file.exists()]:
            shutil.copy2(file, folder / file.name)
        marks = settings.data_dir / "marks"
        if marks.exists():
            shutil.copytree(marks, folder / marks.name)
    except OSError as error:
        raise CommandFailed(f"{error.filename or str(folder)!r}: {error.strerror or error}; nothing was kept") from None
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    lines = [
        f"{folder}: {size / 1e6:.1f} MB. It has the audit's key, password hashes and what callers said: keep it safe."
    ]
    return Outcome(lines, {"ok": True, "folder": str(folder), "bytes": size})


def _copy(source: Path, target: Path) -> None:
    """As it is at one moment; a service that writes goes on."""
    if not source.exists():
        raise CommandFailed(f"{str(source)!r} is not there; has the service run with these settings?")
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without the two that belong to a running service
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise CommandFailed(f"{str(source)!r} cannot be copied ({error}); is the disk full, or it damaged?") from None
    if found != "ok":
        raise CommandFailed(f"the copy of {str(source)!r} is damaged ({found}); so is, then, the original")
