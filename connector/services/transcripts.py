"""What is said in live calls: kept in memory while the call lives, written to the store when a turn is final."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from ..domain.calls import CallId
from ..domain.errors import BadValue
from ..domain.events import CallGone, PbxEvent, SnapshotTaken
from ..domain.people import Actor, demand
from ..domain.transcript import CAPTION, Turn
from ..ports import TurnKeeper
from .changes import TurnChanged
from .registry import Registry

MAX_TEXT = 8_000
MAX_ID = 128
MAX_TURNS = 5_000
"""Per call: an hour of brisk talk has under 2,000."""

KEEP_PAST = 64
"""Calls that just ended stay in memory: whoever takes leave of them asks for what was said."""


class Transcripts:
    """The turns of every call."""

    def __init__(self, registry: Registry, keeper: TurnKeeper) -> None:
        self._registry = registry
        self._keeper = keeper
        self._live: dict[CallId, dict[str, Turn]] = {}
        self._past: dict[CallId, dict[str, Turn]] = {}
        registry.listen(self._heard)

    async def put(self, actor: Actor, call: CallId, turn: Turn) -> bool:
        """Appends the turn, or updates the one with its id; true when it is new. Shown before it is stored.

        Raises `CallUnknown`, `CallEnded`, `NotAllowed`, `BadValue`, `StoreUnavailable` (shown, not stored: send it
        again, the id makes that harmless).
        """
        demand(actor, "write-transcript", self._registry.call(call))
        if turn.id.startswith(CAPTION):
            raise BadValue("turn", turn.id[:32], f"ids that begin with {CAPTION!r} are for captions; use another")
        return await self.say(call, turn)

    async def say(self, call: CallId, turn: Turn) -> bool:
        """As `put`, for turns of our own making (captions): nobody is asked."""
        self._registry.call(call)
        turns = self._live.setdefault(call, {})
        _check(turn, turns)
        known = turns.get(turn.id)
        if known != turn:
            turns[turn.id] = turn
            self._registry.publish(lambda rev: TurnChanged(rev, call, turn))
        if turn.final:  # also what is known already: it may have been sent again because the store had failed
            await self._keeper.put(call, turn)
        return known is None

    async def turns(self, call: CallId) -> Sequence[Turn]:
        """All turns, oldest first: of a live call from memory, else from the store."""
        known = self._live.get(call) or self._past.get(call)
        return _sorted(known.values()) if known else await self._keeper.turns(call)

    def since(self, call: CallId, at: datetime) -> Sequence[Turn]:
        """The turns of a call, live or just ended, that began at or after `at`, oldest first."""
        known = self._live.get(call) or self._past.get(call) or {}
        return [turn for turn in _sorted(known.values()) if turn.at >= at]

    def _heard(self, event: PbxEvent) -> None:
        if isinstance(event, CallGone):
            self._end(event.call)
        elif isinstance(event, SnapshotTaken):
            live = {call.id for call in self._registry.calls()}
            for call in [id_ for id_ in self._live if id_ not in live]:
                self._end(call)

    def _end(self, call: CallId) -> None:
        turns = self._live.pop(call, None)
        if turns is None:
            return
        self._past[call] = turns
        while len(self._past) > KEEP_PAST:
            del self._past[next(iter(self._past))]


def _check(turn: Turn, turns: dict[str, Turn]) -> None:
    if not 0 < len(turn.id) <= MAX_ID:
        raise BadValue("turn", turn.id[:32], f"use 1 to {MAX_ID} characters")
    if len(turn.text) > MAX_TEXT:
        raise BadValue("text", f"{turn.text[:32]}...", f"use at most {MAX_TEXT} characters per turn")
    if turn.at.tzinfo is None:
        raise BadValue("at", turn.at.isoformat(), "give a time with its zone, like 2026-01-31T12:00:00Z")
    if turn.id not in turns and len(turns) >= MAX_TURNS:
        raise BadValue("turn", turn.id, f"a call has at most {MAX_TURNS} turns; update existing ones instead")


def _sorted(turns: Iterable[Turn]) -> list[Turn]:
    return sorted(turns, key=lambda turn: turn.at)
