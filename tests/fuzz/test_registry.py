"""The registry under any sequence of events: revisions without a gap, and after a snapshot it is the snapshot."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from connector.domain.calls import Ai, Call, Channels, Mode, ModeChoice, Party, PatchId, Phase, Topology, call_id
from connector.domain.events import (
    AgentGone,
    AgentPresent,
    AgentRefused,
    AiGone,
    CallChanged,
    CallGone,
    Dtmf,
    FellBack,
    HumanAsked,
    PbxDown,
    PbxEvent,
    PbxUp,
    SnapshotTaken,
    Talking,
)
from connector.services.changes import CallRemoved, CallUpserted, Change, EngagementChanged
from connector.services.registry import Registry

MODES = tuple(ModeChoice(mode, possible=True) for mode in Mode)
AT = datetime(2026, 1, 31, tzinfo=UTC)
PBXS = ("main", "other")
pbxs = st.sampled_from(PBXS)


def _call(pbx: str, number: int, ai: str, queue: str) -> Call:
    channels = Channels(f"c{number}", str(number), f"ai{ai}", ai)
    return Call(
        call_id(pbx, str(number)), pbx, channels, Party(), Ai("bot"), AT, Topology.DIALLED, MODES, AT, queue=queue
    )


calls = st.builds(_call, pbxs, st.integers(1, 4), st.sampled_from(["", "x", "y"]), st.sampled_from(["", "sales"]))
ids = calls.map(lambda call: call.id)
patches = st.sampled_from([PatchId(f"p{number}") for number in range(4)])
modes = st.sampled_from(Mode)
instances = st.sampled_from(["node-1", "node-2", "node-3"])
changed = st.builds(CallChanged, calls)
present = st.builds(AgentPresent, ids, patches, st.just("AudioSocket/x"), instances, modes)


def _snapshot(pbx: str, facts: Sequence[CallChanged | AgentPresent]) -> SnapshotTaken:
    """Of one PBX alone, every call and every patch once, agents only in calls that are there."""
    found = {fact.call.id: fact for fact in facts if isinstance(fact, CallChanged) and fact.call.pbx == pbx}
    agents = {fact.patch: fact for fact in facts if isinstance(fact, AgentPresent) and fact.call in found}
    return SnapshotTaken(pbx, (*found.values(), *agents.values()))


snapshots = st.builds(_snapshot, pbxs, st.lists(changed | present, max_size=6))
events: st.SearchStrategy[PbxEvent] = st.one_of(
    changed,
    present,
    snapshots,
    st.builds(PbxUp, pbxs, st.just("22")),
    st.builds(PbxDown, pbxs, st.sampled_from(["reset", "timeout"])),
    st.builds(CallGone, ids, st.sampled_from(["hangup", "transferred"])),
    st.builds(AiGone, ids, st.booleans()),
    st.builds(FellBack, ids),
    st.builds(AgentRefused, ids, patches, modes, st.just("busy")),
    st.builds(AgentGone, ids, patches, st.just("hangup")),
    st.builds(Talking, ids, st.sampled_from(["caller", "ai", "agent"]), st.booleans()),
    st.builds(Dtmf, ids, st.sampled_from(["caller", "ai"]), st.just("0")),
    st.builds(HumanAsked, ids, st.just("refund"), st.just("normal")),
)


@given(st.lists(events, max_size=40))
def test_who_follows_the_changes_knows_what_the_registry_knows(sequence: list[PbxEvent]) -> None:
    registry = Registry(PBXS, "node-1")
    told: list[Change] = []
    registry.watch(told.append)
    mirrored_calls: dict[str, Call] = {}
    mirrored_engagements: dict[str, object] = {}
    for event in sequence:
        mark = len(told)
        registry.apply(event)
        for change in told[mark:]:
            match change:
                case CallUpserted(_, call):
                    mirrored_calls[call.id] = call
                case CallRemoved(_, id_, _):
                    del mirrored_calls[id_]
                case EngagementChanged(_, engagement, None):
                    mirrored_engagements[engagement.id] = engagement
                case EngagementChanged(_, engagement, _):
                    assert engagement.phase is Phase.ENDED
                    del mirrored_engagements[engagement.id]
                case _:
                    pass
        assert mirrored_calls == {call.id: call for call in registry.calls()}
        assert mirrored_engagements == {engagement.id: engagement for engagement in registry.engagements()}
        for engagement in registry.engagements():
            assert engagement.call in mirrored_calls, "nobody is in a call that is not there"
    assert [change.rev for change in told] == list(range(1, registry.rev + 1))


@given(st.lists(events, max_size=30), snapshots)
def test_after_a_snapshot_the_registry_is_the_snapshot(sequence: list[PbxEvent], snapshot: SnapshotTaken) -> None:
    registry = Registry(PBXS, "node-1")
    for event in (*sequence, snapshot):
        registry.apply(event)
    there = {fact.call.id: fact.call for fact in snapshot.events if isinstance(fact, CallChanged)}
    here = {call.id: call for call in registry.calls() if call.pbx == snapshot.pbx}
    assert here.keys() == there.keys()
    for id_, call in here.items():
        assert replace(call, notes=(), modes=MODES) == there[id_], "beside our own notes it is what the PBX said"
    foreign = {
        (str(fact.call), str(fact.patch), fact.mode)
        for fact in snapshot.events
        if isinstance(fact, AgentPresent) and fact.instance != "node-1"
    }
    shown = {(str(e.call), str(e.id), e.mode) for e in registry.engagements() if e.call.startswith(f"{snapshot.pbx}~")}
    assert shown == foreign
