"""What waits to be sent to one client: bounded, and collapsed so that only the newest word on each thing waits."""

from collections.abc import Hashable
from dataclasses import dataclass, field

LIMIT_ITEMS = 2_000
LIMIT_BYTES = 1_000_000
"""A client that is this far behind is better served by a fresh snapshot."""


@dataclass(slots=True)
class Batch:
    """What is sent next: frames of their own, then one delta."""

    frames: list[str]
    changes: list[str]
    rev: int


@dataclass(slots=True)
class Outbox:
    """Waiting frames and changes of one client, all as JSON text.

    A change replaces an earlier one with the same key in place, so the order in which things first appeared is kept.
    When the outbox is full it is emptied and `overflowed` stays true until `reset`: the client needs a snapshot.
    """

    limit_items: int = LIMIT_ITEMS
    limit_bytes: int = LIMIT_BYTES
    overflowed: bool = False
    _frames: dict[Hashable, str] = field(default_factory=dict)
    _changes: dict[Hashable, str] = field(default_factory=dict)
    _bytes: int = 0
    _rev: int = 0

    def frame(self, key: Hashable, text: str) -> None:
        """A frame of its own, like a pong."""
        self._put(self._frames, key, text)

    def change(self, key: Hashable, text: str, rev: int) -> None:
        """One change of the next delta."""
        self._rev = max(self._rev, rev)
        self._put(self._changes, key, text)

    def drop(self, prefix: Hashable) -> None:
        """Forgets waiting changes whose key is a tuple that begins with `prefix`."""
        for key in [key for key in self._changes if isinstance(key, tuple) and key[0] == prefix]:
            self._bytes -= len(self._changes.pop(key))

    def take(self) -> Batch | None:
        """Everything that waits; None when nothing does."""
        if not self._frames and not self._changes:
            return None
        batch = Batch(list(self._frames.values()), list(self._changes.values()), self._rev)
        self._empty()
        return batch

    def reset(self) -> None:
        """The client gets a snapshot instead of what waited."""
        self._empty()
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._frames) + len(self._changes)

    def _put(self, into: dict[Hashable, str], key: Hashable, text: str) -> None:
        if self.overflowed:
            return
        self._bytes += len(text) - len(into.get(key, ""))
        into[key] = text
        if len(self) > self.limit_items or self._bytes > self.limit_bytes:
            self._empty()
            self.overflowed = True

    def _empty(self) -> None:
        self._frames.clear()
        self._changes.clear()
        self._bytes = 0
