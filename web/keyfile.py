"""The audit's key: outside the database, readable by the service's user only, made at the first start."""

import os
import secrets
from pathlib import Path

_BYTES = 32


class KeyUnusable(Exception):
    """The key file cannot be read or made, or holds no key."""


def read_or_make(path: Path) -> bytes:
    """The key. Raises `KeyUnusable`: a lost key is not replaced silently, as the old chain could not be verified."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return read(path)
    except OSError as error:
        raise KeyUnusable(f"audit.key_file: {str(path)!r} cannot be made ({error.strerror})") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(_BYTES) + "\n")
    return read(path)


def read(path: Path) -> bytes:
    """The key of an existing file. Raises `KeyUnusable`."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise KeyUnusable(f"audit.key_file: {str(path)!r} cannot be read ({error}); put the old key back") from None
    if len(key) < _BYTES:
        raise KeyUnusable(f"audit.key_file: {str(path)!r} has {len(key)} bytes; {_BYTES} are needed, in hexadecimal")
    return key
