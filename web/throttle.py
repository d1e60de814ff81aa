"""Log-in back-off: pure bookkeeping, time given by the caller in seconds of a monotonic clock."""

from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED = 10_000
"""Keys kept; the longest untouched are forgotten first, so that random names cannot fill the memory."""


@dataclass(slots=True)
class _Record:
    failures: int
    last: float


class Throttle:
    """Counts attempts per key. The first `free` cost nothing, then each failure doubles the wait up to `longest` s."""

    def __init__(self, free: int = 5, longest: float = 300.0, forget: float = 900.0) -> None:
        self._free, self._longest, self._forget = free, longest, forget
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Seconds until this key may try again; 0 when it may now."""
        record = self._records.get(key)
        if record is None or record.failures < self._free:
            return 0.0
        pause = min(self._longest, 2.0 ** (record.failures - self._free))
        return max(0.0, record.last + pause - now)

    def attempt(self, key: str, now: float) -> None:
        """Counts an attempt as failed before its result is known, so that parallel guesses are counted too."""
        record = self._records.pop(key, None)
        if record is None or now - record.last > self._forget:
            record = _Record(0, now)
        record.failures += 1
        record.last = now
        self._records[key] = record
        while len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """A right password clears the key."""
        self._records.pop(key, None)

    def __len__(self) -> int:
        return len(self._records)
