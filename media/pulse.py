"""How long one process has waited in vain for another's word, service and worker for each other's: by that the one is
frozen, or only gets no core. Whoever is frozen must go, so that his callers get the AI back; to end one who is merely
slow would throw all agents of a worker out.
"""

import os
from pathlib import Path

STARVED = 5.0
"""Seconds of silence after which no excuse counts: by then the PBX's dead-man has given the calls back, and a worker
that has had no core for so long serves nobody."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Silence:
    """Time without a word, as far as the other could have said one. Sans I/O."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds."""
        self._limit = limit
        self.ended()

    def ended(self) -> None:
        """A word has come."""
        self.lasted = self._counted = 0.0
        self._cpu: float | None = None

    def add(self, seconds: float, cpu: float | None) -> None:
        """That long we listened and heard nothing; `cpu`: see `cpu_if_waiting`, just now."""
        could = seconds if cpu is None or self._cpu is None else min(seconds, cpu - self._cpu)
        self._cpu = cpu
        self._counted += could
        self.lasted += seconds

    @property
    def over(self) -> bool:
        """Whether it was too long."""
        return self._counted > self._limit or self.lasted > STARVED


def cpu_if_waiting(process: int) -> float | None:
    """CPU seconds that a process has had so far, if it has something to do and only a core, or a page of its memory
    from the disk, can be what it lacks. From such a wait no kill would wake it sooner.

    None if it sleeps, is stopped or gone, and where nothing tells (not Linux): then it has no excuse.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields[0] in "RD" else None  # proc(5): state, utime, stime
