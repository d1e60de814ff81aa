"""The audit's key: outside the database, readable by the service's user only, made at the first start."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_BYTES = 32


class KeyUnusable(Exception):
    """The key file cannot be read or made, or holds no key."""


def read_or_make(path: Path) -> bytes:
    """The key. Raises `KeyUnusable`: a lost key is not replaced silently, as the old chain could not be verified."""
    if not path.exists():
        _make(path)
    return read(path)


def _make(path: Path) -> None:
    """Whole or not at all: a disk that is full, or a crash, must leave no empty file that looks like a lost key."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # somebody else has made it in the same moment: that one counts
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        remedy = "make room on its disk, or let the service's user write to its folder"
        raise KeyUnusable(f"audit.key_file: {str(path)!r} cannot be made ({error.strerror}); {remedy}") from None


def read(path: Path) -> bytes:
    """The key of an existing file. Raises `KeyUnusable`."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise KeyUnusable(f"audit.key_file: {str(path)!r} cannot be read ({error}); put the old key back") from None
    if len(key) < _BYTES:
        raise KeyUnusable(f"audit.key_file: {str(path)!r} has {len(key)} bytes; {_BYTES} are needed, in hexadecimal")
    return key
