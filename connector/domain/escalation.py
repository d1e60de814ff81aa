"""Requests for a human: how urgent, until when, and what happens step by step while nobody comes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from .calls import CallId

Priority = Literal["normal", "urgent", "emergency"]
PRIORITIES: tuple[Priority, ...] = ("normal", "urgent", "emergency")
"""From the least to the most urgent."""

SUPERVISORS = "supervisors"
"""In a step's `notify`: supervisors are called in their panels."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """One open request. `by` names who asked; `deadline` is when it should have been answered."""

    call: CallId
    reason: str
    priority: Priority
    by: str
    since: datetime
    raised_at: datetime
    """When it became as urgent as it is."""
    deadline: datetime | None = None
    step: int = 0
    """How many steps of the ladder are behind it."""
    escalated_at: datetime | None = None
    """When the last of them was taken."""
    supervisors: bool = False
    """Whether the ladder has called the supervisors."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens when nobody has come `after_s` seconds after the request, or after its deadline."""

    after_s: float
    after: Literal["request", "deadline"] = "request"
    priority: Priority | None = None
    """At least as urgent as this from now on."""
    notify: tuple[str, ...] = ()
    """`supervisors`, or names of webhooks."""
    transfer: str = ""
    """The key of the destination that the caller is sent to."""


def more_urgent(one: Priority, other: Priority) -> Priority:
    """The more urgent of two."""
    return max(one, other, key=PRIORITIES.index)


def less_urgent(one: Priority, other: Priority) -> Priority:
    """The less urgent of two: what remains of a wish under a ceiling."""
    return min(one, other, key=PRIORITIES.index)


def joined(known: Escalation, new: Escalation) -> Escalation:
    """What a second request makes of an open one.

    It can make it more urgent and its deadline earlier, never the other way: who asks again and again must not keep
    the ladder from being climbed.
    """
    priority = more_urgent(known.priority, new.priority)
    deadlines = [one for one in (known.deadline, new.deadline) if one is not None]
    return replace(
        known,
        reason=new.reason or known.reason,
        priority=priority,
        raised_at=known.raised_at if priority == known.priority else new.raised_at,
        deadline=min(deadlines, default=None),
    )


def next_step(ladder: Sequence[Step], escalation: Escalation) -> tuple[int, datetime] | None:
    """The next step's index and time; None when none is left. The order is the ladder's: no step before another."""
    for index in range(escalation.step, len(ladder)):
        step = ladder[index]
        start = escalation.since if step.after == "request" else escalation.deadline
        if start is not None:
            at = start + timedelta(seconds=step.after_s)
            return index, max(at, escalation.escalated_at or at)
    return None


def climbed(escalation: Escalation, index: int, step: Step, at: datetime) -> Escalation:
    """The request after a step, taken at `at`."""
    priority = more_urgent(escalation.priority, step.priority or escalation.priority)
    return replace(
        escalation,
        priority=priority,
        raised_at=escalation.raised_at if priority == escalation.priority else at,
        step=index + 1,
        escalated_at=at,
        supervisors=escalation.supervisors or SUPERVISORS in step.notify,
    )
