"""Events of FreeSWITCH into events of the domain: a pure fold over what is known (`facts.State`)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

from ..adapter.guards import decoded
from ..adapter.tables import drop, mode_of, nameless, put, recognised
from ..domain.calls import PatchId, Topology
from ..domain.events import (
    AgentGone,
    AgentPresent,
    AgentRefused,
    AiGone,
    CallChanged,
    CallGone,
    Dtmf,
    FellBack,
    HumanAsked,
    PbxEvent,
)
from .facts import Agent, Channel, Seat, State, Tracked, ai_name, call_of, epoch, hook_of, is_bypassed
from .ground import BUG, OURS, Ground
from .wire import DEADMAN_CAUSE, Message, is_wide

Step = tuple[State, list[PbxEvent]]

FITNESS, TRANSFERRED = "*fitness", "*transferred"
APPLICATIONS = (
    *("socket", "playback", "endless_playback", "loop_playback", "speak", "play_and_detect_speech", "detect_speech"),
    *("lua", "python", "python3", "perl", "javascript", "managed"),
)
"""What can be an AI on a caller's own channel, if a rule of the settings fits it."""
STOCK_BUGS = (
    *("session_record", "displace", "tone_detect", "inband_dtmf", "inband_dtmf_generate", "preprocess"),
    *("vmd", "avmd", "fax", "voicechanger"),
)
"""Media bugs that are no AI although the hook says that there is one."""


def fold(state: State, message: Message, at: datetime) -> Step:
    """What one event changes. `at` is when it came. Events that mean nothing here change nothing."""
    handler = _HANDLERS.get(message.event)
    return handler(state, message, at) if handler else (state, [])


def seen(state: State, m: Message, at: datetime) -> State:
    """Notes the channel an event is about, and what its variables say by now."""
    channel = m["unique-id"]
    if not channel:
        return state
    known = state.channels.get(channel)
    fresh = Channel(
        id=channel,
        name=m["channel-name"] or (known.name if known else ""),
        number=(known.number if known else "") or m["caller-caller-id-number"],
        caller_name=(known.caller_name if known else "") or m["caller-caller-id-name"],
        since=known.since if known else epoch(m["caller-channel-created-time"], at),
        role=m.variable("takeover_role") or (known.role if known else ""),
        bypassed=is_bypassed(m),
        flows=m.variable("send_silence_when_idle") not in ("", "0") or (known is not None and known.flows),
        wide=is_wide(m.variable("read_rate")) if m.variable("read_rate") else known is not None and known.wide,
    )
    hook = hook_of(m)
    if hook is not None and state.hooks.get(channel) != hook:
        state = replace(state, hooks=put(state.hooks, channel, hook))
    return state if fresh == known else replace(state, channels=put(state.channels, channel, fresh))


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


def with_call(state: State, caller: str, tracked: Tracked) -> State:
    return replace(state, calls=put(state.calls, caller, tracked))


# ---- channels ----


def _noted(state: State, m: Message, at: datetime) -> Step:
    return show(seen(state, m, at), m["unique-id"])


def _bridged(state: State, m: Message, at: datetime) -> Step:
    return pair(seen(state, m, at), m["bridge-a-unique-id"], m["bridge-b-unique-id"], at)


def pair(state: State, a: str, b: str, at: datetime, topology: Topology = Topology.DIALLED) -> Step:
    """Two channels talk: one of them may be an AI, and then the other is its caller. Whoever dialled, on outbound
    calls it is the AI's side that does. After a transfer the same AI has another caller, or the caller another AI."""
    events: list[PbxEvent] = []
    legs = [state.channels[leg] for leg in (a, b) if leg in state.channels]
    named = [(leg, name) for leg in legs if (name := ai_name(state, leg)) is not None]
    if len(named) != 1:
        for leg in legs:
            tracked = state.calls.get(leg.id)
            if tracked is not None and leg.role != "agent" and not any(o.role == "agent" for o in legs):
                if Ground(leg.id, tracked.ai, tracked.topology, tracked.via).bug and not tracked.left:
                    continue  # its AI is on its own channel and stays there, whoever it is bridged with
                state, more = _call_gone(state, leg.id, "transferred")  # it talks to somebody else now
                events += more
        return state, events
    ai, name = named[0]
    caller = b if ai.id == a else a
    if caller not in state.channels:
        return state, []
    before = state.call_of_ai(ai.id)
    if before and before != caller:
        state, events = _call_gone(state, before, "transferred")
    state, more = _track(state, caller, Tracked(ai.id, name, at, topology))
    return state, [*events, *more]


def _track(state: State, caller: str, fresh: Tracked) -> Step:
    was = state.calls.get(caller)
    if was is not None:
        fresh = replace(fresh, answered_at=was.answered_at or fresh.answered_at, shown=was.shown)
    return show(with_call(state, caller, fresh), caller)


# ---- an AI on the caller's own channel ----


