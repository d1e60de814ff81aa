"""AMI events to domain events: a fold over frozen state. Pure; the clock comes in as an argument.

Handlers note facts and never guess: a call appears when its AI is in one bridge with somebody. What our dialplan says
is in `userevents`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

from ..adapter.tables import drop, nameless, put, recognised
from ..domain.calls import Topology
from ..domain.events import Dtmf, PbxEvent, Talking
from .facts import AiLeg, State, Tracked, known, uuid_in, with_call
from .steps import Step, agent_gone, ai_gone, call_gone, present, seen, show, show_all
from .userevents import transferred, user_event
from .wire import Message

PROBED, FITNESS, TRANSFERRED, INLINE = "*probed", "*fitness", "*transferred", "Status"


def fold(state: State, message: Message, at: datetime) -> Step:
    """What one event changes. `at` is when it came. Events that mean nothing here change nothing."""
    handler = _HANDLERS.get(message.event)
    return handler(state, message, at) if handler else (state, [])


def _probed(state: State, m: Message, _at: datetime) -> Step:
    """A look at a call that has just begun: its bridge's technology, and where direct media goes, if it does."""
    caller = m["uniqueid"]
    tracked = state.calls.get(caller)
    if tracked is None:
        return state, []
    notes: tuple[str, ...] = ()
    if known(m["direct"]):
        notes = ("direct-media",)
    elif m["technology"] == "native_rtp":
        notes = ("same-codec-without-hook",)
    return show(with_call(state, caller, replace(tracked, notes=notes)), caller)


def _fitness(state: State, m: Message, _at: datetime) -> Step:
    """Whether our dialplan is on the PBX, looked up again."""
    return show_all(replace(state, unfit=m["why"]))


def inline(state: State, row: Message, at: datetime) -> Step:
    """Notes a call whose AI is an application on the caller's own channel (a row of Status says which)."""
    caller, application = row["uniqueid"], row["application"]
    inline_ais = ("AudioSocket", "AGI", "EAGI", "ExternalIVR", "Jack")
    if caller in state.calls or application not in inline_ais or not state.counts(caller):
        return state, []
    name = recognised(state.rules, f"{application}/{row['data']}")
    if name is None and caller not in state.hooks:
        return state, []
    state = seen(state, row, at)
    tracked = Tracked("", name or nameless(state.rules), uuid_in(row["data"]), Topology.INLINE, at)
    return show(with_call(state, caller, tracked), caller)


# ---- channels ----


def _newchannel(state: State, m: Message, at: datetime) -> Step:
    return seen(state, m, at), []


def _rename(state: State, m: Message, _at: datetime) -> Step:
    channel = state.channels.get(m["uniqueid"])
    if channel is None or not m["newname"]:
        return state, []
    state = replace(state, channels=put(state.channels, channel.id, replace(channel, name=m["newname"])))
    agent = state.agents.get(channel.id)
    if agent is not None:
        state = replace(state, agents=put(state.agents, channel.id, replace(agent, channel=m["newname"])))
        return state, [present(state, state.agents[channel.id])]
    return show(state, channel.id if channel.id in state.calls else state.call_of_ai(channel.id))


def _hangup(state: State, m: Message, _at: datetime) -> Step:
    channel = m["uniqueid"]
    events: list[PbxEvent] = []
    if channel in state.agents:
        state, events = agent_gone(state, channel, "hangup")
    if caller := state.call_of_ai(channel):
        state, more = ai_gone(state, caller, paired=state.speaker(caller) is not None)
        events += more
    if channel in state.calls:
        state, more = call_gone(state, channel, "hangup")
        events += more
    state = replace(
        state,
        channels=drop(state.channels, channel),
        ais=drop(state.ais, channel),
        hooks=drop(state.hooks, channel),
        marks=state.marks - {channel},
    )
    return state, events


# ---- dialling and bridges ----


def _dial_begin(state: State, m: Message, at: datetime) -> Step:
    state = seen(seen(state, m, at), m, at, "dest")
    caller, leg = m["uniqueid"], m["destuniqueid"]
    if not caller or not leg or not state.counts(caller):  # nobody dials: an Originate, perhaps one of ours
        return state, []
    name = recognised(state.rules, m["destchannel"], f"{m['destchannel'].partition('/')[0]}/{m['dialstring']}")
    hook = state.hooks.get(caller)
    if name is None and (leg in state.marks or (hook is not None and hook.waits)):
        name = nameless(state.rules)
    if name is None:
        return state, []
    ref = uuid_in(m["destchannel"]) if m["destchannel"].startswith("AudioSocket/") else ""
    return replace(state, ais=put(state.ais, leg, AiLeg(name, ref, caller))), []


def _dial_end(state: State, m: Message, _at: datetime) -> Step:
    if m["dialstatus"] == "ANSWER":
        return state, []
    return replace(state, ais=drop(state.ais, m["destuniqueid"])), []  # a dial that failed is no AI


