"""Ends of takeovers that no socket of their AI was there to be told of, until one comes.

Most of them come with a restart: the service is connected to its PBXs again, and ends what a crash had cut off, before
the AIs have noticed that their sockets are gone. An AI that was told of a human waits for the end.
"""

import time
from collections import deque
from collections.abc import Callable

from connector.services.changes import AiNotice

KIND = "takeover.ended"
KEPT_S = 900.0
"""As for webhooks: what an AI is told a quarter of an hour late helps no caller."""
KEPT = 1_000
"""The oldest goes first: an AI that is told by webhooks alone fetches none."""


class Missed:
    """In the order in which they were to be told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: deque[tuple[float, AiNotice]] = deque()

    def keep(self, notice: AiNotice) -> None:
        """Nobody was told; other kinds than `KIND` are of no use later, and not kept."""
        if notice.kind != KIND:
            return
        self._kept.append((self._clock(), notice))
        while len(self._kept) > KEPT:
            self._kept.popleft()

    def fetch(self, wanted: Callable[[AiNotice], bool]) -> list[AiNotice]:
        """Those that are for somebody who has come; they are kept no longer."""
        oldest = self._clock() - KEPT_S
        recent = [(at, notice) for at, notice in self._kept if at > oldest]
        self._kept = deque((at, notice) for at, notice in recent if not wanted(notice))
        return [notice for _, notice in recent if wanted(notice)]
