"""Requests for a human: who asks in which call, how urgently, until when. At most one per call; the latest counts."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from ..domain.calls import CallId, Phase
from ..domain.errors import NotAllowed
from ..domain.events import HumanAsked, PbxEvent
from ..domain.people import Actor, Denied, may
from .changes import CallRemoved, CallUpserted, Change, EngagementChanged
from .registry import Registry

Priority = Literal["normal", "urgent", "emergency"]


@dataclass(frozen=True, slots=True)
class Escalation:
    """One request. `by` names who asked; `deadline` is when it should have been answered."""

    reason: str
    priority: Priority
    by: str
    since: datetime
    deadline: datetime | None = None


class Escalations:
    """Kept beside the registry, for as long as the call lives and nobody speaks in it.

    Who speaks has answered the request: it is over then, and does not come back when the call does.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[CallId, Escalation] = {}
        registry.listen(self._heard)
        registry.watch(self._changed)

    def of(self, call: CallId) -> Escalation | None:
        """The call's open request."""
        return self._open.get(call)

    def ask(
        self, actor: Actor, call: CallId, reason: str, priority: Priority, deadline_s: float | None = None
    ) -> Escalation:
        """Asks, in place of an earlier request. Raises `CallUnknown`, `CallEnded`, `NotAllowed`."""
        self._permit(actor, call)
        now = datetime.now(UTC)
        deadline = now + timedelta(seconds=deadline_s) if deadline_s is not None else None
        made = Escalation(reason, priority, actor.name, now, deadline)
        self._set(call, made)
        return made

    def withdraw(self, actor: Actor, call: CallId) -> bool:
        """Takes the request back; false when there was none. Raises as `ask`."""
        self._permit(actor, call)
        there = call in self._open
        self._set(call, None)
        return there

    def _permit(self, actor: Actor, call: CallId) -> None:
        decision = may(actor, "escalate", self._registry.call(call))
        if isinstance(decision, Denied):
            raise NotAllowed("escalate", decision.reason)

    def _set(self, call: CallId, escalation: Escalation | None) -> None:
        if self._open.get(call) == escalation:
            return
        if escalation is None:
            del self._open[call]
        else:
            self._open[call] = escalation
        found = self._registry.call(call)
        self._registry.publish(lambda rev: CallUpserted(rev, found))

    def _heard(self, event: PbxEvent) -> None:
        if isinstance(event, HumanAsked) and any(call.id == event.call for call in self._registry.calls()):
            self._set(event.call, Escalation(event.reason, event.priority, "dialplan", datetime.now(UTC)))

    def _changed(self, change: Change) -> None:
        if isinstance(change, CallRemoved):
            self._open.pop(change.call_id, None)
        elif isinstance(change, EngagementChanged) and change.engagement.call in self._open:
            engagement = change.engagement
            if engagement.mode.speaks and engagement.phase is Phase.ACTIVE:
                # Later: a change is not published while another one is.
                asyncio.get_running_loop().call_soon(self._answered, engagement.call)

    def _answered(self, call: CallId) -> None:
        if call in self._open:
            self._set(call, None)
