"""Who is told what: takes the registry's changes, has each rendered once, puts it into the outboxes that may have it.

What happens while nobody is told anything is told at once; after that at most one delta per tick. A takeover's own
news is thus not held up on a quiet system, and a busy one costs 25 frames a second and client, not one per change.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any

from connector.domain.calls import CallId
from connector.domain.errors import CallEnded, CallUnknown
from connector.services.changes import (
    AiNotice,
    CallRemoved,
    CallUpserted,
    Change,
    DtmfSeen,
    EngagementChanged,
    Measured,
    PbxChanged,
    TalkingChanged,
    TurnChanged,
)
from connector.services.escalations import Escalations
from connector.services.registry import Registry

from .audience import Audience, Client, Key, permission
from .auth import Principal
from .missed import Missed
from .rendering import Rendering, delta, snapshot
from .views import dumps

TICK = 0.04
"""Seconds between two deltas, at least."""


class Hub:
    """All connected clients. Every method is synchronous and cheap; nothing here waits for a client."""

    def __init__(self, registry: Registry, escalations: Escalations, missed: Missed) -> None:
        self._registry, self._rendering = registry, Rendering(registry, escalations)
        self._clients: set[Client] = set()
        self._audiences: dict[Hashable, Audience] = {}
        self._queue: deque[Change] = deque()
        self._numbers = itertools.count()
        self._missed = missed
        self._timer: asyncio.Handle | None = None
        self._last = 0.0
        self.refreshed = 0
        """Clients that were so far behind that they got a snapshot instead."""
        self.dropped = 0
        """Clients that did not read at all."""
        self._unwatch = registry.watch(self.publish)

    def close(self) -> None:
        """Listens to the registry no more and asks every client to leave."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._tick()  # what is still to be told is told before the close
        for client in self._clients:
            self._end(client, "service-stops")

    def __len__(self) -> int:
        return len(self._clients)

    # ---- clients come and go ----

    def join(self, principal: Principal) -> Client:
        """A new client; it is told nothing before `start`."""
        client = Client(principal)
        self._clients.add(client)
        return client

    def start(self, client: Client, leg: str | None) -> None:
        """After the client's hello: all that is true now."""
        client.leg = leg
        self.snapshot(client)

    def leave(self, client: Client) -> None:
        """The client's socket is closed."""
        self._clients.discard(client)
        self._unseat(client)

    def sockets_of(self, actor: str) -> int:
        """How many sockets somebody has open."""
        return sum(client.principal.actor.id == actor for client in self._clients)

    def speaks_for(self, leg: str) -> bool:
        """Whether some connected client watches over this leg."""
        return any(client.leg == leg for client in self._clients)

    def end_session(self, session: str, why: str) -> None:
        """The session is over: its sockets close."""
        for client in self._clients:
            if client.principal.session == session:
                self._end(client, why)

    def snapshot(self, client: Client) -> None:
        """Replaces what waits for the client by all that it may see now.

        What its audience is about to be told comes after it once more; that changes nothing, as every change says what
        is, not what is different.
        """
        self._distribute()
        audience = self._audience(client)
        client.outbox.reset()
        calls = [call for call in self._registry.calls() if call.id in audience.seen]
        client.rev, client.fresh = self._registry.rev, True
        if client.is_ai:
            for missed in self._missed.fetch(audience.wants):  # what happened, and then what is
                client.put(self._rendering.for_ai(missed))
            for call in calls:
                client.put(self._rendering.for_ai(CallUpserted(client.rev, call)))
            return
        texts = map(self._rendering.call, calls)
        frame = snapshot(client.rev, client.principal.actor, texts, self._registry.pbxs())
        client.outbox.limit_bytes = max(client.outbox.limit_bytes, 4 * len(frame))
        client.put(frame)

    def resume(self, client: Client, rev: int) -> None:
        """The client has all up to `rev`: nothing to tell, or everything again.

        A client that comes back says what it had before; the snapshot that its hello was answered by has all of it.
        """
        if (rev == client.rev or client.fresh) and not client.outbox.overflowed:
            client.put(delta(client.rev, ()))
        else:
            self.snapshot(client)

    def answer(self, client: Client, message: Mapping[str, Any]) -> None:
        """A frame for this client alone."""
        client.put(dumps(message).encode())

    def _audience(self, client: Client) -> Audience:
        if client.audience is not None:
            return client.audience
        actor = client.principal.actor
        seat = self._seat(client, self._audiences.get(permission(actor)) or Audience(actor, self._registry.calls()))
        for engagement in self._registry.engagements():
            if engagement.agent == actor.id:
                self._keep_speakers(engagement.call)
        return client.audience or seat

    def _seat(self, client: Client, audience: Audience) -> Audience:
        self._unseat(client)
        audience = client.audience = self._audiences.setdefault(audience.key, audience)
        audience.clients.add(client)
        return audience

    def _unseat(self, client: Client) -> None:
        audience = client.audience
        if audience is not None:
            audience.clients.discard(client)
            if not audience.clients:
                del self._audiences[audience.key]

    def _keep_speakers(self, id_: CallId) -> None:
        """Who speaks in a call sees it wherever it goes, or the panel would close the microphone, and the caller hear
        neither agent nor AI. Then who speaks has an audience alone, as nobody else is told of that call."""
        speakers = {one.agent for one in self._registry.engagements(id_) if one.mode.speaks}
        if not speakers and not any(id_ in audience.kept for audience in self._audiences.values()):
            return
        try:
            call = self._registry.call(id_)
        except (CallEnded, CallUnknown):
            return  # everybody is told of its end
        for client in self._clients:
            audience, who = client.audience, client.principal.actor.id
            if audience is None:
                continue
            if who in speakers and not audience.sees(call):
                self._seat(client, self._audiences.get(who) or audience.alone()).keep(self._registry.rev, call)
            elif who not in speakers and id_ in audience.kept:
                audience.let_go(self._registry.rev, call)

    # ---- what happens ----

    def publish(self, change: Change) -> None:
        """From the registry: only notes it down, so that the PBX's events are never held up by rendering."""
        # Kept from now on, not only when nobody is found to be told: a crash may come in between.
        self._queue.append(self._missed.keep(change) if isinstance(change, AiNotice) else change)
        self._schedule()

    def leg_changed(self, session: str, leg: str, *, up: bool, why: str = "") -> None:
        """A leg came or went: for its own session."""
        self._for_session(session, ("leg", leg), {"kind": "leg", "leg": leg, "up": up, "why": why})

    def quality(self, session: str, leg: str, facts: Mapping[str, Any]) -> None:
        """How a leg sounds: for its own session."""
        self._for_session(session, ("quality", leg), {"kind": "quality", "leg": leg, "facts": dict(facts)})

    def _for_session(self, session: str, key: Key, change: Mapping[str, Any]) -> None:
        for client in self._clients:
            if client.principal.session == session and client.audience is not None and not client.is_ai:
                client.own[key] = dumps(change).encode()
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait = self._last + TICK - loop.time()
            self._timer = loop.call_later(wait, self._tick) if wait > 0 else loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._last = asyncio.get_running_loop().time()
        self._distribute()
        texts: dict[int, bytes] = {}  # by identity: one change waits in many audiences
        for audience in self._audiences.values():
            self._send(audience, texts)

    def _distribute(self) -> None:
        """From the queue to those who may know."""
        while self._queue:
            change = self._queue.popleft()
            key, call = _key(change)
            self._rendering.outdated(change, call)
            if isinstance(change, DtmfSeen):
                continue  # digits may be card numbers: nobody needs to see them
            if call is not None and isinstance(change, CallUpserted | EngagementChanged):
                self._keep_speakers(call)
            for audience in self._audiences.values():
                audience.take(key, call, change, self._unique)
            if isinstance(change, AiNotice) and any(one.wants(change) for one in self._audiences.values()):
                self._missed.told(change)

    def _unique(self) -> Key:
        return ("notice", next(self._numbers))

    def _send(self, audience: Audience, texts: dict[int, bytes]) -> None:
        rev = self._registry.rev
        waiting = list(audience.pending.values())
        audience.pending.clear()
        if waiting and audience.is_ai:
            for change in waiting:
                frame = self._rendering.for_ai(change)
                for client in audience.clients:
                    client.put(frame)
                    client.fresh = False
        elif waiting:
            frame = delta(rev, [self._text(change, texts) for change in waiting])
            for client in audience.clients:
                client.put(frame)
                client.rev, client.fresh = rev, False
        for client in audience.clients:
            if client.own:
                client.put(delta(rev, [self._text(change, texts) for change in client.own.values()]))
                client.rev, client.fresh = rev, False
                client.own.clear()

    def _text(self, change: Change | bytes, texts: dict[int, bytes]) -> bytes:
        if isinstance(change, bytes):
            return change
        text = texts.get(id(change))
        if text is None:
            text = texts[id(change)] = self._rendering.change(change)
        return text

    def _end(self, client: Client, why: str) -> None:
        client.closing = client.closing or why
        client.wake.set()


def _key(change: Change) -> tuple[Key, CallId | None]:
    """What a newer change replaces, and the call it is about (None: for everybody)."""
    match change:
        case CallUpserted(_, call):
            return (call.id, "call"), call.id
        case CallRemoved(_, call_id, _):
            return (call_id, "call"), call_id
        case EngagementChanged(_, engagement, _):
            return (engagement.call, "engagement", engagement.id), engagement.call
        case TurnChanged(_, call_id, turn):
            return (call_id, "turn", turn.id), call_id
        case TalkingChanged(_, call_id, role, _):
            return (call_id, "talking", role), call_id
        case Measured(_, call_id, _):
            return (call_id, "measured"), call_id
        case PbxChanged(_, state):
            return ("pbx", state.name), None
        case DtmfSeen(_, call_id, role, _):
            return (call_id, "dtmf", role), call_id
        case AiNotice(_, call_id, _, kind, _):
            return (call_id, "notice", kind), call_id
