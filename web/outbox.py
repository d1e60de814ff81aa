"""What waits to be sent to one client: frames that are ready to go, bounded."""

from collections import deque
from dataclasses import dataclass, field

LIMIT_ITEMS = 2_000
LIMIT_BYTES = 1_000_000
"""A client that is this far behind is better served by a fresh snapshot."""


@dataclass(slots=True)
class Outbox:
    """Waiting frames of one client, oldest first. Frames are shared with the other clients that wait for them.

    When the outbox is full it is emptied and `overflowed` stays true until `reset`: the client needs a snapshot.
    """

    limit_items: int = LIMIT_ITEMS
    limit_bytes: int = LIMIT_BYTES
    overflowed: bool = False
    _frames: deque[bytes] = field(default_factory=deque)
    _bytes: int = 0

    def put(self, frame: bytes) -> None:
        """One frame; forgotten while the outbox is overflowed."""
        if self.overflowed:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) > self.limit_items or self._bytes > self.limit_bytes:
            self._empty()
            self.overflowed = True

    def take(self) -> bytes | None:
        """The next frame; None when nothing waits."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        return frame

    def reset(self) -> None:
        """The client gets a snapshot instead of what waited."""
        self._empty()
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._frames)

    def _empty(self) -> None:
        self._frames.clear()
        self._bytes = 0
