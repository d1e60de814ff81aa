"""What a check found: pure functions from what every party received to one JSON object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import tones
from .rtp import Report
from .tones import Trace, either
from .voice import Recording

# Who hears whom is yes or no. On a quiet machine the shares are 1 and 0; one with ten times the load it has cores for
# starves the browser's sound of every fifth frame, and that is not what is asked here: the figures are in the report.
HEARD_SHARE, SILENT_SHARE = 0.7, 0.05
SETTLE_S = 0.5  # after a switch, before it is counted who hears whom

# Generous: they prove that it works on any machine; `make bench NAME=switch` is where figures are compared.
AGENT_HEARD_MS, AI_LAST_MS, AI_BACK_MS, HOLE_MS, GAP_MS = 1500.0, 1000.0, 1000.0, 1000.0, 600.0


@dataclass(frozen=True)
class Moments:
    """When what happened, in seconds on the monotonic clock."""

    began: float
    asked: float
    """The browser sent the takeover."""
    gave_back: float
    """The browser sent the return."""
    ended: float


@dataclass(frozen=True)
class Ears:
    """What caller and AI received."""

    caller: Recording
    ai: Recording


def phases(at: Moments) -> dict[str, tuple[float, float]]:
    """The spans in which nothing changes."""
    return {
        "before": (at.began, at.asked),
        "takeover": (at.asked + SETTLE_S, at.gave_back),
        "after": (at.gave_back + SETTLE_S, at.ended),
    }


def who_heard_whom(ears: Ears, at: Moments) -> dict[str, dict[str, dict[str, float]]]:
    """Phase -> listener -> speaker -> part of the time in which the speaker's tone was heard, 0 to 1."""
    pairs: dict[str, tuple[Recording, Mapping[str, float]]] = {
        "caller": (ears.caller, {"ai": tones.AI_HZ, "agent": tones.AGENT_HZ}),
        "ai": (ears.ai, {"caller": tones.CALLER_HZ, "agent": tones.AGENT_HZ}),
    }
    return {
        phase: {
            listener: {speaker: round(recording.trace(hz, *span).share(), 3) for speaker, hz in speakers.items()}
            for listener, (recording, speakers) in pairs.items()
        }
        for phase, span in phases(at).items()
    }


EXPECTED: Mapping[str, Mapping[str, Mapping[str, bool]]] = {
    "before": {"caller": {"ai": True, "agent": False}, "ai": {"caller": True, "agent": False}},
    "takeover": {"caller": {"ai": False, "agent": True}, "ai": {"caller": True, "agent": True}},
    "after": {"caller": {"ai": True, "agent": False}, "ai": {"caller": True, "agent": False}},
}


def as_expected(heard: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """What is not as the truth table wants it, in words."""
    wrong = []
    for phase, listeners in EXPECTED.items():
        for listener, speakers in listeners.items():
            for speaker, wanted in speakers.items():
                share = heard[phase][listener][speaker]
                if (share < HEARD_SHARE) if wanted else (share > SILENT_SHARE):
                    verb = "should hear" if wanted else "should not hear"
                    wrong.append(f"{phase}: the {listener} {verb} the {speaker}, and did for {share:.0%} of the time")
    return wrong


def times_ms(ears: Ears, at: Moments) -> dict[str, float | None]:
    """From the browser's request to what the caller hears; None where it never did."""
    agent = ears.caller.trace(tones.AGENT_HZ, at.began, at.ended)
    ai = ears.caller.trace(tones.AI_HZ, at.began, at.ended)
    window_ms = tones.WINDOW_S * 1000
    return {
        "agent_heard": _ms(agent.first(at.asked), at.asked),
        "ai_last_heard": _ms(ai.last(at.asked + 1.0), at.asked, window_ms),
        "return_ai_heard": _ms(ai.first(at.gave_back), at.gave_back),
        "return_agent_last_heard": _ms(agent.last(at.gave_back + 1.0), at.gave_back, window_ms),
    }


def holes_ms(ears: Ears, at: Moments) -> dict[str, float]:
    """The longest time in which the caller heard neither AI nor agent, around each switch."""

    def hole(since: float) -> float:
        span = (since - 0.2, since + 1.0)
        both: Trace = either(ears.caller.trace(tones.AI_HZ, *span), ears.caller.trace(tones.AGENT_HZ, *span))
        return round(both.hole_ms(*span), 1)

    return {"takeover": hole(at.asked), "return": hole(at.gave_back)}


def rtp_facts(report: Report) -> dict[str, float]:
    """The caller's stream over the whole check."""
    return {
        "packets": report.packets,
        "lost": report.lost,
        "ssrc_changes": report.ssrc_changes,
        "max_gap_ms": round(report.max_gap_ms, 1),
    }


def faults(facts: Mapping[str, Any]) -> list[str]:
    """All that keeps the check from being passed; empty when it is."""
    wrong = as_expected(facts["who_heard_whom"])
    times, holes, rtp = facts["times_ms"], facts["hole_ms"], facts["rtp"]
    limits = {"agent_heard": AGENT_HEARD_MS, "ai_last_heard": AI_LAST_MS, "return_ai_heard": AI_BACK_MS}
    for name, limit in limits.items():
        if times[name] is None or times[name] > limit:
            wrong.append(f"{name}: {times[name]} ms, at most {limit:g} expected")
    wrong += [f"hole at {name}: {hole} ms, at most {HOLE_MS:g}" for name, hole in holes.items() if hole > HOLE_MS]
    if rtp["lost"] or rtp["ssrc_changes"] or rtp["max_gap_ms"] > GAP_MS:
        wrong.append(f"the caller's RTP is not continuous: {rtp}")
    if facts["note"]["received"] != facts["note"]["sent"]:
        wrong.append(f"the AI got the note {facts['note']['received']!r} instead of {facts['note']['sent']!r}")
    if not facts["agent"]["hears_caller"] or facts["agent"]["hears_ai"]:
        wrong.append(f"in the takeover the agent should hear the caller and not the AI: {facts['agent']}")
    return wrong


def _ms(moment: float | None, since: float, length: float = 0.0) -> float | None:
    return None if moment is None else round((moment - since) * 1000 + length, 1)
