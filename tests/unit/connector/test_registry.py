"""The one writer of live calls: what it keeps, what it tells, and how it agrees with the PBX again."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from connector.domain.calls import (
    Ai,
    Call,
    CallId,
    Channels,
    Engagement,
    EngagementId,
    Mode,
    ModeChoice,
    Party,
    PatchId,
    Phase,
    Topology,
    call_id,
)
from connector.domain.errors import CallEnded, CallUnknown
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
from connector.services.changes import (
    CallRemoved,
    CallUpserted,
    Change,
    DtmfSeen,
    EngagementChanged,
    PbxChanged,
    PbxState,
    TalkingChanged,
)
from connector.services.registry import REMEMBER_ENDED_S, Registry

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def make_call(number: int = 1, pbx: str = "main", **other: object) -> Call:
    channels = Channels(f"PJSIP/c-{number}", f"17.{number}", f"PJSIP/ai-{number}", f"18.{number}")
    modes = tuple(ModeChoice(mode, possible=True) for mode in Mode)
    call = Call(
        call_id(pbx, channels.caller_id), pbx, channels, Party("100"), Ai("bot"), AT, Topology.DIALLED, modes, AT
    )
    return replace(call, **other)  # type: ignore[arg-type]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Site:
    """A registry with somebody who watches."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.registry = Registry(["main", "other"], "node-1", clock=self.clock)
        self.changes: list[Change] = []
        self.registry.watch(self.changes.append)

    def apply(self, *events: PbxEvent) -> list[Change]:
        """Applies, and returns what was told because of it."""
        mark = len(self.changes)
        for event in events:
            self.registry.apply(event)
        return self.changes[mark:]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    revs = [change.rev for change in site.changes]
    assert revs == list(range(1, site.registry.rev + 1)), "every change has the next revision"


CALL = make_call()


def present(call: Call = CALL, patch: str = "p1", instance: str = "node-2", mode: Mode = Mode.TAKEOVER) -> AgentPresent:
    return AgentPresent(call.id, PatchId(patch), f"AudioSocket/x-{patch}", instance, mode)


# ---- calls ----


def test_a_call_comes_changes_and_goes(site: Site) -> None:
    (told,) = site.apply(CallChanged(CALL))
    assert told == CallUpserted(1, CALL)
    assert site.registry.call(CALL.id) == CALL
    queued = replace(CALL, queue="sales")
    assert site.apply(CallChanged(queued)) == [CallUpserted(2, queued)]
    assert site.apply(CallGone(CALL.id, "hangup")) == [CallRemoved(3, CALL.id, "hangup")]
    assert site.registry.calls() == []


def test_what_is_no_news_is_not_told(site: Site) -> None:
    site.apply(CallChanged(CALL))
    assert site.apply(CallChanged(CALL), CallGone(CallId("main~9"), "hangup"), AiGone(CallId("main~9"), True)) == []


def test_calls_are_listed_oldest_first(site: Site) -> None:
    young = make_call(2, started_at=AT.replace(hour=13))
    site.apply(CallChanged(young), CallChanged(CALL))
    assert site.registry.calls() == [CALL, young]


def test_an_ended_call_is_remembered_for_a_while(site: Site) -> None:
    site.apply(CallChanged(CALL), CallGone(CALL.id, "hangup"))
    with pytest.raises(CallEnded):
        site.registry.call(CALL.id)
    site.clock.now = REMEMBER_ENDED_S + 1
    with pytest.raises(CallUnknown):
        site.registry.call(CALL.id)
    with pytest.raises(CallUnknown):
        site.registry.call(CallId("main~9"))


def test_a_caller_who_comes_back_to_an_ai_is_a_live_call_again(site: Site) -> None:
    site.apply(CallChanged(CALL), CallGone(CALL.id, "transferred"), CallChanged(CALL))
    assert site.registry.call(CALL.id) == CALL


def test_when_the_ai_is_gone_no_mode_is_offered_and_it_is_noted(site: Site) -> None:
    (_, told) = site.apply(CallChanged(CALL), AiGone(CALL.id, paired=True))
    assert isinstance(told, CallUpserted)
    assert told.call.notes == ("ai-gone",)
    assert {choice.why for choice in told.call.modes if not choice.possible} == {"The AI has left this call."}
    assert not any(choice.possible for choice in told.call.modes)
    shown_without_ai = replace(CALL, channels=replace(CALL.channels, ai="", ai_id=""))
    site.apply(CallChanged(shown_without_ai))
    assert not any(choice.possible for choice in site.registry.call(CALL.id).modes)


