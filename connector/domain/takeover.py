"""The takeover machine: what one engagement does next, as a pure function.

`begin` and `step` turn a state and an input into a state and commands; whoever runs the machine
executes the commands in order and feeds back what came of them. Promises the machine keeps, whatever
the PBX, the network or the store do (proved by walking every reachable state):

- ended while the caller is on the line => the AI is audible;
- active in takeover => the AI is silent;
- at most one speaker per call, as long as whoever starts engagements asks `holds_floor` first.

How it keeps them:

- Every command has a number and only the answer to the last one counts, so a late refusal cannot end
  what a newer command has begun.
- `ai_muted` is pessimistic: true from the moment a mute is asked for until the PBX confirmed the contrary.
- While the caller is on the line there is one way out, `_leave`: give back, again until it holds; where the
  PBX does not answer, close the patch, because the PBX itself un-mutes the AI when the patch dies.
- No effect before its intent is on record. When the record fails, listening is refused, but speaking (the
  caller may be in distress) and every giving back go on with an emergency record.
- What is unknown (`Lost`) is neither success nor refusal: it is verified against the PBX. A lost PBX
  connection ends nothing: the PBX's dead-man is the judge, and the next snapshot tells the truth.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import assert_never

from .calls import Mode, Phase
from .commands import ClosePatch, Command, Engage, GiveBack, Prepare, SwitchTo, Verify, Wait
from .inputs import (
    AgentLeft,
    AiLeft,
    CallerLeft,
    Change,
    Done,
    Due,
    Input,
    Leave,
    Lost,
    PatchLost,
    PbxLost,
    Prepared,
    Refused,
    Seen,
)
from .reasons import AGENT_GONE, AI_FALLBACK, REFUSED, STORE_UNAVAILABLE, UNSEEN

GIVE_BACK_TRIES = 3
"""Refusals of giving back before the patch is closed instead."""


class Doing(Enum):
    """Whose answer is awaited."""

    NOTHING = auto()
    PREPARING = auto()
    ENGAGING = auto()
    SWITCHING = auto()
    VERIFYING = auto()
    GIVING_BACK = auto()
    CLOSING = auto()
    WAITING = auto()


@dataclass(frozen=True, slots=True)
class State:
    """One engagement, as far as the machine is concerned."""

    phase: Phase
    mode: Mode
    """The mode that holds; while connecting, the one asked for."""
    wanted: Mode
    """The mode asked for last; equals `mode` when settled."""
    doing: Doing
    seq: int
    """Number of the last command: answers to any other are stale."""
    ai_muted: bool = False
    ai_present: bool = True
    connected: bool = True
    shaken: bool = False
    """Since the last command went out the connection was lost, or the agent left while it was being engaged: the
    answer may be older than the truth."""
    closed: bool = False
    """We asked for the patch to be closed."""
    tries: int = 0
    why: str = ""
    """Why it is leaving or has ended."""


Step = tuple[State, tuple[Command, ...]]


def begin(mode: Mode) -> Step:
    """A new engagement in `mode`; the caller of this has made sure that the floor is free."""
    return State(Phase.CONNECTING, mode, mode, Doing.PREPARING, seq=1), (Prepare(1, mode, patch=True),)


def holds_floor(state: State) -> bool:
    """Whether nobody else may speak in the call: pessimistic, as a switch under way counts for both modes."""
    return state.phase is not Phase.ENDED and (state.mode.speaks or state.wanted.speaks)


def step(state: State, input_: Input) -> Step:
    """What happens next. Total: every input is taken in every state, and those that do not apply change nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    match input_:
        case Change(mode):
            return _change(state, mode)
        case AgentLeft() | PatchLost() if state.doing is Doing.ENGAGING:
            # The answer is on its way and says more: why, and who speaks instead. A yes would be out of date.
            return replace(state, shaken=True), ()
        case PatchLost():
            return _leave(state, AGENT_GONE)
        case Leave(why):
            return _leave(state, why)
        case Prepared(seq, recorded):
            return _prepared(state, recorded) if _awaited(state, seq, Doing.PREPARING) else (state, ())
        case Done(seq):
            return _done(state) if seq == state.seq else (state, ())
        case Refused(seq, why):
            return _refused(state, why) if seq == state.seq else (state, ())
        case Lost(seq, why):
            return _lost(state, why) if seq == state.seq else (state, ())
        case Due(seq):
            return _resume(state) if _awaited(state, seq, Doing.WAITING) else (state, ())
        case Seen(None, mode):
            return _resync(replace(state, connected=True), mode)
        case Seen(seq, mode):
            return _verified(state, mode) if _awaited(state, seq, Doing.VERIFYING) else (state, ())
        case PbxLost():
            return replace(state, connected=False, shaken=True), ()
        case CallerLeft(why) | AgentLeft(why):
            return _end(state, why)
        case AiLeft():
            return replace(state, ai_present=False, ai_muted=False), ()
        case _:
            assert_never(input_)


