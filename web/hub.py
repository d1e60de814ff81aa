"""Who is told what: takes the registry's changes, renders each once, puts it into the outboxes that may have it."""

import asyncio
import itertools
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.domain.calls import Call, CallId
from connector.domain.people import Actor, Allowed, may
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

from .auth import Principal
from .messages import CallJson
from .outbox import Outbox
from .views import call_now, dumps, engagement_json, pbx_json, turn_json


def me_json(actor: Actor) -> dict[str, str]:
    """Who the client is."""
    return {"id": actor.id, "name": actor.name, "role": actor.role}


@dataclass(slots=True, eq=False)
class Client:
    """One connected socket. `wake` is set when something waits in `outbox`; `closing` says why it is to be closed."""

    principal: Principal
    outbox: Outbox = field(default_factory=Outbox)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    leg: str | None = None
    seen: dict[CallId, str] = field(default_factory=dict)
    """Calls the client was told of, with the AI's reference at that time."""
    started: bool = False
    """After its hello: only then is it told anything."""
    closing: str | None = None

    @property
    def is_ai(self) -> bool:
        return self.principal.actor.role == "ai"

    def sees(self, call: Call) -> bool:
        return isinstance(may(self.principal.actor, "see", call), Allowed)


def _own(change: Change, client: Client) -> bool:
    """An engagement of this client's own, which may end after the call did."""
    return isinstance(change, EngagementChanged) and change.engagement.agent == client.principal.actor.id