def inline(state: State, caller: str, via: str, at: datetime) -> Step:
    """An application or a media bug is on a channel: it is an AI where a rule says so, or where the dialplan's hook
    says that there is one, and FreeSWITCH itself has no other use for it."""
    channel, was = state.channels.get(caller), state.calls.get(caller)
    if channel is None or channel.role or state.call_of_ai(caller) or (was is not None and not was.left):
        return state, []
    name = recognised(state.rules, via)
    kind, _, what = via.partition("/")
    usual = kind == "socket" or (via.startswith(BUG) and what not in STOCK_BUGS)
    if name is None and not (usual and caller in state.hooks):
        return state, []
    return _track(state, caller, Tracked("", name or nameless(state.rules), at, Topology.INLINE, via))


def _registered(state: State, m: Message, at: datetime) -> Step:
    """The hook may come after the AI's media bug."""
    caller = m["unique-id"]
    state, events = show(seen(state, m, at), caller)
    for function in state.bugs.get(caller, ()):
        state, more = inline(state, caller, f"{BUG}{function}", at)
        events += more
    return state, events


def _bug_begun(state: State, m: Message, at: datetime) -> Step:
    caller, function = m["unique-id"], m["media-bug-function"]
    if function in OURS or not caller:
        return state, []
    state = seen(replace(state, bugs=put(state.bugs, caller, (*state.bugs.get(caller, ()), function))), m, at)
    return inline(state, caller, f"{BUG}{function}", at)


def _bug_ended(state: State, m: Message, _at: datetime) -> Step:
    caller, function = m["unique-id"], m["media-bug-function"]
    rest = list(state.bugs.get(caller, ()))
    if function not in rest:
        return state, []
    rest.remove(function)
    state = replace(state, bugs=put(state.bugs, caller, rest) if rest else drop(state.bugs, caller))
    return (state, []) if function in rest else _inline_gone(state, caller, f"{BUG}{function}")


def _begun(state: State, m: Message, at: datetime) -> Step:
    application, data = m["application"], m["application-data"]
    if application not in APPLICATIONS or data.startswith("silence_stream:"):
        return state, []
    return inline(seen(state, m, at), m["unique-id"], f"{application}/{data}", at)


def _done(state: State, m: Message, _at: datetime) -> Step:
    return _inline_gone(state, m["unique-id"], f"{m['application']}/{m['application-data']}")


def _inline_gone(state: State, caller: str, via: str) -> Step:
    tracked = state.calls.get(caller)
    if tracked is None or tracked.left or tracked.via != via:
        return state, []
    return _ai_gone(state, caller, paired=state.spoken(caller))


# ---- an AI in a conference ----


def _conference(state: State, m: Message, at: datetime) -> Step:
    channel, room = m["unique-id"], m["conference-unique-id"] or m["conference-name"]
    if not channel or not room:
        return state, []
    match m["action"]:
        case "add-member":
            state = seen(state, m, at)
            seat = Seat(room, m["conference-name"], m["member-id"])
            return gather(replace(state, rooms=put(state.rooms, channel, seat)), room, at)
        case "del-member":
            return _left_room(replace(state, rooms=drop(state.rooms, channel)), channel, m["answer-state"] == "hangup")
    return state, []


def gather(state: State, room: str, at: datetime) -> Step:
    """Who is in a conference: with one AI, and a caller (whom the hook marks, or who came first), it is a call."""
    members = [
        state.channels[one] for one, where in state.rooms.items() if where.room == room and one in state.channels
    ]
    ais = [one.id for one in members if ai_name(state, one) is not None]
    callers = [one.id for one in members if one.id not in ais and one.role != "agent"]
    if len(ais) != 1 or not callers or state.call_of_ai(ais[0]) in callers:
        return state, []
    caller = next((one for one in callers if one in state.hooks), callers[0])
    return pair(state, caller, ais[0], at, Topology.CONFERENCE)


def _left_room(state: State, channel: str, hangs_up: bool) -> Step:
    if caller := state.call_of_ai(channel):
        return _ai_gone(state, caller, paired=state.spoken(caller))
    tracked = state.calls.get(channel)
    if tracked is None or tracked.left or hangs_up or tracked.topology is not Topology.CONFERENCE:
        return state, []
    return _call_gone(state, channel, "transferred")


# ---- the end ----


def _hangup(state: State, m: Message, _at: datetime) -> Step:
    channel = m["unique-id"]
    events: list[PbxEvent] = []
    if channel in state.agents:
        agent = state.agents[channel]
        state = replace(state, agents=drop(state.agents, channel))
        why = "deadman" if m["hangup-cause"] == DEADMAN_CAUSE else "hangup"
        events = [AgentGone(state.id(agent.call), agent.patch, why)]
    if caller := state.call_of_ai(channel):
        # With a speaker the PBX has been told to keep him and the caller together (`takeover_pair`).
        state, more = _ai_gone(state, caller, paired=state.spoken(caller))
        events += more
    if channel in state.calls:
        state, more = _call_gone(state, channel, "hangup")
        events += more
    channels, hooks = drop(state.channels, channel), drop(state.hooks, channel)
    rooms, bugs = drop(state.rooms, channel), drop(state.bugs, channel)
    return replace(state, channels=channels, hooks=hooks, rooms=rooms, bugs=bugs), events


