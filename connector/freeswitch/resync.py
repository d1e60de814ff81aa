"""The truth read back from the PBX: rows of `show channels` and `show calls`, and dumps of channels, to state. Pure.

First start, reconnect and crash recovery are this one path; what outlives us is in the PBX as channel variables.
`show` reads a table that FreeSWITCH fills behind its calls' backs, up to a second late; a dump is of the channel
itself. So what we know already is dumped too, and a channel that has no dump is none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ..adapter.guards import decoded, encoded
from ..adapter.tables import mode_of, put
from ..domain.calls import PatchId, Topology
from ..domain.events import CallChanged, SnapshotTaken
from .facts import Agent, Channel, Seat, State, Tracked, ai_name, epoch
from .ground import BUG
from .translate import APPLICATIONS, gather, inline, pair, present, seen, show_all
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


def conferences(text: str) -> dict[str, Seat]:
    """Channels and where in a conference each is, from `conference json_list`; none without mod_conference."""
    try:
        tree = json.loads(text)
    except ValueError:
        return {}
    listed = [room for room in tree if isinstance(room, dict)] if isinstance(tree, list) else []
    found: dict[str, Seat] = {}
    for room in listed:
        members = room.get("members")
        for member in members if isinstance(members, list) else []:
            if isinstance(member, dict) and member.get("uuid"):
                name = str(room.get("conference_name"))
                found[str(member["uuid"])] = Seat(
                    str(room.get("conference_uuid") or name), name, str(member.get("id", ""))
                )
    return found


@dataclass(frozen=True)
class Look:
    """What a look at the PBX found. `dumps` and `bugs` by channel, `rooms` as in `State`."""

    channels: Sequence[Row]
    calls: Sequence[Row]
    dumps: Mapping[str, str]
    bugs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rooms: Mapping[str, Seat] = field(default_factory=dict)

    def facts(self) -> dict[str, Message]:
        """The channels that are there, by what their dumps say."""
        return {channel: parse_event(text) for channel, text in self.dumps.items() if not text.startswith("-ERR")}

    def inline(self, channel: str, message: Message) -> list[str]:
        """What an AI on this very channel may be, the likeliest first (`facts.Tracked.via`)."""
        found = [f"{BUG}{function}" for function in self.bugs.get(channel, ())]
        if host := message.variable("socket_host"):  # what runs now may be what its socket told it
            found.append(f"socket/{host}")
        if all(channel not in (row.get("uuid"), row.get("b_uuid")) for row in self.calls):
            rows_ = [row for row in self.channels if row.get("uuid") == channel]
            found += [
                f"{row['application']}/{row.get('application_data', '')}"
                for row in rows_
                if row.get("application") in APPLICATIONS
            ]
        return found


def worth_a_dump(before: State, channels: Sequence[Row], calls: Sequence[Row]) -> list[str]:
    """Ids of the channels whose variables matter: those we know, agents' legs, both sides of what may be a call with
    an AI, callers who wait in our dialplan, and those that talk to nobody: an AI may be on their own channel."""
    rules = before.rules
    pairs = [(row.get("uuid", ""), row.get("b_uuid", "")) for row in calls]
    names = {row.get("uuid", ""): row.get("name", "") for row in channels}
    wanted = {row.get("uuid", "") for row in channels if row.get("application") == "eavesdrop"}
    wanted |= {row.get("uuid", "") for row in channels if row.get("context") == "takeover"}
    wanted |= {row.get("uuid", "") for row in channels} - {side for sides in pairs for side in sides}
    wanted |= {*before.agents, *before.calls, *(call.ai for call in before.calls.values())}
    for sides in pairs:
        if not rules or any(rule.match.search(names.get(side, "")) for rule in rules for side in sides):
            wanted |= set(sides)
        else:
            wanted.add(sides[1])  # it may be marked as an AI without matching a rule
    return sorted(wanted - {""})


def resync(
    before: State,
    look: Look,
    at: datetime,
) -> tuple[State, SnapshotTaken]:
    """State and snapshot. Of `before` only that is kept what the PBX cannot tell: when a known call was answered, and
    that its AI has left."""
    state = State(before.pbx, before.rules, before.unfit, deaf=before.deaf, hung_up=before.hung_up, test=before.test)
    facts = look.facts()
    gone = look.dumps.keys() - facts.keys()
    noted = {row["uuid"]: _channel(row, at) for row in look.channels if row.get("uuid") and row["uuid"] not in gone}
    rooms = {channel: room for channel, room in look.rooms.items() if channel not in gone}
    bugs = {channel: list(found) for channel, found in look.bugs.items() if found and channel not in gone}
    state = replace(state, channels=noted, rooms=rooms, bugs=bugs)
    for message in facts.values():
        state = seen(state, message, at)
    pairs = [(row.get("uuid", ""), row.get("b_uuid", "")) for row in look.calls]
    dialled = [(caller, call.ai) for caller, call in before.calls.items() if call.topology is Topology.DIALLED]
    for a, b in [*dialled, *pairs]:
        if a in state.channels and b in state.channels:
            state, _ = pair(state, a, b, at)
    for room in dict.fromkeys(seat.room for seat in rooms.values()):
        state, _ = gather(state, room, at)
    for channel, message in facts.items():
        state = _inline(before, state, look, channel, message, at)
    kept = {caller: _remembered(before, caller, call) for caller, call in state.calls.items()}
    kept |= {caller: call for caller, call in _left(before, state, facts) if caller not in kept}
    agents: dict[str, Agent] = {agent.patch: agent for agent in _agents(facts) if agent.call in kept}
    state = replace(state, calls={caller: replace(call, shown=None) for caller, call in kept.items()}, agents=agents)
    state, told = show_all(state)
    shown = [event for event in told if isinstance(event, CallChanged)]
    return state, SnapshotTaken(state.pbx, (*shown, *(present(state, agent) for agent in agents.values())))


def _inline(before: State, state: State, look: Look, channel: str, message: Message, at: datetime) -> State:
    was = before.calls.get(channel)
    if channel in state.calls or message.variable("takeover_paired_uuid") == channel:
        return state
    if was is not None and was.topology is Topology.INLINE:
        there = not was.via.startswith(BUG) or was.via.removeprefix(BUG) in look.bugs.get(channel, ())
        keep = there and not was.left
        return replace(state, calls=put(state.calls, channel, was)) if keep else state
    for via in look.inline(channel, message):
        state, _ = inline(state, channel, via, at)
    return state


def missed(state: State, look: Look) -> Iterator[Message]:
    """What a later look at the table shows and no event told: as the events that would have."""
    facts = look.facts()
    for channel, message in facts.items():
        if channel in state.calls or state.call_of_ai(channel):
            continue
        seat = look.rooms.get(channel)
        if seat and channel not in state.rooms:
            joined = {"event-name": "CUSTOM", "event-subclass": "conference::maintenance", "action": "add-member"}
            place = {"conference-unique-id": seat.room, "conference-name": seat.name, "member-id": seat.member}
            yield Message({**message.headers, **joined, **place})
        for via in look.inline(channel, message):
            application, _, data = via.partition("/")
            begun = {"event-name": "CHANNEL_EXECUTE", "application": application, "application-data": data}
            if via.startswith(BUG):
                begun = {"event-name": "MEDIA_BUG_START", "media-bug-function": data}
            yield Message({**message.headers, **begun})
    for row in look.calls:
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
        place = (was.topology, was.via) if was is not None else (Topology.DIALLED, "")
        yield caller, Tracked("", name, was.answered_at if was else None, *place, left=True, paired=paired)
