"""When to tick: an absolute schedule that never bursts. Pure; `engine` owns the clock.

Time is cut into slots of 5 ms; slot k belongs to phase k % 4, so each phase ticks every 20 ms and the
work of many legs is spread. A late wake runs each phase at most once: two frames in a row would stay in the
PBX's mixer as delay for the rest of the call (measured: up to 90 ms), so what is overdue is skipped and counted.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from .frame import TICK

PHASES = 4
SLOT = TICK / PHASES
GATHERED = range(0, PHASES, 2)
"Phases in use where many legs share the worker: the voice chain costs less per leg in one batch than in two."
_STEPS, _WORST = 10_000, 2_000
"Lateness is counted in steps of 0.1 ms."
JOIN = (0.004, 0.016)
"First and last moment for the first frame, seconds after the PBX has called."


@dataclass(frozen=True, slots=True)
class Due:
    """One phase to run now; `tick` counts 20 ms steps since the start (skipped ones included)."""

    phase: int
    tick: int


class Pacer:
    """`due(now)` names what to run; `wake()` is when to ask next. All times are monotonic seconds."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._slot = 0
        self.skipped = 0

    def wake(self, phases: Collection[int] = range(PHASES)) -> float:
        """When the next of these phases is due; the first phase always counts, as the pulse of an idle worker."""
        slot = next(s for s in range(self._slot, self._slot + PHASES) if s % PHASES == 0 or s % PHASES in phases)
        return self._start + slot * SLOT

    def join(self, opened: float, ready: float, phases: Collection[int] = range(PHASES)) -> int:
        """The phase for a leg whose patch was opened just now and whose sound is ready at a moment (+ n * 20 ms).

        The PBX mixes for the first time 20 ms after the join, which follows the opening by 2 to 10 ms, and every 20 ms
        from there. A first frame within `JOIN` of the opening is in time for it, and leaves room for a late
        tick on either side. Among those phases the one that ticks soonest after the sound is ready waits least.
        Only `phases` are asked; `GATHERED` are enough for one to fit.
        """
        fit = [phase for phase in phases if JOIN[0] <= self._until(phase, opened) <= JOIN[1]]
        return min(fit, key=lambda phase: self._until(phase, ready))

    def _until(self, phase: int, moment: float) -> float:
        return (self._start + phase * SLOT - moment) % TICK

    def due(self, now: float) -> list[Due]:
        """The phases whose time has come, oldest first; each at most once."""
        last = int((now - self._start) / SLOT + 1e-6)
        if last < self._slot:
            return []
        first = max(self._slot, last - PHASES + 1)
        self.skipped += first - self._slot
        self._slot = last + 1
        return [Due(slot % PHASES, slot // PHASES) for slot in range(first, last + 1)]


class Lateness:
    """The 99th percentile of how late the wakes were, over the last `span` seconds, to 0.1 ms; up to 0.2 s."""

    def __init__(self, span: float = 10.0) -> None:
        self._span = span
        self._seen: deque[tuple[float, int]] = deque()
        # Counted, not sorted: to sort two thousand values each time it is asked for took half a millisecond.
        self._counts = [0] * (_WORST + 1)

    def add(self, now: float, late: float) -> None:
        step = min(round(late * _STEPS), _WORST)
        self._seen.append((now, step))
        self._counts[step] += 1
        while self._seen[0][0] < now - self._span:
            self._counts[self._seen.popleft()[1]] -= 1

    def p99(self) -> float:
        """Seconds; 0.0 before the first wake."""
        if not self._seen:
            return 0.0
        left = len(self._seen) - len(self._seen) * 99 // 100
        for step in range(_WORST, 0, -1):
            left -= self._counts[step]
            if left <= 0:
                return step / _STEPS
        return 0.0
