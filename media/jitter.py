"""The adaptive buffer between the network and the decoder. Pure: the caller brings the time.

It measures how much later than the fastest one each packet came, and holds just enough sound that 95 of 100
packets are there when their turn comes. It grows by concealment when a packet is late, and shrinks by leaving
frames out: in silence as soon as one frame is too many, in speech only when it is 40 ms too long. Under loss it
holds one frame more, so that the copy of a lost frame, which travels in the following packet, is there in time.
"""

import enum
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

CLOCK = 48_000
"RTP clock of Opus, RFC 7587 section 4.1."
_MS = 1000 / CLOCK
_FRAME_MS = 20.0
_WINDOW_MS = 2000.0
_START_MS = 40.0
_MARGIN_MS = 4.0
_LONGEST_MS = 200.0
_HYSTERESIS_MS = 40.0
_FEC_LOSS = 0.01
_STARVED = 10
_CAPACITY = 32
_JUMP = 2 * CLOCK


class Kind(enum.Enum):
    PLAY = enum.auto()
    "Decode `payload`."
    RECOVER = enum.auto()
    "This frame is lost; `payload` is the following packet, which may carry a copy of it."
    CONCEAL = enum.auto()
    "This frame is lost or late: invent one."
    IDLE = enum.auto()
    "There is no stream to play."


class Pop(NamedTuple):
    """`length`: of the sound to make, in the RTP clock."""

    kind: Kind
    payload: bytes = b""
    length: int = 960


@dataclass
class Counts:
    """What became of the packets and ticks since the stream began."""

    played: int = 0
    recovered: int = 0
    concealed: int = 0
    stretched: int = 0
    shrunk: int = 0
    late: int = 0
    duplicate: int = 0


_IDLE = Pop(Kind.IDLE)


