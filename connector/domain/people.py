"""Who acts, and whether they may."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from .calls import Call, Mode
from .errors import NotAllowed

ActorRole = Literal["ai", "agent", "supervisor", "admin", "metrics"]
"""``metrics`` is for a monitoring system's token: it may read figures, and nothing else."""

Act = Literal[
    "see",
    "monitor",
    "whisper",
    "barge",
    "takeover",
    "override",
    "hangup",
    "transfer",
    "dtmf",
    "read-transcript",
    "write-transcript",
    "escalate",
    "coach",
    "wrap-up",
    "open-leg",
    "listen-events",
    "read-audit",
    "read-metrics",
    "administer",
]

EVERYTHING: frozenset[str] = frozenset({"*"})
"""The queue and tenant sets of somebody who is not restricted."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A logged-in person or a machine token.

    `queues` and `tenants` hold names, or ``*`` for all. `ai` is the one AI a token of role ``ai`` speaks for.
    `origin` is the address the request came from, for the audit; it decides nothing.
    """

    id: str
    name: str
    role: ActorRole
    queues: AbstractSet[str] = EVERYTHING
    tenants: AbstractSet[str] = EVERYTHING
    ai: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why, in words for the person who asked. False: ``if may(...)`` means what it says."""

    reason: str

    def __bool__(self) -> Literal[False]:
        return False


_LISTEN: frozenset[Act] = frozenset({"see", "monitor", "whisper", "read-transcript"})
_AGENT: frozenset[Act] = _LISTEN | {
    "barge",
    "takeover",
    "hangup",
    "transfer",
    "dtmf",
    "escalate",
    "coach",
    "wrap-up",
    "open-leg",
    "listen-events",
}
_SUPERVISOR: frozenset[Act] = _AGENT | {"override", "read-audit", "read-metrics"}
PERMISSIONS: dict[ActorRole, frozenset[Act]] = {
    "ai": frozenset({"see", "read-transcript", "write-transcript", "escalate", "listen-events"}),
    "agent": _AGENT,
    "supervisor": _SUPERVISOR,
    "admin": _SUPERVISOR | {"administer"},
    "metrics": frozenset({"read-metrics"}),
}
WHOLE_HOUSE: frozenset[Act] = frozenset({"read-metrics", "administer"})
"""Acts that show or change what belongs to every tenant and queue: only for those who are not restricted to some."""


def may(actor: Actor, act: Act, call: Call | None = None) -> Allowed | Denied:
    """Whether `actor` may do `act` (to `call`, where the act is about one): role x tenant x queue."""
    if act not in PERMISSIONS[actor.role]:
        return Denied(f"The role {actor.role!r} may not {act}.")
    if act in WHOLE_HOUSE and not ("*" in actor.tenants and "*" in actor.queues):
        return Denied(f"To {act} is about every tenant and queue; you belong to some of them.")
    if call is None:
        return Allowed()
    if actor.role == "ai" and call.ai.name != actor.ai:
        return Denied("This token belongs to another AI.")
    if not _covers(actor.tenants, call.tenant):
        return Denied("This call belongs to another tenant.")
    if not _covers(actor.queues, call.queue):
        return Denied(f"You are not in the queue {call.queue!r}.")
    return Allowed()


def demand(actor: Actor, act: Act | Mode, call: Call | None = None) -> None:
    """`may`, as an error: raises `NotAllowed`. To be in a mode is an act."""
    decision = may(actor, act, call)  # type: ignore[arg-type]  # every mode's name is an act
    if isinstance(decision, Denied):
        raise NotAllowed(act, decision.reason)


def _covers(names: AbstractSet[str], name: str) -> bool:
    return "*" in names or name in names
