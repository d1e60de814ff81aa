"""Whether an agent's leg is fit for what it is to do in a call."""

from ..domain.calls import Mode
from ..domain.errors import LegNotReady
from ..ports import AgentLegs

LISTENER_UNFIT = frozenset({"no-such-leg", "worker-late"})
"""What makes a leg unfit even for listening, where no microphone is needed."""


def unfit(legs: AgentLegs, leg: str, *modes: Mode) -> str | None:
    """Why the leg is unfit for one of the modes, as a slug; None when it is fit."""
    reason = legs.not_alive_reason(leg)
    if any(mode.speaks for mode in modes):
        return None if legs.alive(leg) else reason or "no-microphone"
    return reason if reason in LISTENER_UNFIT else None


def demand_fit(legs: AgentLegs, leg: str, mode: Mode) -> None:
    """The same, as an error: raises `LegNotReady`."""
    reason = unfit(legs, leg, mode)
    if reason is not None:
        raise LegNotReady(leg, reason)
