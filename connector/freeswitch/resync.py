"""The truth read back from the PBX: rows of `show channels` and `show calls`, and dumps of channels, to state. Pure.

First start, reconnect and crash recovery are this one path; what outlives us is in the PBX as channel variables.
`show` reads a table that FreeSWITCH fills behind its calls' backs, up to a second late; a dump is of the channel
itself. So what we know already is dumped too, and a channel that has no dump is none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ..adapter.guards import decoded, encoded
from ..adapter.tables import mode_of
from ..domain.calls import PatchId
from ..domain.events import CallChanged, SnapshotTaken
from .facts import Agent, Channel, State, Tracked, ai_name, epoch
from .translate import pair, present, seen, show_all
from .wire import Message, parse_event

Row = Mapping[str, str]


def rows(text: str) -> list[Row]:
    """The rows of a `show ... as json`; none when it is no such list (without rows, FreeSWITCH leaves the key out)."""
    try:
        tree = json.loads(text)
    except ValueError:
        return []
    listed = tree.get("rows", []) if isinstance(tree, dict) else []
    return [{str(key): str(value) for key, value in row.items()} for row in listed if isinstance(row, dict)]


def worth_a_dump(before: State, channels: Sequence[Row], calls: Sequence[Row]) -> list[str]:
    """Ids of the channels whose variables matter: those we know, agents' legs, both sides of what may be a call with
    an AI, and callers who wait in our dialplan."""
    rules = before.rules
    pairs = [(row.get("uuid", ""), row.get("b_uuid", "")) for row in calls]
    names = {row.get("uuid", ""): row.get("name", "") for row in channels}
    wanted = {row.get("uuid", "") for row in channels if row.get("application") == "eavesdrop"}
    wanted |= {row.get("uuid", "") for row in channels if row.get("context") == "takeover"}
    wanted |= {*before.agents, *before.calls, *(call.ai for call in before.calls.values())}
    for sides in pairs:
        if not rules or any(rule.match.search(names.get(side, "")) for rule in rules for side in sides):
            wanted |= set(sides)
        else:
            wanted.add(sides[1])  # it may be marked as an AI without matching a rule
    return sorted(wanted - {""})


def resync(
    before: State,
    channels: Sequence[Row],
    calls: Sequence[Row],
    dumps: Mapping[str, str],
    at: datetime,
) -> tuple[State, SnapshotTaken]:
    """State and snapshot. Of `before` only that is kept what the PBX cannot tell: when a known call was answered, and
    that its AI has left."""
    state = State(before.pbx, before.rules, before.unfit)
    facts = {channel: parse_event(text) for channel, text in dumps.items() if not text.startswith("-ERR")}
    gone = dumps.keys() - facts.keys()
    noted = {row["uuid"]: _channel(row, at) for row in channels if row.get("uuid") and row["uuid"] not in gone}
    state = replace(state, channels=noted)
    for message in facts.values():
        state = seen(state, message, at)
    pairs = [(row.get("uuid", ""), row.get("b_uuid", "")) for row in calls]
    for a, b in [*((caller, call.ai) for caller, call in before.calls.items()), *pairs]:
        if a in state.channels and b in state.channels:
            state, _ = pair(state, a, b, at)
    kept = {caller: _remembered(before, caller, call) for caller, call in state.calls.items()}
    kept |= {caller: call for caller, call in _left(before, state, facts) if caller not in kept}
    agents: dict[str, Agent] = {agent.patch: agent for agent in _agents(facts) if agent.call in kept}
    state = replace(state, calls={caller: replace(call, shown=None) for caller, call in kept.items()}, agents=agents)
    state, told = show_all(state)
    shown = [event for event in told if isinstance(event, CallChanged)]
    return state, SnapshotTaken(state.pbx, (*shown, *(present(state, agent) for agent in agents.values())))


def missed(state: State, calls: Sequence[Row], dumps: Mapping[str, str]) -> Iterator[Message]:
    """What a later look at the table shows and no event told: as the events that would have."""
    facts = {channel: parse_event(text) for channel, text in dumps.items() if not text.startswith("-ERR")}
    for row in calls:
        a, b = row.get("uuid", ""), row.get("b_uuid", "")
        if a in facts and b in facts and a not in state.calls and b not in state.calls:
            yield Message({**facts[b].headers, "event-name": "CHANNEL_ANSWER"})
            bridge = {"event-name": "CHANNEL_BRIDGE", "bridge-a-unique-id": a, "bridge-b-unique-id": b}
            yield Message({**facts[a].headers, **bridge})
    for agent in _agents(facts):
        if agent.patch not in state.agents:
            told = {
                "call": agent.call,
                "patch": agent.patch,
                "instance": agent.instance,
                "mode": agent.mode.value,
                "name": encoded(agent.name),
            }
            named = {f"takeover-{name}": value for name, value in told.items()}
            yield Message({"event-name": "CUSTOM", "event-subclass": "takeover::mode", **named})


def _channel(row: Row, at: datetime) -> Channel:
    name, number = row.get("cid_name", ""), row.get("cid_num", "")
    since = epoch(row.get("created_epoch", ""), at)
    return Channel(row["uuid"], row.get("name", ""), row.get("initial_cid_num") or number, name, since)


def _agents(facts: Mapping[str, Message]) -> Iterator[Agent]:
    for channel, message in facts.items():
        mode = mode_of(message.variable("takeover_mode"))
        if message.variable("takeover_role") == "agent" and mode is not None:
            said = message.variable
            yield Agent(
                said("takeover_call"), PatchId(channel), said("takeover_instance"), mode, decoded(said("takeover_name"))
            )


def _remembered(before: State, caller: str, call: Tracked) -> Tracked:
    was = before.calls.get(caller)
    return replace(call, answered_at=was.answered_at) if was is not None and was.ai == call.ai else call


def _left(before: State, state: State, facts: Mapping[str, Message]) -> Iterator[tuple[str, Tracked]]:
    """Callers without an AI whom we know or who wait with an agent."""
    for caller, channel in state.channels.items():
        message = facts.get(caller)
        paired = message is not None and message.variable("takeover_paired_uuid") == caller
        was = before.calls.get(caller)
        if was is None and not paired:
            continue
        name = was.ai_name if was is not None else ai_name(before, replace(channel, role="ai")) or ""
        yield caller, Tracked("", name, was.answered_at if was else None, left=True, paired=paired)