def _awaited(state: State, seq: int | None, doing: Doing) -> bool:
    return seq == state.seq and state.doing is doing


def _change(state: State, mode: Mode) -> Step:
    if state.phase is not Phase.ACTIVE or mode is state.mode:
        return state, ()
    seq = state.seq + 1
    switching = replace(state, phase=Phase.SWITCHING, wanted=mode, doing=Doing.PREPARING, seq=seq)
    return switching, (Prepare(seq, mode, patch=False),)


def _prepared(state: State, recorded: bool) -> Step:
    connecting = state.phase is Phase.CONNECTING
    matters = state.wanted.speaks or state.mode.speaks  # to speak, or to give back by switching to listening
    if not recorded and not matters:
        return _end(state, STORE_UNAVAILABLE) if connecting else _settle(state, state.mode)
    if not connecting and not state.ai_present:
        # The PBX keeps caller and agent together; a change of mode would break that up and lead the caller away.
        return _settle(state, state.mode)
    seq = state.seq + 1
    muted = state.ai_muted or (state.wanted is Mode.TAKEOVER and state.ai_present)
    asked = replace(state, seq=seq, ai_muted=muted, shaken=not state.connected)
    if connecting:
        return replace(asked, doing=Doing.ENGAGING), (Engage(seq, state.wanted, emergency=not recorded),)
    return replace(asked, doing=Doing.SWITCHING), (SwitchTo(seq, state.wanted, emergency=not recorded),)


def _done(state: State) -> Step:
    match state.doing:
        case Doing.ENGAGING | Doing.SWITCHING:
            return _settle(state, state.wanted)
        case Doing.GIVING_BACK:
            return _end(state, state.why)
        case Doing.CLOSING:
            return _resume(state)  # closed on our side; only the PBX can say that the agent is out
        case Doing.NOTHING | Doing.PREPARING | Doing.VERIFYING | Doing.WAITING:
            return state, ()
        case _:
            assert_never(state.doing)


def _refused(state: State, why: str) -> Step:
    match state.doing:
        case Doing.PREPARING if state.phase is Phase.CONNECTING:
            return _end(state, why)  # there is no patch: the PBX never heard of us
        case Doing.PREPARING | Doing.SWITCHING:
            return _settle(state, state.mode)
        case Doing.ENGAGING:
            return _leave(state, why)
        case Doing.GIVING_BACK if not state.closed and state.tries + 1 < GIVE_BACK_TRIES:
            return _give_back(replace(state, tries=state.tries + 1))
        case Doing.VERIFYING | Doing.GIVING_BACK | Doing.CLOSING:
            return _lost(state, why)
        case Doing.NOTHING | Doing.WAITING:
            return state, ()
        case _:
            assert_never(state.doing)


