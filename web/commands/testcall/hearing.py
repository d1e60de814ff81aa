"""Who heard whom in a call to the site's own number, where the AI says what it says. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...demo import tones
from ...demo.report import HEARD_SHARE
from ...demo.tones import AGENT_HZ, CALLER_HZ, Trace
from ...demo.voice import Recording
from .verdict import NAMES, NOBODY_CAME, OVERLOADED, SETTLE_S, SLOW_MS, Kind, Shares, Times, Wrong, remedy

VOICE_S = 0.1
"""Of sound are somebody's voice; a click is shorter."""
PLAIN_DB = 10.0
LOUD_SHARE = 0.1
"""Of a takeover with sound beside the tone is an AI that is not muted. Lost packets leave less, speech much more."""


@dataclass(frozen=True, slots=True)
class Course:
    """What happened when, in seconds on the monotonic clock; the PBX confirmed `engaged` and `returned`."""

    greeted: bool
    """Whether the AI had said anything before."""
    asked: float
    engaged: float
    gave_back: float
    returned: float
    back: float | None
    """When somebody spoke to the caller again."""
    ended: float


def spoken(others: Trace) -> float | None:
    """When a voice began; None where there is none."""
    heard = others.times[others.heard]
    return float(heard[0]) if len(heard) * tones.WINDOW_S >= VOICE_S else None


def judged(
    kind: Kind, caller: Recording, agent: Recording, at: Course, ended: str
) -> tuple[Sequence[Wrong], Times, Shares]:
    """What was wrong, how soon the caller heard the changes, and who heard whom. `ended`: why it was over too early."""
    during, after = (at.engaged + SETTLE_S, at.gave_back), (at.returned + SETTLE_S, at.ended)
    shares: Shares = {
        "takeover": {
            "caller": {
                "agent": _tone(caller, AGENT_HZ, during).share(),
                "ai": caller.trace(AGENT_HZ, *during, measure=tones.others).share(),
            },
            "agent": {
                "caller": _tone(agent, CALLER_HZ, during).share(),
                "ai": agent.trace(CALLER_HZ, *during, measure=tones.others).share(),
            },
        },
        "after": {"caller": {"agent": _tone(caller, AGENT_HZ, after).share()}},
    }
    first = _tone(caller, AGENT_HZ, (at.asked, at.gave_back)).first()
    measured = Times(
        None,
        None if first is None else round((first - at.asked) * 1000, 1),
        None if at.back is None else round((at.back - at.gave_back) * 1000, 1),
    )
    return _faults(kind, shares, measured, at, ended), measured, _rounded(shares)


def _faults(kind: Kind, shares: Shares, measured: Times, at: Course, ended: str) -> Sequence[Wrong]:
    """What is wrong, the first cause first."""
    if ended:
        what = f"the call was over before the test was: {ended}"
        return [Wrong(what, "does the AI hang up when nobody talks to it, or the dialplan by a time limit?")]
    heard = shares["takeover"]
    if heard["caller"]["agent"] < HEARD_SHARE:
        return [Wrong("in the takeover the caller did not hear the agent", remedy(kind, *NOBODY_CAME))]
    found = []
    if heard["agent"]["caller"] < HEARD_SHARE:
        found.append(
            Wrong("in the takeover the agent did not hear the caller", remedy(kind, "takeover", "agent", "caller"))
        )
    listeners = [NAMES[who] for who in ("caller", "agent") if heard[who]["ai"] > LOUD_SHARE]
    if listeners:
        what = f"in the takeover {' and '.join(listeners)} heard more than the other's voice"
        found.append(Wrong(what, remedy(kind, "takeover", "caller", "ai")))
    if shares["after"]["caller"]["agent"] >= HEARD_SHARE:
        found.append(
            Wrong("after the giving back the caller heard the agent", remedy(kind, "after", "caller", "agent"))
        )
    if not at.greeted:
        helps = "dial a number whose AI speaks first, or look why it does not: without its voice nobody can tell"
        found.append(Wrong("the AI said nothing, so whether it is muted and comes back is not proven", helps))
    elif at.back is None:
        what = f"the AI was not heard within {at.ended - at.returned:.0f} s of the giving back"
        waits = "if it only answers what a caller says, call it yourself; else "
        found.append(Wrong(what, waits + remedy(kind, "after", "caller", "ai")))
    if not found and measured.agent_heard is not None and measured.agent_heard > SLOW_MS:
        found.append(Wrong(f"the agent was heard only after {measured.agent_heard:.0f} ms", OVERLOADED))
    return found


def _tone(recording: Recording, hz: float, span: tuple[float, float]) -> Trace:
    """A tone where it is nearly as loud as all else, or louder: a voice has some of every frequency."""
    tone, rest = recording.trace(hz, *span), recording.trace(hz, *span, measure=tones.others)
    return Trace(tone.times, np.where(tone.levels > rest.levels - PLAIN_DB, tone.levels, -np.inf))


def _rounded(shares: Shares) -> Shares:
    return {
        phase: {who: {whom: round(share, 3) for whom, share in heard.items()} for who, heard in listeners.items()}
        for phase, listeners in shares.items()
    }


def rule_for(channel: str) -> str:
    """A regular expression that fits this channel and others like it: without what is another one in each call."""
    stem = re.sub(r"-[0-9a-f]{8}(;[12])?$", "", channel)
    stem = re.sub(r"[@:].*$", "", channel) if stem == channel else stem
    return "^" + re.sub(r"([.^$*+?{}\[\]()|\\])", r"\\\1", stem)
