"""Log-in back-off and rate limits: pure bookkeeping, time given by the caller in seconds of a monotonic clock."""

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


@dataclass(slots=True)
class Bucket:
    """A token bucket: `rate` a second for ever, `burst` at once after a pause."""

    rate: float
    burst: float
    _level: float = 0.0
    _last: float = 0.0

    def take(self, now: float) -> float:
        """0 when this one is within the limit, else the seconds after which the next would be."""
        self._level = max(0.0, self._level - (now - self._last) * self.rate)
        self._last = now
        if self._level + 1 > self.burst:
            return (self._level + 1 - self.burst) / self.rate
        self._level += 1
        return 0.0

    def give_back(self) -> None:
        """One that was taken does not count after all."""
        self._level = max(0.0, self._level - 1)


class Buckets:
    """One bucket per key; the longest untouched are forgotten first."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """As `Bucket.take`."""
        bucket = self._known.pop(key, None) or Bucket(self._rate, self._burst)
        self._known[key] = bucket
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return bucket.take(now)

    def give_back(self, key: str) -> None:
        """As `Bucket.give_back`."""
        if (bucket := self._known.get(key)) is not None:
            bucket.give_back()


class Attempts:
    """Attempts to log in: few for an account from one place, more for all accounts from there.

    An account alone is not counted: else anybody could lock out anybody. A log-in that succeeds counts for nothing and
    forgives its own account, but not what was tried on others from the same place.
    """

    def __init__(self) -> None:
        self._of_account = Throttle(free=5)
        self._of_place = Buckets(rate=1 / 60, burst=100)
        """Wrong ones: an office of hundreds mistypes some dozens of times in the morning."""

    def take(self, account: str, place: str, now: float) -> float:
        """0 when this one is admitted, and counted; else the seconds to wait."""
        key = _at(account, place)
        wait = self._of_account.wait(key, now) or self._of_place.take(place, now)
        if wait == 0:
            self._of_account.attempt(key, now)
        return wait

    def succeeded(self, account: str, place: str) -> None:
        """The last one of this account from this place was right."""
        self._of_account.succeeded(_at(account, place))
        self._of_place.give_back(place)


def _at(account: str, place: str) -> str:
    return f"{account}\0{place}"