def _lost(state: State, why: str) -> Step:
    match state.doing:
        case Doing.PREPARING:
            return _refused(state, why)
        case Doing.ENGAGING:
            return _leave(state, why)
        case Doing.SWITCHING:
            return _verify(state)
        case Doing.GIVING_BACK if not state.closed:
            return _close(state)
        case Doing.CLOSING:
            return _wait(replace(state, closed=False, tries=0))
        case Doing.VERIFYING | Doing.GIVING_BACK:
            return _wait(state)
        case Doing.NOTHING | Doing.WAITING:
            return state, ()
        case _:
            assert_never(state.doing)


def _leave(state: State, why: str) -> Step:
    """The one way out while the caller is on the line."""
    if state.phase is Phase.RELEASING:
        return state, ()
    if state.phase is Phase.CONNECTING and state.doing is Doing.PREPARING:
        return _end(state, why)  # the PBX has not been asked for anything yet
    leaving = replace(state, phase=Phase.RELEASING, why=why)
    if not state.connected:
        return _close(leaving)
    if state.phase is Phase.CONNECTING:
        # The patch may be on its way into the call: with our end closed it cannot arrive after the giving back.
        seq = state.seq + 1
        closing = replace(leaving, seq=seq, closed=True)
        giving, commands = _give_back(closing)
        return giving, (ClosePatch(seq), *commands)
    return _give_back(leaving)


def _give_back(state: State) -> Step:
    seq = state.seq + 1
    return replace(state, doing=Doing.GIVING_BACK, seq=seq), (GiveBack(seq, state.why),)


def _close(state: State) -> Step:
    seq = state.seq + 1
    return replace(state, doing=Doing.CLOSING, seq=seq, closed=True), (ClosePatch(seq),)


def _verify(state: State) -> Step:
    """Asks the PBX for the truth; while it is away, its next snapshot makes us ask."""
    if not state.connected:
        return replace(state, phase=Phase.SWITCHING, doing=Doing.NOTHING), ()
    seq = state.seq + 1
    return replace(state, phase=Phase.SWITCHING, doing=Doing.VERIFYING, seq=seq, shaken=False), (Verify(seq),)


def _wait(state: State) -> Step:
    """Later again: after the retry interval or, while the PBX is away, when it is back."""
    if not state.connected:
        return replace(state, doing=Doing.NOTHING), ()
    seq = state.seq + 1
    return replace(state, doing=Doing.WAITING, seq=seq), (Wait(seq),)


def _resume(state: State) -> Step:
    """Goes on with what could not be finished."""
    if state.phase is Phase.SWITCHING:
        return _verify(state)
    return _give_back(state) if state.connected else (replace(state, doing=Doing.NOTHING), ())


def _resync(state: State, mode: Mode | None) -> Step:
    """A snapshot after a reconnection. It is only a hint where commands are under way: their answers come."""
    if state.phase is Phase.ACTIVE:
        return (replace(state, shaken=False), ()) if mode is state.mode else _verify(state)
    idle = state.doing in (Doing.NOTHING, Doing.WAITING)
    return _resume(state) if idle else (state, ())


def _verified(state: State, mode: Mode | None) -> Step:
    if mode is None:
        return _leave(state, UNSEEN)
    if mode.speaks and not holds_floor(state):
        return _leave(state, REFUSED)  # somebody else moved our leg: nobody asked us for the floor
    return _settle(state, mode)


def _settle(state: State, mode: Mode) -> Step:
    """In the call in `mode`, as far as the last answer says."""
    if state.shaken:
        return _verify(state)
    muted = mode is Mode.TAKEOVER and state.ai_present
    active = replace(state, phase=Phase.ACTIVE, mode=mode, wanted=mode, doing=Doing.NOTHING, ai_muted=muted, tries=0)
    return active, ()


def _end(state: State, why: str) -> Step:
    why = why if state.why in ("", AGENT_GONE) else state.why  # who was already leaving keeps the reason
    why = AI_FALLBACK if why == AGENT_GONE and not state.ai_present else why
    return replace(state, phase=Phase.ENDED, doing=Doing.NOTHING, ai_muted=False, why=why), ()
