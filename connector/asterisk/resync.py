"""The truth read back from the PBX: rows of Status and BridgeList to state. Pure.

First start, reconnect and crash recovery are this one path; what outlives us is in the PBX as channel variables.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from ..adapter.guards import decoded
from ..adapter.tables import mode_of, nameless, recognised
from ..domain.calls import PatchId, Topology
from ..domain.events import AgentPresent, CallChanged, SnapshotTaken
from .facts import Agent, AiLeg, Channel, Hook, State, Tracked, known, uuid_in
from .steps import present, seen, show_all
from .translate import inline, pair, topology_of
from .wire import Message

VARIABLES = (
    "TK_ID",
    "TK_TENANT",
    "TK_QUEUE",
    "TK_AI_REF",
    "TK_RECORDING",
    "TK_ROLE",
    "TK_UID",
    "TK_MODE",
    "TK_INSTANCE",
    "TK_NAME",
)
"""What our dialplan leaves on the channels."""


def resync(
    before: State, rows: Sequence[Message], bridges: Sequence[Message], at: datetime
) -> tuple[State, SnapshotTaken]:
    """State and snapshot from all rows of Status (with `VARIABLES`) and BridgeList.

    Of `before` only that is kept what the PBX cannot tell: when a known call was answered, its notes, and that its AI
    has left.
    """
    state = State(before.pbx, before.rules, before.unfit, test=before.test)
    channels: dict[str, Channel] = {}
    for row in rows:
        noted = seen(state, row, at).channels[row["uniqueid"]] if row["uniqueid"] else None
        if noted is not None:
            channels[noted.id] = replace(noted, bridge=row["bridgeid"])
    state = replace(
        state,
        channels=channels,
        hooks=dict(_hooks(rows)),
        agents=dict(_agents(rows)),
        ais=dict(_ais(before, rows, {row["bridgeuniqueid"] for row in bridges if row["bridgetype"] == "stasis"})),
        marks=frozenset(row["uniqueid"] for row in rows if row.variables.get("TK_ROLE") == "ai"),
    )
    for bridge in bridges:
        state, _ = pair(state, bridge["bridgeuniqueid"], topology_of(bridge), at)
    for row in rows:
        state, _ = inline(state, row, at)
    state = replace(state, calls=_with_memory(before, state, rows))
    state = replace(state, calls={caller: replace(call, shown=None) for caller, call in state.calls.items()})
    state, told = show_all(state)
    calls = [event for event in told if isinstance(event, CallChanged)]
    return state, SnapshotTaken(state.pbx, (*calls, *_presences(state)))


def _hooks(rows: Sequence[Message]) -> Iterator[tuple[str, Hook]]:
    for row in rows:
        said = {name: known(text) for name, text in row.variables.items()}
        if said.get("TK_ID") == row["uniqueid"]:  # TK_ID is inherited; the others stay on the caller
            tenant, queue = said.get("TK_TENANT", ""), said.get("TK_QUEUE", "")
            ref, recording = said.get("TK_AI_REF", ""), said.get("TK_RECORDING", "")
            yield row["uniqueid"], Hook(tenant, queue, ref, recording, waits=True)


def _agents(rows: Sequence[Message]) -> Iterator[tuple[str, Agent]]:
    for row in rows:
        mode, patch = mode_of(row.variables.get("TK_MODE", "")), uuid_in(row["channel"])
        if mode is not None and patch:
            call, instance = row.variables.get("TK_UID", ""), row.variables.get("TK_INSTANCE", "")
            name = decoded(known(row.variables.get("TK_NAME", "")))
            yield row["uniqueid"], Agent(call, PatchId(patch), row["channel"], instance, mode, name)


def _ais(before: State, rows: Sequence[Message], stasis: AbstractSet[str]) -> Iterator[tuple[str, AiLeg]]:
    """AI legs: those known before, those dialled by somebody whose Dial matches a rule, those marked, and those in
    another application's bridge whose name matches."""
    dialling = {row["linkedid"]: row for row in rows if row["application"] == "Dial"}
    for row in rows:
        channel = row["uniqueid"]
        ref = uuid_in(row["channel"]) if row["channel"].startswith("AudioSocket/") else ""
        if channel in before.ais:
            yield channel, before.ais[channel]
        elif row["application"] == "AppDial":
            dial = dialling.get(row["linkedid"])
            if not before.counts(dial["uniqueid"] if dial else ""):
                continue
            targets = dial["data"].partition(",")[0].split("&") if dial else []
            name = recognised(before.rules, row["channel"], *targets)
            hooked = dial is not None and dial.variables.get("TK_ID") == dial["uniqueid"]
            if name is None and (hooked or row.variables.get("TK_ROLE") == "ai"):
                name = nameless(before.rules)
            if name is not None:
                yield channel, AiLeg(name, ref, dial["uniqueid"] if dial else "")
        elif row["bridgeid"] in stasis and (name := recognised(before.rules, row["channel"])) is not None:
            yield channel, AiLeg(name, ref, "")


def _with_memory(before: State, state: State, rows: Sequence[Message]) -> dict[str, Tracked]:
    calls = dict(state.calls)
    for caller, call in calls.items():
        known_call = before.calls.get(caller)
        if known_call is not None and known_call.ai == call.ai:
            calls[caller] = replace(call, answered_at=known_call.answered_at, notes=known_call.notes)
        elif call.ai:
            calls[caller] = replace(call, answered_at=state.channels[call.ai].since)
    for row in rows:
        caller = row["uniqueid"]
        paired = state.speaker(caller) is not None
        if caller in calls or not (paired or caller in before.calls):
            continue
        was = before.calls.get(caller) or Tracked("", nameless(state.rules), "", Topology.DIALLED, None)
        there = was.ai in state.ais and not any(call.ai == was.ai for call in calls.values())
        # An AI that is there and with nobody else is his, wherever he was led meanwhile.
        calls[caller] = was if there else replace(was, ai="", left=True, paired=paired)
    return calls


def _presences(state: State) -> Iterator[AgentPresent]:
    for agent in state.agents.values():
        if agent.call in state.calls:
            yield present(state, agent)
