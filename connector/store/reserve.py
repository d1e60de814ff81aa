"""Room for emergency records while the store fails: a file whose blocks are allocated in advance.

Writing into allocated blocks needs no free space, so it works when the disk is full. Each entry carries its length
and an HMAC; reading stops at the first that does not hold, which is where a crash stopped the writing.
"""

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from ..domain.errors import StoreUnavailable

SIZE = 256 * 1024
"""About 800 records."""
_LENGTH = struct.Struct(">I")
_MAC_BYTES = hashlib.sha256().digest_size


class Reserve:
    """An append-only list of small JSON objects in a file of fixed size. All methods block for one disk write."""

    def __init__(self, path: Path, key: bytes, size: int = SIZE) -> None:
        self._key = key
        self._size = size
        self._path = path
        self._end = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            missing = size - os.fstat(self._file).st_size
            if missing > 0:
                os.posix_fallocate(self._file, 0, size)
                os.fsync(self._file)
        except OSError as error:
            raise StoreUnavailable(f"the audit's reserve {str(path)!r}: {error.strerror}") from error
        self._entries = self._read()

    @property
    def entries(self) -> list[Mapping[str, object]]:
        """What waits for the store, oldest first."""
        return list(self._entries)

    def append(self, entry: Mapping[str, object]) -> None:
        """Durable on return. Raises `StoreUnavailable` when the reserve is full or cannot be written."""
        payload = json.dumps(entry, ensure_ascii=False).encode()
        record = _LENGTH.pack(len(payload)) + payload + self._mac(self._end, payload)
        if self._end + len(record) > self._size:
            raise StoreUnavailable(f"the audit's reserve {str(self._path)!r} is full")
        try:
            os.pwrite(self._file, record, self._end)
            os.fdatasync(self._file)
        except OSError as error:
            raise StoreUnavailable(f"the audit's reserve {str(self._path)!r}: {error.strerror}") from error
        self._end += len(record)
        self._entries.append(entry)

    def clear(self) -> None:
        """Forgets all entries, once the store has them; the room stays allocated."""
        try:
            os.pwrite(self._file, bytes(max(self._end, _LENGTH.size)), 0)
            os.fdatasync(self._file)
        except OSError as error:
            raise StoreUnavailable(f"the audit's reserve {str(self._path)!r}: {error.strerror}") from error
        self._end = 0
        self._entries = []

    def close(self) -> None:
        """Closes the file; what is in it stays for the next start."""
        os.close(self._file)

    def _read(self) -> list[Mapping[str, object]]:
        raw = os.pread(self._file, self._size, 0)
        entries: list[Mapping[str, object]] = []
        while True:
            start = self._end + _LENGTH.size
            if start > len(raw):
                return entries
            (length,) = _LENGTH.unpack_from(raw, self._end)
            payload, found = raw[start : start + length], raw[start + length : start + length + _MAC_BYTES]
            if length == 0 or not hmac.compare_digest(found, self._mac(self._end, payload)):
                return entries
            entries.append(json.loads(payload))
            self._end = start + length + _MAC_BYTES

    def _mac(self, position: int, payload: bytes) -> bytes:
        return hmac.new(self._key, b"reserve %d " % position + payload, hashlib.sha256).digest()