class Hub:
    """All connected clients. Every method is synchronous and cheap; nothing here waits for a client."""

    def __init__(self, registry: Registry, escalations: Escalations) -> None:
        self._registry, self._escalations = registry, escalations
        self._clients: set[Client] = set()
        self._queue: deque[Change] = deque()
        self._scheduled = False
        self._numbers = itertools.count()
        self._unwatch = registry.watch(self.publish)

    def close(self) -> None:
        """Listens to the registry no more and asks every client to leave."""
        self._unwatch()
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
        client.leg, client.started = leg, True
        self.snapshot(client)

    def leave(self, client: Client) -> None:
        """The client's socket is closed."""
        self._clients.discard(client)

    def speaks_for(self, leg: str) -> bool:
        """Whether some connected client watches over this leg."""
        return any(client.leg == leg for client in self._clients)

    def end_session(self, session: str, why: str) -> None:
        """The session is over: its sockets close."""
        for client in self._clients:
            if client.principal.session == session:
                self._end(client, why)

    def snapshot(self, client: Client) -> None:
        """Replaces what waits for the client by all that it may see now."""
        self._flush()
        client.outbox.reset()
        calls = [call for call in self._registry.calls() if client.sees(call)]
        client.seen = {call.id: call.ai.ref for call in calls}
        if client.is_ai:
            for call in calls:
                self._frame(
                    client,
                    ("call", call.id),
                    {"type": "call", "call": self._now(call)},
                )
            return
        frame = {
            "type": "snapshot",
            "rev": self._registry.rev,
            "me": me_json(client.principal.actor),
            "calls": [self._now(call) for call in calls],
            "pbxs": [pbx_json(state) for state in self._registry.pbxs()],
        }
        client.outbox.limit_bytes = max(client.outbox.limit_bytes, 4 * len(text := dumps(frame)))
        client.outbox.frame("snapshot", text)
        client.wake.set()

    def resume(self, client: Client, rev: int) -> None:
        """The client has all up to `rev`: nothing to tell, or everything again."""
        self._flush()
        if rev == self._registry.rev and not client.outbox.overflowed:
            self._frame(client, "delta", {"type": "delta", "rev": rev, "changes": []})
        else:
            self.snapshot(client)

    def answer(self, client: Client, key: Hashable, message: Mapping[str, Any]) -> None:
        """A frame for this client alone."""
        self._frame(client, key, message)

    # ---- what happens ----

    def publish(self, change: Change) -> None:
        """From the registry: only notes it down, so that the PBX's events are never held up by rendering."""
        self._queue.append(change)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def leg_changed(self, session: str, leg: str, *, up: bool, why: str = "") -> None:
        """A leg came or went: for its own session."""
        text = dumps({"kind": "leg", "leg": leg, "up": up, "why": why})
        self._for_session(session, ("leg", leg), text)

    def quality(self, session: str, leg: str, facts: Mapping[str, Any]) -> None:
        """How a leg sounds: for its own session."""
        self._for_session(session, ("quality", leg), dumps({"kind": "quality", "leg": leg, "facts": dict(facts)}))

    def _for_session(self, session: str, key: Hashable, text: str) -> None:
        for client in self._clients:
            if client.started and client.principal.session == session and not client.is_ai:
                client.outbox.change(key, text, self._registry.rev)
                client.wake.set()

    def _flush(self) -> None:
        self._scheduled = False
        while self._queue:
            change = self._queue.popleft()
            clients = [client for client in self._clients if client.started]
            if not clients:
                continue
            if isinstance(change, AiNotice):
                self._notify_ai(change, clients)
                continue
            for client in clients:
                self._tell_calls(client, change)
            self._tell_browsers(change, [client for client in clients if not client.is_ai])

    def _notify_ai(self, change: AiNotice, clients: Sequence[Client]) -> None:
        message = {"type": change.kind, "call": change.call_id, **change.data}
        for client in clients:
            if client.is_ai and client.principal.actor.ai == change.ai_name:
                self._frame(client, ("notice", next(self._numbers)), message)

    def _tell_calls(self, client: Client, change: Change) -> None:
        """Keeps `seen` true, and tells an AI's client when its calls come and go."""
        if isinstance(change, CallUpserted) and client.sees(change.call):
            call = change.call
            if client.is_ai and client.seen.get(call.id) != call.ai.ref:
                self._frame(
                    client,
                    ("call", call.id),
                    {"type": "call", "call": self._now(call)},
                )
            client.seen[call.id] = call.ai.ref
        elif isinstance(change, CallRemoved) and client.is_ai and client.seen.pop(change.call_id, None) is not None:
            self._frame(
                client, ("ended", change.call_id), {"type": "call.ended", "call": change.call_id, "why": change.why}
            )

    def _tell_browsers(self, change: Change, clients: Sequence[Client]) -> None:
        if not clients:
            return
        for key, call, body in self._rendered(change):
            text = dumps(body)
            for client in clients:
                if call is not None and call not in client.seen and not _own(change, client):
                    continue
                if isinstance(change, CallUpserted) and not client.sees(change.call):
                    self._gone(client, change.call.id, "not-yours", change.rev)
                elif isinstance(change, CallRemoved):
                    self._gone(client, change.call_id, change.why, change.rev)
                else:
                    client.outbox.change(key, text, change.rev)
                    client.wake.set()

    def _gone(self, client: Client, call: CallId, why: str, rev: int) -> None:
        client.seen.pop(call, None)
        client.outbox.drop(call)
        client.outbox.change((call, "call"), dumps({"kind": "call-gone", "id": call, "why": why}), rev)
        client.wake.set()

    def _rendered(self, change: Change) -> Iterator[tuple[Hashable, CallId | None, Mapping[str, Any]]]:
        """Key, the call it is about (None: for everybody) and the body of a change in a delta."""
        match change:
            case CallUpserted(_, call):
                yield (
                    (call.id, "call"),
                    call.id,
                    {"kind": "call", "call": self._now(call)},
                )
            case CallRemoved(_, call_id, why):
                yield (call_id, "call"), call_id, {"kind": "call-gone", "id": call_id, "why": why}
            case EngagementChanged(_, engagement, ended):
                body = {**engagement_json(engagement), "ended": ended}
                key = (engagement.call, "engagement", engagement.id)
                yield key, engagement.call, {"kind": "engagement", "engagement": body}
            case TurnChanged(_, call_id, turn):
                body_turn = {"kind": "turn", "call": call_id, "turn": turn_json(turn)}
                yield (call_id, "turn", turn.id), call_id, body_turn
            case TalkingChanged(_, call_id, role, on):
                talking = {"kind": "talking", "call": call_id, "role": role, "on": on}
                yield (call_id, "talking", role), call_id, talking
            case Measured(_, call_id, facts):
                yield (call_id, "measured"), call_id, {"kind": "measured", "call": call_id, "facts": dict(facts)}
            case PbxChanged(_, state):
                yield ("pbx", state.name), None, {"kind": "pbx", "pbx": pbx_json(state)}
            case DtmfSeen() | AiNotice():
                return  # digits may be card numbers: nobody needs to see them; notices are the AI's alone

    def _now(self, call: Call) -> CallJson:
        return call_now(self._registry, self._escalations, call)

    def _frame(self, client: Client, key: Hashable, message: Mapping[str, Any]) -> None:
        client.outbox.frame(key, dumps(message))
        client.wake.set()

    def _end(self, client: Client, why: str) -> None:
        client.closing = client.closing or why
        client.wake.set()