def test_another_ai_makes_everything_possible_again(site: Site) -> None:
    site.apply(CallChanged(CALL), AiGone(CALL.id, paired=False))
    redialled = replace(CALL, channels=replace(CALL.channels, ai="PJSIP/ai-2", ai_id="18.99"))
    site.apply(CallChanged(redialled))
    assert site.registry.call(CALL.id) == redialled


def test_who_asks_for_a_human_is_marked(site: Site) -> None:
    site.apply(CallChanged(replace(CALL, notes=("direct-media",))))
    site.apply(HumanAsked(CALL.id, "refund", "urgent"))
    assert site.registry.call(CALL.id).notes == ("direct-media", "human-asked")
    assert site.apply(HumanAsked(CALL.id, "refund", "urgent")) == []


def test_talking_is_told_when_it_changes(site: Site) -> None:
    site.apply(CallChanged(CALL))
    assert site.apply(Talking(CALL.id, "caller", True)) == [TalkingChanged(2, CALL.id, "caller", True)]
    assert site.apply(Talking(CALL.id, "caller", True), Talking(CALL.id, "ai", False)) == []
    assert site.registry.talking(CALL.id) == {"caller": True}
    site.apply(Talking(CALL.id, "caller", False))
    assert site.registry.talking(CALL.id) == {"caller": False}
    assert site.apply(Talking(CallId("main~9"), "caller", True)) == []


def test_digits_are_passed_on(site: Site) -> None:
    site.apply(CallChanged(CALL))
    assert site.apply(Dtmf(CALL.id, "caller", "0")) == [DtmfSeen(2, CALL.id, "caller", "0")]
    assert site.apply(Dtmf(CallId("main~9"), "caller", "0")) == []


# ---- PBXs ----


def test_the_state_of_every_pbx_is_known_from_the_start(site: Site) -> None:
    assert [(state.name, state.up, state.why) for state in site.registry.pbxs()] == [
        ("main", False, "connecting"),
        ("other", False, "connecting"),
    ]
    assert site.apply(PbxUp("main", "22.10.1")) == [PbxChanged(1, PbxState("main", True, "", "22.10.1"))]
    assert site.apply(PbxDown("main", "reset")) == [PbxChanged(2, PbxState("main", False, "reset", "22.10.1"))]
    assert site.apply(PbxDown("main", "reset")) == []


def test_calls_stay_while_their_pbx_is_away(site: Site) -> None:
    site.apply(PbxUp("main", "22"), CallChanged(CALL), PbxDown("main", "reset"))
    assert site.registry.calls() == [CALL]


# ---- reconciliation ----


def test_a_snapshot_is_all_there_is_on_its_pbx(site: Site) -> None:
    elsewhere = make_call(1, "other")
    stays, ends, comes = make_call(1), make_call(2), make_call(3)
    site.apply(*(CallChanged(call) for call in (stays, ends, elsewhere)))
    told = site.apply(SnapshotTaken("main", (CallChanged(stays), CallChanged(comes))))
    assert told == [CallUpserted(4, comes), CallRemoved(5, ends.id, "unseen")]
    assert {call.id for call in site.registry.calls()} == {stays.id, comes.id, elsewhere.id}
    with pytest.raises(CallEnded):
        site.registry.call(ends.id)


def test_an_empty_snapshot_ends_all(site: Site) -> None:
    site.apply(CallChanged(CALL), present(), SnapshotTaken("main", ()))
    assert site.registry.calls() == []
    assert site.registry.engagements() == []


def test_the_same_snapshot_twice_is_no_news(site: Site) -> None:
    snapshot = SnapshotTaken("main", (CallChanged(CALL), present()))
    site.apply(snapshot)
    assert site.apply(snapshot) == []


# ---- agents of other services ----


