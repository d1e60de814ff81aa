"""Every way a PBX, a media worker, a store and an agent can behave towards one takeover machine.

A `World` is the machine's state together with what is true outside it and what is on its way between the two.
`successors` yields every world that can follow. Numbers are normalised (the awaited answer has 1, stale ones 0), so the
worlds are finitely many and `explore` can walk them all.

What the model takes from the real exchange: commands over one connection are carried out in order; the AI is muted
exactly while the patch is in the call in takeover, and whatever removes the patch un-mutes (the dialplan's `h`);
a command without an answer may have been carried out, not, or will be later; while the connection is down
events are lost and the next snapshot replaces them.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum, auto
from types import ModuleType
from typing import Any, NamedTuple

from connector.domain.calls import Mode, Phase
from connector.domain.takeover import Doing, State

MODES = (Mode.MONITOR, Mode.BARGE, Mode.TAKEOVER)
"""Whisper is to the machine what monitor is."""
MAX_EVENTS = 1
"""On their way at once; 2 is another 180,000 worlds and finds nothing more (checked by hand)."""
MAX_COMMANDS = 3


_ENDED = State(Phase.ENDED, Mode.MONITOR, Mode.MONITOR, Doing.NOTHING, seq=1)


class Patch(Enum):
    """Our end of it."""

    NONE = auto()
    OPEN = auto()
    CLOSED = auto()


class Sent(NamedTuple):
    """A command on its way to the PBX. `silent`: its answer will not come any more, its effect may."""

    command: Any
    silent: bool


class World(NamedTuple):
    machine: Any
    caller: bool = True
    ai: bool = True
    agent: Mode | None = None
    """The mode in which the PBX has the patch in the call."""
    patch: Patch = Patch.NONE
    up: bool = True
    sent: tuple[Sent, ...] = ()
    answers: frozenset[Any] = frozenset()
    """On their way to the machine, in any order."""
    events: tuple[Any, ...] = ()
    """On their way to the machine, in this order."""
    todo: frozenset[Any] = frozenset()
    """Commands that are not for the PBX."""
    fault: str = ""

    @property
    def muted(self) -> bool:
        return self.ai and self.agent is Mode.TAKEOVER

    @property
    def quiet(self) -> bool:
        """Nothing is on its way."""
        return not (self.sent or self.answers or self.events or self.todo)


class Model:
    """The successors of worlds, for one version of the machine (the real one, or one with a seeded fault)."""

    def __init__(self, machine: ModuleType) -> None:
        self.t = machine

    def start(self, mode: Mode) -> World:
        state, commands = self.t.begin(mode)
        return self._emitted(World(state), state, commands, None)

    def successors(self, w: World) -> Iterator[World]:
        yield from self._deliveries(w)
        yield from self._outside(w)
        if w.sent and (w.up or w.sent[0].silent):
            yield from self._carried_out(w)
        for command in w.todo:
            yield from self._done_here(w._replace(todo=w.todo - {command}), command)
        if w.machine.phase is not Phase.ENDED:
            yield from self._people(w)

    # The machine takes an input

    def _deliveries(self, w: World) -> Iterator[World]:
        for answer in w.answers:
            yield self._take(w._replace(answers=w.answers - {answer}), answer)
        if w.events:
            yield self._take(w._replace(events=w.events[1:]), w.events[0])

    def _take(self, w: World, input_: Any) -> World:
        state, commands = self.t.step(w.machine, input_)
        return self._emitted(w, state, commands, input_)

    def _emitted(self, w: World, state: Any, commands: tuple[Any, ...], cause: Any) -> World:
        t = self.t
        moved = state.seq != 1
        sent = [Sent(_renumbered(s.command, 0), s.silent) for s in w.sent] if moved else list(w.sent)
        # Answers that were stale before have had their chance to do harm.
        answers = {_renumbered(a, 0) for a in w.answers if a.seq} if moved else set(w.answers)
        todo = {_renumbered(c, 0) for c in w.todo if not isinstance(c, t.Wait)} if moved else set(w.todo)
        fault = w.fault
        for command in commands:
            numbered = _renumbered(command, 1 if command.seq == state.seq else 0)
            match command:
                case t.Engage() | t.SwitchTo():
                    fault = fault or self._unrecorded(w, command, cause)
                    self._send(w, sent, answers, numbered)
                case t.GiveBack() | t.Verify():
                    self._send(w, sent, answers, numbered)
                case _:
                    todo.add(numbered)
        w = w._replace(machine=self._folded(state), sent=tuple(sent), fault=fault)
        if state.phase is Phase.ENDED:  # it takes nothing any more; what was sent may still have its effect
            return w._replace(answers=frozenset(), events=(), todo=frozenset())
        return w._replace(answers=frozenset(answers), todo=frozenset(todo))

    def _folded(self, state: Any) -> Any:
        """Without what cannot matter any more, so that fewer worlds differ."""
        if state.phase is Phase.ENDED:
            return _ENDED
        if state.phase is Phase.RELEASING:
            mode = Mode.TAKEOVER if self.t.holds_floor(state) else Mode.MONITOR
            return replace(state, seq=1, why="out", mode=mode, wanted=mode, shaken=False)
        return replace(state, seq=1, why="")

    def _send(self, w: World, sent: list[Sent], answers: set[Any], command: Any) -> None:
        if w.up:
            sent.append(Sent(command, silent=False))
        else:
            answers.add(self.t.Lost(command.seq))

    def _unrecorded(self, w: World, command: Any, cause: Any) -> str:
        """An effect needs its record; only speaking, or leaving a speaking mode, may do with an emergency record."""
        if not isinstance(cause, self.t.Prepared):
            return f"{command} without a record"
        if isinstance(command, self.t.SwitchTo) and not w.machine.ai_present:
            return "broke up a pair"
        if cause.recorded and not command.emergency:
            return ""
        serious = command.mode.speaks or w.machine.mode.speaks
        return "" if command.emergency and not cause.recorded and serious else f"{command} after {cause}"

    # The PBX carries out a command

    def _carried_out(self, w: World) -> Iterator[World]:
        (command, silent), rest = w.sent[0], w.sent[1:]
        after = w._replace(sent=rest)
        for effect, answers in self._effects(after, command):
            if silent:
                yield effect
                continue
            for answer in answers:
                yield self._answered(effect, answer)
        late = not silent and not isinstance(command, self.t.Verify) and not any(s.silent for s in rest)
        if late:  # it counts as lost, and is carried out some time
            yield self._answered(w._replace(sent=(Sent(command, silent=True), *rest)), self.t.Lost(command.seq))

    def _effects(self, w: World, command: Any) -> Iterator[tuple[World, tuple[Any, ...]]]:
        t, seq = self.t, command.seq
        done, refused, lost = t.Done(seq), t.Refused(seq), t.Lost(seq)
        match command:
            case t.Engage():
                if w.caller and w.patch is Patch.OPEN:
                    yield w._replace(agent=command.mode), (done, refused, lost)  # a refusal may be a mistake
                yield w, (refused, lost)
            case t.SwitchTo():
                if w.agent is None:
                    yield w, (lost,)
                elif not w.ai:  # the pair is broken up
                    yield self._event(w._replace(agent=None), t.AgentLeft()), (lost,)
                else:
                    yield w._replace(agent=command.mode), (done, lost)
                    yield w, (refused, lost)
            case t.GiveBack():
                gone = w if w.agent is None else self._event(w._replace(agent=None), t.AgentLeft())
                yield gone, (done, lost)
                yield w, (refused, lost)
            case t.Verify():
                yield w, (t.Seen(seq, w.agent), lost)

    @staticmethod
    def _answered(w: World, answer: Any) -> World:
        return w._replace(answers=w.answers | {answer})

    def _event(self, w: World, event: Any) -> World:
        """The PBX reports something; nobody hears it while the connection is down."""
        if not w.up or event in w.events:
            return w
        return w._replace(events=(*w.events, event))

    # Ours carry out a command

    def _done_here(self, w: World, command: Any) -> Iterator[World]:
        t, seq = self.t, command.seq
        match command:
            case t.Prepare(_, _, True):
                if w.patch is Patch.NONE:
                    opened = w._replace(patch=Patch.OPEN)
                    yield self._answered(opened, t.Prepared(seq, recorded=True))
                    yield self._answered(opened, t.Prepared(seq, recorded=False))
                yield self._answered(w, t.Refused(seq))
            case t.Prepare():
                yield self._answered(w, t.Prepared(seq, recorded=True))
                yield self._answered(w, t.Prepared(seq, recorded=False))
            case t.ClosePatch():
                yield self._answered(w._replace(patch=Patch.CLOSED), t.Done(seq))
                yield self._answered(w, t.Refused(seq))
            case t.Wait():
                yield self._answered(w, t.Due(seq))

    # What happens by itself

    def _outside(self, w: World) -> Iterator[World]:
        t = self.t
        if w.machine.phase is Phase.ENDED:
            return
        if len(w.events) < MAX_EVENTS:
            if w.caller:
                gone = w._replace(caller=False, agent=None)
                yield self._event(gone, t.CallerLeft())
                if w.agent is not None:
                    yield self._event(self._event(gone, t.AgentLeft()), t.CallerLeft())
            if w.ai and w.caller and w.machine.phase is not Phase.RELEASING:  # there it would only hide an AI unheard
                yield self._event(w._replace(ai=False), t.AiLeft())
            if w.agent is not None:  # it dies: worker, network, dead-man, or the PBX noticed that our end is closed
                yield self._event(w._replace(agent=None), t.AgentLeft())
                yield w._replace(agent=None, events=(*w.events, t.PatchLost()))  # told by the media side alone
            if w.up and not any(s.silent for s in w.sent):
                lost = frozenset(t.Lost(s.command.seq) for s in w.sent if not s.silent)
                down = w._replace(up=False, answers=w.answers | lost, events=(*w.events, t.PbxLost()))
                yield down._replace(sent=())
                if w.sent:
                    yield down._replace(sent=tuple(Sent(s.command, silent=True) for s in w.sent))
        if not w.up and not w.sent and len(w.events) < MAX_EVENTS:
            # The snapshot after the reconnection: without the caller the call is not in it.
            truth = t.Seen(None, w.agent) if w.caller else t.CallerLeft()
            yield w._replace(up=True, events=(*w.events, truth))

    def _people(self, w: World) -> Iterator[World]:
        if len(w.sent) >= MAX_COMMANDS or not w.caller:
            return
        yield self._take(w, self.t.Leave("out"))
        if w.machine.phase is Phase.ACTIVE:
            for mode in MODES:
                yield self._take(w, self.t.Change(mode))


def _renumbered(message: Any, seq: int) -> Any:
    return message if message.seq == seq else replace(message, seq=seq)


def broken(w: World, holds_floor: Callable[[Any], bool]) -> str | None:
    """Which promise this world breaks, if any."""
    m = w.machine
    ended = m.phase is Phase.ENDED
    if w.fault:
        return w.fault
    if ended and w.caller and w.muted:
        return "ended with the caller present and the AI silent"
    if ended and w.agent is not None:
        return "ended with the agent still in the call"
    if w.muted and not m.ai_muted and not ended:
        return "the AI is silent and the machine does not know"
    if w.agent is not None and w.agent.speaks and not holds_floor(m):
        return "the agent speaks without holding the floor: a second speaker may come"
    if not w.quiet or not w.up:
        return None
    if m.phase is Phase.ACTIVE and m.mode is not w.agent and w.caller:
        return f"active in {m.mode}, but the PBX has {w.agent}"
    if m.phase in (Phase.CONNECTING, Phase.SWITCHING, Phase.RELEASING):
        return f"stuck in {m.phase}"
    if not ended and not w.caller:
        return "the caller is gone, and the machine goes on"
    return None


def explore(machine: ModuleType) -> tuple[int, str | None]:
    """Walks every reachable world; returns how many there are and the first broken promise."""
    collecting = gc.isenabled()
    gc.disable()  # nothing here is cyclic, and the collector would walk all worlds again and again
    try:
        return _walk(Model(machine), machine.holds_floor)
    finally:
        if collecting:
            gc.enable()


def _walk(model: Model, holds_floor: Callable[[Any], bool]) -> tuple[int, str | None]:
    frontier = [model.start(mode) for mode in MODES]
    seen = set(frontier)
    while frontier:
        w = frontier.pop()
        if (fault := broken(w, holds_floor)) is not None:
            return len(seen), f"{fault}: {w}"
        for successor in model.successors(w):
            if successor not in seen:
                seen.add(successor)
                frontier.append(successor)
    return len(seen), None