def _ai_gone(state: State, caller: str, paired: bool) -> Step:
    tracked = replace(state.calls[caller], ai="", left=True, paired=paired)
    state, events = show(with_call(state, caller, tracked), caller)
    return state, [AiGone(state.id(caller), paired), *events]


def _call_gone(state: State, caller: str, why: str) -> Step:
    return replace(state, calls=drop(state.calls, caller)), [CallGone(state.id(caller), why)]


# ---- what our dialplan and the services say ----


def present(state: State, agent: Agent) -> AgentPresent:
    """The leg's channel is the patch: FreeSWITCH lets us choose a channel's uuid."""
    return AgentPresent(state.id(agent.call), agent.patch, agent.patch, agent.instance, agent.mode, agent.name)


def _mode(state: State, m: Message, _at: datetime) -> Step:
    patch, mode, caller = m["takeover-patch"], mode_of(m["takeover-mode"]), m["takeover-call"]
    if not patch or mode is None or caller not in state.calls:
        return state, []
    agent = Agent(caller, PatchId(patch), m["takeover-instance"], mode, decoded(m["takeover-name"]))
    return replace(state, agents=put(state.agents, patch, agent)), [present(state, agent)]


def _refused(state: State, m: Message, _at: datetime) -> Step:
    patch, mode, caller = m["takeover-patch"], mode_of(m["takeover-mode"]), m["takeover-call"]
    if not patch or mode is None:
        return state, []
    was = mode_of(m["takeover-was"])
    return state, [AgentRefused(state.id(caller), PatchId(patch), mode, "busy", decoded(m["takeover-by"]), was)]


def _paired(state: State, m: Message, _at: datetime) -> Step:
    caller = m["unique-id"]
    tracked = state.calls.get(caller)
    return _ai_gone(state, caller, paired=True) if tracked is not None and not tracked.left else (state, [])


def _fallback(state: State, m: Message, _at: datetime) -> Step:
    caller = m["unique-id"]
    tracked = state.calls.get(caller)
    if tracked is None:
        return state, []
    state, events = show(with_call(state, caller, replace(tracked, ai="", left=True, paired=False)), caller)
    return state, [FellBack(state.id(caller)), *events]


def _transferred(state: State, m: Message, _at: datetime) -> Step:
    caller = m["takeover-call"]
    return _call_gone(state, caller, "transferred") if caller in state.calls else (state, [])


def _human(state: State, m: Message, _at: datetime) -> Step:
    """Urgency cannot be forged: the dialplan may ask for any priority, but only for the caller that runs in it."""
    if (caller := m["unique-id"]) not in state.calls:
        return state, []
    # The variables come with the event; in a header, a comma in the reason would begin the next one.
    said = {name: m[f"takeover-{name}"] or m.variable(f"takeover_{name}") for name in ("reason", "priority")}
    priorities: tuple[Literal["urgent", "emergency"], ...] = ("urgent", "emergency")
    asked = next((priority for priority in priorities if priority == said["priority"]), None)
    return state, [HumanAsked(state.id(caller), said["reason"], asked or "normal")]


def _dtmf(state: State, m: Message, _at: datetime) -> Step:
    """A digit counts on the caller's own channel only."""
    caller, digit = m["unique-id"], m["dtmf-digit"]
    if caller not in state.calls or len(digit) != 1:
        return state, []
    return state, [Dtmf(state.id(caller), "caller", digit)]


def _fitness(state: State, m: Message, _at: datetime) -> Step:
    """Whether our dialplan is on the PBX, looked up again."""
    return show_all(replace(state, unfit=m["why"]))


_HANDLERS: Mapping[str, Callable[[State, Message, datetime], Step]] = {
    "CHANNEL_CREATE": _noted,
    "CHANNEL_ANSWER": _noted,
    "CHANNEL_BRIDGE": _bridged,
    "CHANNEL_HANGUP_COMPLETE": _hangup,
    "DTMF": _dtmf,
    "CHANNEL_EXECUTE": _begun,
    "CHANNEL_EXECUTE_COMPLETE": _done,
    "MEDIA_BUG_START": _bug_begun,
    "MEDIA_BUG_STOP": _bug_ended,
    "conference::maintenance": _conference,
    "takeover::call": _registered,
    "takeover::mode": _mode,
    "takeover::refused": _refused,
    "takeover::paired": _paired,
    "takeover::fallback": _fallback,
    "takeover::request": _human,
    "takeover::transferred": _transferred,
    # Not from ESL: what the adapter looked up, put in the same queue so that there is one order of things.
    FITNESS: _fitness,
    TRANSFERRED: _transferred,
}
