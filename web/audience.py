"""Clients of one permission: they may see the same calls, so they are told the same bytes.

With 200 panels on 1,000 calls, rendering and encoding each change once per client took more than a core (measured);
once per audience it is next to nothing, and a frame that waits for many is in the memory once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from connector.domain.calls import Call, CallId
from connector.domain.people import Actor, may
from connector.services.changes import AiNotice, CallRemoved, CallUpserted, Change, EngagementChanged

from .auth import Principal
from .outbox import Outbox

Key = tuple[Hashable, ...]
PAST = 256
"""Calls whose notices still find their way although they have ended: those come within moments."""


@dataclass(slots=True, eq=False)
class Client:
    """One connected socket. `wake` is set when something waits in `outbox`; `closing` says why it is to be closed."""

    principal: Principal
    outbox: Outbox = field(default_factory=Outbox)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    leg: str | None = None
    closing: str | None = None
    audience: "Audience | None" = None
    """After its hello: only then is it told anything."""
    rev: int = 0
    """All up to here was put into the outbox."""
    fresh: bool = False
    """Nothing was told since the last snapshot."""
    own: dict[Key, Change | bytes] = field(default_factory=dict)
    """Changes that are for this client alone, or already their JSON; told in a delta of their own."""

    @property
    def is_ai(self) -> bool:
        return self.principal.actor.role == "ai"

    def put(self, frame: bytes) -> None:
        """Sends a frame as soon as the client takes it."""
        self.outbox.put(frame)
        self.wake.set()


def permission(actor: Actor) -> Hashable:
    """What decides which calls somebody sees: equal for two who see the same."""
    return (actor.role, actor.ai, frozenset(actor.queues), frozenset(actor.tenants))


class Audience:
    """The clients of one permission, the calls they know of, and the changes that wait for the next delta.

    A change replaces an earlier one with the same key in place: of what happens to a call within one tick only the
    last word is told, in the order in which things first appeared.
    """

    def __init__(self, actor: Actor, calls: Iterable[Call]) -> None:
        self._actor = actor
        self.key = permission(actor)
        self.clients: set[Client] = set()
        self.pending: dict[Key, Change] = {}
        self.kept: set[CallId] = set()
        """Calls that may have gone to another queue, which the one person of this audience sees: they speak in them."""
        self.seen: dict[CallId, str] = {call.id: call.ai.ref for call in calls if self.sees(call)}
        """Calls the clients were told of, with the AI's reference at that time."""
        self._past: deque[CallId] = deque(maxlen=PAST)

    def alone(self) -> "Audience":
        """An audience for one person of this one, who has been told the same so far."""
        alone = Audience(self._actor, ())
        alone.key = self._actor.id
        alone.pending, alone.seen, alone._past = dict(self.pending), dict(self.seen), self._past.copy()
        return alone

    def keep(self, rev: int, call: Call) -> None:
        """The person speaks in this call: it stays, or comes back, before their eyes wherever it goes."""
        self.kept.add(call.id)
        if call.id not in self.seen:
            self._upserted((call.id, "call"), CallUpserted(rev, call))

    def let_go(self, rev: int, call: Call) -> None:
        """The person speaks in it no more."""
        self.kept.discard(call.id)
        if call.id in self.seen and not self.sees(call):
            self._gone((call.id, "call"), CallRemoved(rev, call.id, "not-yours"))

    @property
    def is_ai(self) -> bool:
        return self._actor.role == "ai"

    def sees(self, call: Call) -> bool:
        """Whether this permission covers a call, or its person speaks in it."""
        return call.id in self.kept or bool(may(self._actor, "see", call))

    def take(self, key: Key, call: CallId | None, change: Change, unique: Callable[[], Key]) -> None:
        """Notes a change about `call` (None: about no call) for the next delta, if these clients may know it."""
        if isinstance(change, AiNotice):
            if self.wants(change):
                self.pending[unique()] = change
        elif isinstance(change, CallUpserted):
            self._upserted(key, change)
        elif call is None or call in self.seen:
            if isinstance(change, CallRemoved):
                self._gone(key, change)
            elif not self.is_ai:
                self.pending[key] = change
        elif isinstance(change, EngagementChanged):
            self._own_end(key, change)

    def wants(self, notice: AiNotice) -> bool:
        """Whether a notice is for these clients."""
        return self.is_ai and notice.ai_name == self._actor.ai and self._knows(notice.call_id)

    def _knows(self, call: CallId) -> bool:
        """Whether a notice about this call is for these clients; it may come after the call's end."""
        whole = "*" in self._actor.tenants and "*" in self._actor.queues
        return whole or call in self.seen or call in self._past

    def _upserted(self, key: Key, change: CallUpserted) -> None:
        call = change.call
        if not self.sees(call):
            if call.id in self.seen:
                self._gone(key, CallRemoved(change.rev, call.id, "not-yours"))
            return
        known = self.seen.get(call.id)
        self.seen[call.id] = call.ai.ref
        if not self.is_ai or known != call.ai.ref:  # an AI is told of a call once, and of a new reference
            self.pending[key] = change

    def _gone(self, key: Key, change: CallRemoved) -> None:
        del self.seen[change.call_id]
        self.kept.discard(change.call_id)
        self._past.append(change.call_id)
        if self.is_ai:  # it is told what happened, not what is: all of that comes before the end
            self.pending["ended", change.call_id] = change
            return
        for old in [old for old in self.pending if old[0] == change.call_id]:
            dropped = self.pending.pop(old)
            if isinstance(dropped, EngagementChanged) and dropped.ended is not None:
                self._own_end(old, dropped)
        self.pending[key] = change

    def _own_end(self, key: Key, change: EngagementChanged) -> None:
        """Who was in the call is told why he no longer is, although the call is gone."""
        for client in self.clients:
            if client.principal.actor.id == change.engagement.agent and not self.is_ai:
                client.own[key] = change
