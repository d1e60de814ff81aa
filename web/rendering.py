"""How what happens reads on the events socket: the JSON of a change, of a call, of what an AI is told.

A live call's JSON is kept until something about it changes: every panel that joins is sent all of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from connector.domain.calls import Call, CallId
from connector.domain.people import Actor
from connector.services.changes import (
    AiNotice,
    CallRemoved,
    CallUpserted,
    Change,
    DtmfSeen,
    EngagementChanged,
    Measured,
    PbxChanged,
    PbxState,
    TalkingChanged,
    TurnChanged,
)
from connector.services.escalations import Escalations
from connector.services.registry import Registry

from .views import call_now, dumps, engagement_json, pbx_json, turn_json


class Rendering:
    """Calls as they are now, and changes as they stand in a delta."""

    def __init__(self, registry: Registry, escalations: Escalations) -> None:
        self._registry, self._escalations = registry, escalations
        self._calls: dict[CallId, bytes] = {}

    def outdated(self, change: Change, call: CallId | None) -> None:
        """Something happened to a call: its JSON is made anew when it is next wanted, if that shows there."""
        if call is not None and isinstance(change, CallUpserted | CallRemoved | EngagementChanged | TalkingChanged):
            self._calls.pop(call, None)

    def call(self, call: Call) -> bytes:
        """A live call with who is in it and who speaks, now."""
        text = self._calls.get(call.id)
        if text is None:
            text = self._calls[call.id] = dumps(call_now(self._registry, self._escalations, call)).encode()
        return text

    def change(self, change: Change) -> bytes:
        """A change as it stands in a delta."""
        match change:
            case CallUpserted(_, call):
                return b'{"kind":"call","call":' + self.call(call) + b"}"
            case CallRemoved(_, call_id, why):
                body: dict[str, Any] = {"kind": "call-gone", "id": call_id, "why": why}
            case EngagementChanged(_, engagement, ended):
                body = {"kind": "engagement", "engagement": {**engagement_json(engagement), "ended": ended}}
            case TurnChanged(_, call_id, turn):
                body = {"kind": "turn", "call": call_id, "turn": turn_json(turn)}
            case TalkingChanged(_, call_id, role, on):
                body = {"kind": "talking", "call": call_id, "role": role, "on": on}
            case Measured(_, call_id, facts):
                body = {"kind": "measured", "call": call_id, "facts": dict(facts)}
            case PbxChanged(_, state):
                body = {"kind": "pbx", "pbx": pbx_json(state)}
            case DtmfSeen() | AiNotice():
                raise TypeError(f"{type(change).__name__} is in no delta")
        return dumps(body).encode()

    def for_ai(self, change: Change) -> bytes:
        """A change as the AI of its call is told it, in a frame of its own."""
        match change:
            case CallUpserted(_, call):
                return b'{"type":"call","call":' + self.call(call) + b"}"
            case CallRemoved(_, call_id, why):
                return dumps({"type": "call.ended", "call": call_id, "why": why}).encode()
            case AiNotice(_, call_id, _, kind, data):
                return dumps({"type": kind, "call": call_id, **data}).encode()
        raise TypeError(f"{type(change).__name__} is nothing for an AI")


def snapshot(rev: int, me: Actor, calls: Iterable[bytes], pbxs: Sequence[PbxState]) -> bytes:
    """All that is true now, as one frame; `calls` are JSON already."""
    who = dumps({"id": me.id, "name": me.name, "role": me.role})
    begin = f'{{"type":"snapshot","rev":{rev},"me":{who},"calls":['.encode()
    end = f'],"pbxs":{dumps([pbx_json(state) for state in pbxs])}}}'.encode()
    return b"".join((begin, b",".join(calls), end))


def delta(rev: int, changes: Iterable[bytes]) -> bytes:
    """What is different since the frame before."""
    return b'{"type":"delta","rev":%d,"changes":[%b]}' % (rev, b",".join(changes))
