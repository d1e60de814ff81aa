"""Small steps that all translations share: a channel noted, a call told, a leg gone. Pure."""

from dataclasses import replace
from datetime import datetime

from ..adapter.tables import drop, put
from ..domain.events import AgentGone, AgentPresent, AiGone, CallChanged, CallGone, PbxEvent
from .facts import Agent, Channel, State, born, call_of, known, with_call
from .wire import Message

Step = tuple[State, list[PbxEvent]]


def seen(state: State, m: Message, at: datetime, prefix: str = "") -> State:
    """Notes a channel that an event names, when it is new."""
    channel = m[prefix + "uniqueid"]
    if not channel or channel in state.channels:
        return state
    noted = Channel(
        id=channel,
        name=m[prefix + "channel"],
        number=known(m[prefix + "calleridnum"]),
        caller_name=known(m[prefix + "calleridname"]),
        since=born(channel, at),
    )
    return replace(state, channels=put(state.channels, channel, noted))


def show(state: State, caller: str) -> Step:
    """Tells a call when it is not as it was last told."""
    if caller not in state.calls or caller not in state.channels:
        return state, []
    call = call_of(state, caller)
    if call == state.calls[caller].shown:
        return state, []
    return with_call(state, caller, replace(state.calls[caller], shown=call)), [CallChanged(call)]


def show_all(state: State) -> Step:
    """Tells every call that is not as it was last told."""
    events: list[PbxEvent] = []
    for caller in list(state.calls):
        state, more = show(state, caller)
        events += more
    return state, events


def present(state: State, agent: Agent) -> AgentPresent:
    """Tells an agent leg that the PBX has confirmed."""
    return AgentPresent(state.id(agent.call), agent.patch, agent.channel, agent.instance, agent.mode, agent.name)


def agent_gone(state: State, channel: str, why: str) -> Step:
    """An agent leg, by its channel, is out of its call."""
    agent = state.agents[channel]
    state = replace(state, agents=drop(state.agents, channel))
    events: list[PbxEvent] = [AgentGone(state.id(agent.call), agent.patch, why)]
    tracked = state.calls.get(agent.call)
    if tracked is not None and tracked.paired and state.speaker(agent.call) is None:
        state, more = show(with_call(state, agent.call, replace(tracked, paired=False)), agent.call)
        events += more
    return state, events


def ai_gone(state: State, caller: str, paired: bool) -> Step:
    """The AI of this caller has gone; `paired`, when it left him with an agent."""
    tracked = replace(state.calls[caller], ai="", left=True, paired=paired)
    state = replace(with_call(state, caller, tracked), ais=drop(state.ais, state.calls[caller].ai))
    state, events = show(state, caller)
    return state, [AiGone(state.id(caller), paired), *events]


def call_gone(state: State, caller: str, why: str) -> Step:
    """This caller's call is over."""
    return replace(state, calls=drop(state.calls, caller)), [CallGone(state.id(caller), why)]
