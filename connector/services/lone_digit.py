"""A caller who presses the digit for a human: alone, from the caller's own channel, not too often."""

import asyncio
from collections.abc import Callable

from ..domain.calls import CallId

ALONE_S = 2.0
"""With another digit so close before or after, it is part of a number."""
AGAIN_S = 30.0
"""For so long a second press counts as the same wish."""


class LoneDigit:
    """Calls `ask(call)` for each press that counts. `busy(call)` says that somebody speaks with the caller already."""

    def __init__(self, digit: str, ask: Callable[[CallId], None], busy: Callable[[CallId], bool]) -> None:
        self._digit = digit
        self._ask = ask
        self._busy = busy
        self._last: dict[CallId, float] = {}
        self._asked: dict[CallId, float] = {}
        self._waiting: dict[CallId, asyncio.TimerHandle] = {}

    def heard(self, call: CallId, digit: str) -> None:
        """A digit of the caller's own party."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        before = self._last.get(call)
        self._last[call] = now
        waiting = self._waiting.pop(call, None)
        if waiting is not None:
            waiting.cancel()
        alone = before is None or now - before > ALONE_S
        again = call in self._asked and now - self._asked[call] < AGAIN_S
        if digit == self._digit and alone and not again and not self._busy(call):
            self._waiting[call] = loop.call_later(ALONE_S, self._fire, call)

    def forget(self, call: CallId) -> None:
        """The call is over."""
        self._last.pop(call, None)
        self._asked.pop(call, None)
        waiting = self._waiting.pop(call, None)
        if waiting is not None:
            waiting.cancel()

    def _fire(self, call: CallId) -> None:
        del self._waiting[call]
        if not self._busy(call):
            self._asked[call] = asyncio.get_running_loop().time()
            self._ask(call)