class JitterBuffer:
    """`push` every packet as it arrives, `pop` once per frame played. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._loss = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget the stream (a new SSRC, a jump in time). The counts stay."""
        self._packets: dict[int, bytes] = {}
        self._seen: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []
        self._last: int | None = None
        self._playing = False
        self._next = 0
        self._step = int(_FRAME_MS * CLOCK / 1000)
        self._starved = 0
        self._delay_ms = 0.0

    @property
    def delay_ms(self) -> float:
        """How long the sound last popped had waited, relative to the fastest packet."""
        return self._delay_ms

    @property
    def spread_ms(self) -> float:
        """95th percentile of how much later than the fastest packet the others came, last 2 s."""
        if not self._sorted:
            return 0.0
        return self._sorted[(len(self._sorted) - 1) * 95 // 100] - self._sorted[0]

    @property
    def target_ms(self) -> float:
        """The shortest wait at which the stream is expected to play without a hole."""
        if len(self._sorted) < 10:
            return _START_MS
        wanted = self.spread_ms + _MARGIN_MS + (_FRAME_MS if self._loss > _FEC_LOSS else 0.0)
        return min(wanted, _LONGEST_MS)

    @property
    def ready(self) -> float | None:
        """A moment (monotonic seconds; others every 20 ms) at which a frame can be played with no needless wait."""
        if self._last is None:
            return None
        return (self._sorted[0] + self._last * _MS + self.target_ms) / 1000

    def push(self, timestamp: int, payload: bytes, now: float, length: int = 960) -> None:
        """`timestamp` as on the wire (32 bit); `length`: how long the packet plays, in the RTP clock."""
        extended = self._unwrap(timestamp)
        self._step = length
        now *= 1000
        self._observe(now, now - extended * _MS)
        if self._playing and extended < self._next:
            self.counts.late += 1
        elif extended in self._packets:
            self.counts.duplicate += 1
        else:
            self._packets[extended] = payload
            if len(self._packets) > _CAPACITY:
                del self._packets[min(self._packets)]
                self._next = min(self._packets)

    def pop(self, now: float, *, quiet: bool = False) -> Pop:
        """What to play now; `quiet`: the sound just played was silence, so a frame can go unheard."""
        if not self._playing and not self._begin(now):
            return _IDLE
        delay = self._wait(now)
        excess = delay - self.target_ms
        too_long = excess >= (_FRAME_MS if quiet else _FRAME_MS + _HYSTERESIS_MS)
        if too_long and self._next in self._packets and self._next + self._step in self._packets:
            del self._packets[self._next]
            self._next += self._step
            self.counts.shrunk += 1
            delay -= _FRAME_MS
        self._delay_ms = delay
        payload = self._packets.pop(self._next, None)
        if payload is not None:
            self._advance(lost=False)
            self.counts.played += 1
            return Pop(Kind.PLAY, payload, self._step)
        return self._missing(excess)

    def drain(self) -> None:
        """Drop the sound that waits; what was learnt about the network stays."""
        self._packets.clear()
        self._playing = False

    def catch_up(self, now: float) -> None:
        """Drop what came before the newest packet that has waited long enough: what stays is the present moment."""
        if old := self._ripe(now):
            self._skip_to(max(old))

    def _missing(self, excess: float) -> Pop:
        if not self._packets:
            self._starved += 1
            if self._starved > _STARVED:
                self._playing = False
                return _IDLE
        elif excess >= _FRAME_MS + _HYSTERESIS_MS:
            # The sender's clock jumped, or we are far behind: go on with what there is.
            self._next = min(self._packets)
            self._advance(lost=False)
            self.counts.played += 1
            return Pop(Kind.PLAY, self._packets.pop(self._next - self._step), self._step)
        if excess < 0:
            # Its time has not run out by our own measure: wait for it, one frame longer from now on.
            self.counts.stretched += 1
            return Pop(Kind.CONCEAL, length=self._step)
        following = self._packets.get(self._next + self._step)
        self._advance(lost=True)
        if following is not None:
            self.counts.recovered += 1
            return Pop(Kind.RECOVER, following, self._step)
        self.counts.concealed += 1
        return Pop(Kind.CONCEAL, length=self._step)

    def _begin(self, now: float) -> bool:
        """Start with the newest packet that has waited long enough; what is older came too late to be of use.

        A stall inflates the target for the length of the window, hence the limit: if more is needed,
        stretching finds it.
        """
        old = self._ripe(now)
        if not old:
            return False
        self._skip_to(max(old))
        self._playing = True
        self._starved = 0
        return True

    def _ripe(self, now: float) -> list[int]:
        goal = min(self.target_ms, _START_MS)
        return [at for at in self._packets if now * 1000 - at * _MS - self._sorted[0] >= goal]

    def _skip_to(self, timestamp: int) -> None:
        self._next = timestamp
        for at in [at for at in self._packets if at < timestamp]:
            del self._packets[at]
            self.counts.shrunk += 1

    def _advance(self, *, lost: bool) -> None:
        self._next += self._step
        self._loss += 0.01 * (lost - self._loss)
        if not lost:
            self._starved = 0

    def _wait(self, now: float) -> float:
        return now * 1000 - self._next * _MS - self._sorted[0]

    def _unwrap(self, timestamp: int) -> int:
        if self._last is not None:
            ahead = (timestamp - self._last + (1 << 31)) % (1 << 32) - (1 << 31)
            if abs(ahead) <= _JUMP:
                extended = self._last + ahead
                self._last = max(self._last, extended)
                return extended
            self.clear()
        # Far above zero, so that a packet older than the first one stays positive.
        self._last = timestamp + (1 << 32)
        return self._last

    def _observe(self, now_ms: float, delay: float) -> None:
        self._seen.append((now_ms, delay))
        insort(self._sorted, delay)
        while self._seen[0][0] < now_ms - _WINDOW_MS:
            _, old = self._seen.popleft()
            del self._sorted[bisect_left(self._sorted, old)]