def _bridge_enter(state: State, m: Message, at: datetime) -> Step:
    state = seen(state, m, at)
    channel = m["uniqueid"]
    if channel not in state.channels:
        return state, []
    state = replace(
        state, channels=put(state.channels, channel, replace(state.channels[channel], bridge=m["bridgeuniqueid"]))
    )
    topology = topology_of(m)
    if topology is Topology.STASIS and channel not in state.ais:  # nobody dials there: the name must do
        name = recognised(state.rules, m["channel"])
        if name is not None:
            state = replace(state, ais=put(state.ais, channel, AiLeg(name, uuid_in(m["channel"]), "")))
    state, events = pair(state, m["bridgeuniqueid"], topology, at)
    tracked = state.calls.get(channel)
    if tracked is not None and tracked.left and not tracked.paired and channel not in state.agents:
        state, more = call_gone(state, channel, "transferred")  # it talks to somebody else now
        events += more
    return state, events


def _bridge_leave(state: State, m: Message, _at: datetime) -> Step:
    channel = state.channels.get(m["uniqueid"])
    if channel is None or channel.bridge != m["bridgeuniqueid"]:
        return state, []
    return replace(state, channels=put(state.channels, channel.id, replace(channel, bridge=""))), []


def topology_of(bridge: Message) -> Topology:
    """How an AI in this bridge is attached."""
    if bridge["bridgetype"] == "stasis":
        return Topology.STASIS
    return Topology.CONFERENCE if bridge["bridgecreator"] == "ConfBridge" else Topology.DIALLED


def pair(state: State, bridge: str, topology: Topology, at: datetime) -> Step:
    """Joins each AI in a bridge with the caller it is there with. After a merge or a transfer that is another one."""
    events: list[PbxEvent] = []
    members = state.members(bridge)
    for ai in [member for member in members if member in state.ais]:
        leg, before = state.ais[ai], state.call_of_ai(ai)
        others = [member for member in members if member not in state.ais and member not in state.agents]
        if before in others or not others:
            continue
        if leg.dialled_by in others:
            caller = leg.dialled_by
        elif len(others) == 1:
            caller = others[0]
        else:
            continue
        if before:
            state, more = call_gone(state, before, "transferred")
            events += more
        tracked = state.calls.get(caller)
        fresh = Tracked(ai, leg.name, leg.ref, topology, tracked.answered_at if tracked else at)
        state = with_call(state, caller, replace(fresh, shown=tracked.shown if tracked else None))
        if (hook := state.hooks.get(caller)) is not None:
            state = replace(state, hooks=put(state.hooks, caller, replace(hook, waits=False)))
        state, more = show(state, caller)
        events += more
    return state, events


def _transfer(state: State, m: Message, _at: datetime) -> Step:
    """A blind transfer: whoever of the two asked for it, the caller and this AI part."""
    if m["result"] != "Success":
        return state, []
    for channel in (m["transfereruniqueid"], m["transfereeuniqueid"]):
        caller = channel if channel in state.calls else state.call_of_ai(channel)
        if caller and not state.calls[caller].left:
            return call_gone(state, caller, "transferred")
    return state, []


# ---- what the parties do ----


def _party(state: State, channel: str) -> tuple[str, Literal["caller", "ai", "agent"]] | None:
    if channel in state.calls:
        return channel, "caller"
    if caller := state.call_of_ai(channel):
        return caller, "ai"
    if channel in state.agents:
        return state.agents[channel].call, "agent"
    return None


def _dtmf(state: State, m: Message, _at: datetime) -> Step:
    """A digit counts on the caller's own channel only; the PBX repeats it on every other leg."""
    if m["direction"] != "Received" or m["uniqueid"] not in state.calls:
        return state, []
    return state, [Dtmf(state.id(m["uniqueid"]), "caller", m["digit"])]


def _talking(state: State, m: Message, _at: datetime) -> Step:
    party = _party(state, m["uniqueid"])
    return (state, [Talking(state.id(party[0]), party[1], m.event == "ChannelTalkingStart")]) if party else (state, [])


_HANDLERS: Mapping[str, Callable[[State, Message, datetime], Step]] = {
    "Newchannel": _newchannel,
    "Rename": _rename,
    "Hangup": _hangup,
    "DialBegin": _dial_begin,
    "DialEnd": _dial_end,
    "BridgeEnter": _bridge_enter,
    "BridgeLeave": _bridge_leave,
    "BlindTransfer": _transfer,
    "UserEvent": user_event,
    "DTMFEnd": _dtmf,
    "ChannelTalkingStart": _talking,
    "ChannelTalkingStop": _talking,
    # Not from AMI: what the adapter looked up, put in the same queue so that there is one order of things.
    PROBED: _probed,
    FITNESS: _fitness,
    TRANSFERRED: transferred,
    INLINE: inline,
}
