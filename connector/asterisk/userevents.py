"""What our own dialplan says, its UserEvents, to domain events. Pure.

A mode is what they say, nothing else; and each is believed only about the channel that raised it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

from ..adapter.guards import decoded
from ..adapter.tables import mode_of, put
from ..domain.calls import PatchId
from ..domain.events import AgentRefused, FellBack, HumanAsked
from .facts import Agent, Hook, State, uuid_in, with_call
from .steps import Step, agent_gone, call_gone, present, seen, show
from .wire import Message


def user_event(state: State, m: Message, at: datetime) -> Step:
    """What one of them changes; another dialplan's change nothing."""
    handler = _SAID.get(m["userevent"])
    return handler(state, m, at) if handler and m["uniqueid"] else (state, [])


def _registered(state: State, m: Message, at: datetime) -> Step:
    caller = m["uniqueid"]
    if m["id"] != caller:
        return state, []
    state = seen(state, m, at)
    waits = caller not in state.calls
    hook = Hook(m["tenant"], m["queue"], m["airef"], m["recording"], waits)
    return show(replace(state, hooks=put(state.hooks, caller, hook)), caller)


def _marked(state: State, m: Message, at: datetime) -> Step:
    return replace(seen(state, m, at), marks=state.marks | {m["uniqueid"]}), []


def _mode(state: State, m: Message, at: datetime) -> Step:
    channel, patch, mode = m["uniqueid"], uuid_in(m["agent"]), mode_of(m["mode"])
    if m["agent"] != m["channel"] or not patch or mode is None or m["uid"] not in state.calls:
        return state, []
    state = seen(state, m, at)
    agent = Agent(m["uid"], PatchId(patch), m["agent"], m["instance"], mode, decoded(m["name"]))
    state = replace(state, agents=put(state.agents, channel, agent))
    return state, [present(state, agent)]


def _refused(state: State, m: Message, _at: datetime) -> Step:
    patch, mode = uuid_in(m["agent"]), mode_of(m["mode"])
    if m["agent"] != m["channel"] or not patch or mode is None:
        return state, []
    return state, [AgentRefused(state.id(m["uid"]), PatchId(patch), mode, m["reason"], m["by"], mode_of(m["was"]))]


def _ended(state: State, m: Message, _at: datetime) -> Step:
    return agent_gone(state, m["uniqueid"], m["why"] or "hangup") if m["uniqueid"] in state.agents else (state, [])


def _fallback(state: State, m: Message, _at: datetime) -> Step:
    caller = m["uniqueid"]
    tracked = state.calls.get(caller)
    if tracked is None:
        return state, []
    state, events = show(with_call(state, caller, replace(tracked, left=True, paired=False)), caller)
    return state, [FellBack(state.id(caller)), *events]


def transferred(state: State, m: Message, _at: datetime) -> Step:
    """The caller goes elsewhere, by our own hand."""
    caller = m["uniqueid"]
    return call_gone(state, caller, "transferred") if caller in state.calls else (state, [])


def _human(state: State, m: Message, _at: datetime) -> Step:
    """Urgency cannot be forged: the dialplan may ask for any priority, but only for the caller that runs in it."""
    if (caller := m["uniqueid"]) not in state.calls:
        return state, []
    priorities: tuple[Literal["urgent", "emergency"], ...] = ("urgent", "emergency")
    asked = next((priority for priority in priorities if priority == m["urgency"]), None)
    return state, [HumanAsked(state.id(caller), m["reason"], asked or "normal")]


_SAID: Mapping[str, Callable[[State, Message, datetime], Step]] = {
    "TakeoverCall": _registered,
    "TakeoverAi": _marked,
    "TakeoverMode": _mode,
    "TakeoverRefused": _refused,
    "TakeoverEnded": _ended,
    "TakeoverFallback": _fallback,
    "TakeoverHuman": _human,
    "TakeoverTransfer": transferred,
}
