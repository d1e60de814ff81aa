"""The audit's chain: each row's mac covers the row and the mac before it, under a key kept outside the database.

Whoever changes, removes, inserts or swaps rows without the key breaks the chain where they did it. Cutting off the
tail leaves a shorter but sound chain; that shows against a head that was copied elsewhere (the process log).
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["intent", "outcome"]
FaultKind = Literal["changed", "missing", "cut", "head"]
GENESIS = "0" * 64
MAX_FAULTS = 1_000
"""Listed at most: under a wrong key every row is one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one row says. `refers` is the intent's number in an outcome; `at` is as `schema.stamp` writes it."""

    at: str
    kind: Kind
    actor: str
    act: str
    call: str | None
    facts: Mapping[str, str]
    refers: int | None = None
    reserve: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain."""

    number: int = 0
    mac: str = GENESIS

    def __str__(self) -> str:
        return f"{self.number}:{self.mac}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Reads what ``str`` wrote; raises `ValueError`."""
        number, _, mac = text.strip().partition(":")
        if not number.isdecimal() or len(mac) != len(GENESIS):
            raise ValueError(f"{text!r} is no audit head; it looks like 123:0f3a...")
        return cls(int(number), mac)


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the chain is broken: `changed`, `missing`, `cut`, `head`."""

    number: int
    kind: FaultKind
    detail: str


def canonical(facts: Mapping[str, str]) -> str:
    """Facts as they are stored and signed."""
    return json.dumps(dict(facts), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def mac(key: bytes, previous: str, number: int, entry: Entry) -> str:
    """The mac of the row with this number, after the row with the mac `previous`."""
    fields = [
        previous,
        number,
        entry.at,
        entry.kind,
        entry.refers,
        entry.actor,
        entry.act,
        entry.call,
        canonical(entry.facts),
        entry.reserve,
    ]
    return hmac.new(key, json.dumps(fields, ensure_ascii=False).encode(), hashlib.sha256).hexdigest()


class Walk:
    """Walks a chain from its beginning, row by row, and notes what is wrong; keeps no row.

    `kept` is the head that the database keeps, read before the first row; `journal` is one that was copied elsewhere.
    After a fault the walk goes on from what it found, so that one broken row is one fault.
    """

    def __init__(self, key: bytes, kept: Head, journal: Head | None = None) -> None:
        self._key, self._kept, self._journal = key, kept, journal
        self._end = Head()
        self._at_kept = GENESIS if kept.number == 0 else None
        self._at_journal = GENESIS if journal is not None and journal.number == 0 else None
        self._faults: list[Fault] = []
        self._left_out = 0

    def step(self, number: int, entry: Entry | None, found: str) -> None:
        """The next row, in the order of the numbers; no entry when what is stored there is not one."""
        expected = self._end.number + 1
        if number > expected:
            self._fault(expected, "missing", f"rows {expected} to {number - 1} are missing")
        elif number < expected:
            self._fault(number, "changed", "the row has no place in the chain")
            return
        elif entry is None or not hmac.compare_digest(mac(self._key, self._end.mac, number, entry), found):
            self._fault(number, "changed", "the row, or the one before it, is not what was written")
        self._end = Head(number, found)
        if number == self._kept.number:
            self._at_kept = found
        if self._journal is not None and number == self._journal.number:
            self._at_journal = found

    def finish(self, kept: Head) -> list[Fault]:
        """All faults. `kept` is the head that the database keeps after the last row was read: a service that goes on
        writing meanwhile is no fault."""
        end, journal = self._end.number, self._journal
        if self._kept.number > end:
            self._fault(end + 1, "cut", f"rows {end + 1} to {self._kept.number} are missing at the end")
        elif self._at_kept != self._kept.mac or kept.number < end:
            self._fault(end, "head", "the kept head is not the last row's")
        if journal is not None and self._at_journal is None:
            self._fault(end + 1, "cut", f"the journal knows row {journal.number}, the store does not")
        elif journal is not None and self._at_journal != journal.mac:
            self._fault(journal.number, "changed", "the row is not the one the journal knows")
        if self._left_out:
            self._faults.append(Fault(end, "changed", f"{self._left_out} more faults are not listed"))
        return self._faults

    def _fault(self, number: int, kind: FaultKind, detail: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(number, kind, detail))
        else:
            self._left_out += 1


def verify(key: bytes, rows: Iterable[tuple[int, Entry, str]], kept: Head, journal: Head | None = None) -> list[Fault]:
    """All faults of a chain given as (number, entry, mac) in the order of their numbers."""
    walk = Walk(key, kept, journal)
    for number, entry, found in rows:
        walk.step(number, entry, found)
    return walk.finish(kept)