def test_an_agent_of_another_service_is_shown(site: Site) -> None:
    (told,) = site.apply(CallChanged(CALL), present())[1:]
    assert isinstance(told, EngagementChanged)
    assert (told.engagement.agent_name, told.engagement.mode) == ("another service (node-2)", Mode.TAKEOVER)
    (changed,) = site.apply(present(mode=Mode.MONITOR))
    assert isinstance(changed, EngagementChanged)
    assert changed.engagement.since == told.engagement.since
    (gone,) = site.apply(AgentGone(CALL.id, PatchId("p1"), "hangup"))
    assert isinstance(gone, EngagementChanged)
    assert (gone.ended, gone.engagement.phase) == ("hangup", Phase.ENDED)
    assert site.registry.engagements() == []


def test_our_own_patches_are_not_shown_as_anothers(site: Site) -> None:
    site.apply(CallChanged(CALL))
    assert site.apply(present(instance="node-1"), AgentGone(CALL.id, PatchId("p9"), "hangup")) == []


def test_an_agent_of_another_service_goes_with_the_call_with_the_fallback_and_unseen(site: Site) -> None:
    calls = [make_call(number) for number in (1, 2, 3)]
    for number, call in enumerate(calls):
        site.apply(CallChanged(call), present(call, f"p{number}"))
    site.apply(CallGone(calls[0].id, "hangup"), FellBack(calls[1].id))
    site.apply(SnapshotTaken("main", (CallChanged(calls[1]), CallChanged(calls[2]))))
    assert site.registry.engagements() == []
    ends = [change.ended for change in site.changes if isinstance(change, EngagementChanged) and change.ended]
    assert ends == ["caller-hangup", "ai-fallback", "unseen"]


def test_who_listens_in_another_service_stays_when_the_caller_falls_back(site: Site) -> None:
    site.apply(CallChanged(CALL), present(), present(patch="p2", mode=Mode.MONITOR), FellBack(CALL.id))
    assert [e.mode for e in site.registry.engagements()] == [Mode.MONITOR]


def test_a_refusal_concerns_nobody_else(site: Site) -> None:
    site.apply(CallChanged(CALL))
    assert site.apply(AgentRefused(CALL.id, PatchId("p1"), Mode.BARGE, "busy")) == []


# ---- our own engagements ----


def test_engagements_are_kept_per_call_and_told_to_their_end(site: Site) -> None:
    ours = Engagement(EngagementId("e1"), CALL.id, "anna", "Anna", "leg", Mode.BARGE, Phase.ACTIVE, AT)
    site.registry.engaged(ours)
    site.registry.engaged(replace(ours, id=EngagementId("e2"), call=CallId("main~9")))
    assert site.registry.engagements(CALL.id) == [ours]
    assert len(site.registry.engagements()) == 2
    site.registry.disengaged(ours.id, "released")
    site.registry.disengaged(ours.id, "released")
    ends = [change for change in site.changes if isinstance(change, EngagementChanged) and change.ended]
    assert ends == [EngagementChanged(3, replace(ours, phase=Phase.ENDED), "released")]


# ---- who is told ----


def test_a_broken_watcher_stops_nobody(site: Site) -> None:
    told: list[Change] = []
    site.registry.watch(lambda _: 1 / 0)  # type: ignore[arg-type]
    site.registry.watch(told.append)
    site.apply(CallChanged(CALL))
    assert len(told) == 1


def test_who_stops_watching_is_told_nothing_more(site: Site) -> None:
    told: list[Change] = []
    unwatch = site.registry.watch(told.append)
    unwatch()
    unwatch()
    site.apply(CallChanged(CALL))
    assert told == []


def test_listeners_hear_events_after_they_were_applied(site: Site) -> None:
    seen: list[list[Call]] = []
    site.registry.listen(lambda _: seen.append(list(site.registry.calls())))
    site.apply(CallChanged(CALL), CallGone(CALL.id, "hangup"))
    assert seen == [[CALL], []]


def test_a_broken_listener_stops_nobody_and_is_logged(site: Site) -> None:
    heard: list[PbxEvent] = []
    site.registry.listen(lambda _: 1 / 0)  # type: ignore[arg-type]
    site.registry.listen(heard.append)
    gone = CallGone(CALL.id, "hangup")
    with capture_logs() as logs:
        site.apply(CallChanged(CALL), gone)
    assert heard == [CallChanged(CALL), gone]
    assert [(line["event"], line["log_level"]) for line in logs] == [("registry.listener-failed", "error")] * 2
