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
GENESIS = "0" * 64


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
    kind: Literal["changed", "missing", "cut", "head"]
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


def verify(key: bytes, rows: Iterable[tuple[int, Entry, str]], kept: Head, journal: Head | None = None) -> list[Fault]:
    """All faults of a chain given as (number, entry, mac) in the order of their numbers.

    `kept` is the head that the database keeps, `journal` one that was copied elsewhere. After a fault the walk goes
    on from what it found, so that one broken row is one fault.
    """
    faults: list[Fault] = []
    end = Head()
    at_journal: str | None = GENESIS if journal is not None and journal.number == 0 else None
    for number, entry, found in rows:
        if number != end.number + 1:
            missing = f"rows {end.number + 1} to {number - 1} are missing"
            faults.append(Fault(end.number + 1, "missing", missing))
        elif not hmac.compare_digest(mac(key, end.mac, number, entry), found):
            faults.append(Fault(number, "changed", "the row, or the one before it, is not what was written"))
        end = Head(number, found)
        if journal is not None and number == journal.number:
            at_journal = found
    if kept.number > end.number:
        faults.append(Fault(end.number + 1, "cut", f"rows {end.number + 1} to {kept.number} are missing at the end"))
    elif kept != end:
        faults.append(Fault(end.number, "head", "the kept head is not the last row's"))
    if journal is not None and at_journal is None:
        faults.append(Fault(end.number + 1, "cut", f"the journal knows row {journal.number}, the store does not"))
    elif journal is not None and at_journal != journal.mac:
        faults.append(Fault(journal.number, "changed", "the row is not the one the journal knows"))
    return faults
