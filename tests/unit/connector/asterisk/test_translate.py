"""The fold from AMI events to domain events, on what a real Asterisk said and on what it might say."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connector.adapter.tables import AI_LEFT, Rule
from connector.asterisk import wire
from connector.asterisk.facts import PAIRED, State
from connector.asterisk.resync import resync
from connector.asterisk.translate import fold
from connector.asterisk.wire import Message
from connector.domain.calls import Call, Mode, Topology
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
    PbxEvent,
    Talking,
)
from tests.support.fake_ami import Block, load

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = (
    Rule("sip-bot", re.compile(r"^PJSIP/ai")),
    Rule("socket-bot", re.compile(r"^AudioSocket/")),
    Rule("web-bot", re.compile(r"^WebSocket/ai")),
)
START = State("main", RULES)
PATCH = "0b6e3ea4-8f5d-4a0b-9d4e-2f9d1f2c3b4a"
AGENT = f"AudioSocket/127.0.0.1:9092-{PATCH}"


def run(state: State, messages: Iterable[Message]) -> tuple[State, list[PbxEvent]]:
    told: list[PbxEvent] = []
    for message in messages:
        state, events = fold(state, message, NOW)
        told += events
    return state, told


def recorded(blocks: Iterable[Block]) -> list[Message]:
    """The events of a recording, without the answers to questions."""
    return [wire.parse(block.text()) for block in blocks if not block.get("ActionID")]


def m(event: str, **headers: str) -> Message:
    return Message({"event": event, **{key.lower(): value for key, value in headers.items()}})


def channel(number: int) -> dict[str, str]:
    return {"channel": f"PJSIP/c{number}-1", "uniqueid": f"1700000000.{number}", "calleridnum": f"+4930{number}"}


def dial(caller: int, leg: int, string: str = "ai", name: str | None = None) -> list[Message]:
    dest = {"destchannel": name or f"PJSIP/ai-{leg}", "destuniqueid": f"1700000000.{leg}", "dialstring": string}
    return [
        m("Newchannel", **channel(caller)),
        m("DialBegin", **channel(caller), **dest),
        m("DialEnd", **channel(caller), **dest, dialstatus="ANSWER"),
    ]


def enter(number: int, bridge: str = "b1", **headers: str) -> Message:
    given = {"bridgetype": "basic", "bridgecreator": "<unknown>", **headers}
    return m("BridgeEnter", **{**channel(number), "bridgeuniqueid": bridge, **given})


def leave(number: int, bridge: str = "b1") -> Message:
    return m("BridgeLeave", **channel(number), bridgeuniqueid=bridge)


def hangup(number: int) -> Message:
    return m("Hangup", **channel(number))


def talking_to_ai() -> State:
    """Caller 1 and AI 2 in one bridge."""
    state, _ = run(START, [*dial(1, 2), enter(2), enter(1)])
    return state


def user(name: str, number: int, **fields: str) -> Message:
    return m("UserEvent", **{**channel(number), "userevent": name, **fields})


def mode(text: str, **fields: str) -> Message:
    """TakeoverMode of an agent leg with Uniqueid ...9 in caller 1's call."""
    facts = {"channel": AGENT, "uniqueid": "1700000000.9", "agent": AGENT, "uid": "1700000000.1", "instance": "me"}
    return m("UserEvent", **{"userevent": "TakeoverMode", "mode": text, **facts, **fields})


def last_call(events: Iterable[PbxEvent]) -> Call:
    return [event.call for event in events if isinstance(event, CallChanged)][-1]


# ---- what a real Asterisk said ----

STORY: dict[str, list[type]] = {
    "call": [CallChanged],
    "takeover": [AgentPresent],
    "refused": [AgentRefused],
    "whisper": [AgentPresent],
    "barge": [AgentPresent],
    "monitor": [AgentPresent],
    "takeover-again": [AgentPresent],
    "dtmf": [Dtmf],
    "release": [AgentGone],
    "takeover-before-ai-hangup": [AgentPresent],
    "ai-hangup": [AiGone, CallChanged],
    "fallback": [AgentGone, CallChanged, FellBack],
    "caller-hangup": [CallGone],
    "call-without-hook": [CallChanged],
}


@pytest.mark.parametrize("topology", ["t1", "t2", "t4"])
def test_a_recorded_story_is_told_in_these_events(topology: str) -> None:
    state = START
    for name, step in load(topology).items():
        state, events = run(state, recorded(step.said))
        if name in STORY:
            kinds = [type(event) for event in events]
            # The agent's end and the caller's way into the fallback are told by two channels: either may be first.
            assert (sorted(kinds, key=str) if name == "fallback" else kinds) == STORY[name], name
        for event in events:
            if isinstance(event, AgentPresent):
                assert event.instance == "recorded"
    assert state == START, "something was not forgotten"


@pytest.mark.parametrize(
    ("topology", "ai", "ref"), [("t1", "sip-bot", "ref-1"), ("t2", "socket-bot", "ref-1"), ("t4", "web-bot", "ref-1")]
)
def test_a_recorded_call_has_all_its_facts(topology: str, ai: str, ref: str) -> None:
    _, events = run(START, recorded(load(topology)["call"].said))
    call = last_call(events)
    assert call.id == f"main~{call.channels.caller_id}"
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", call.id)
    assert (call.ai.name, call.ai.ref, call.tenant, call.queue) == (ai, ref, "acme", "sales")
    assert call.caller.number == "caller"
    assert call.topology is Topology.DIALLED
    assert all(call.choice(mode).possible and call.choice(mode).how == "live" for mode in Mode)
    assert call.started_at.timestamp() == int(call.channels.caller_id.partition(".")[0])
    assert call.answered_at == NOW


@pytest.mark.parametrize("topology", ["t1", "t2", "t4"])
@pytest.mark.parametrize("step", ["snapshot", "snapshot-paired"])
def test_a_snapshot_agrees_with_what_the_events_said(topology: str, step: str) -> None:
    """Followed by its events or read in one go: the same calls, the same agents."""
    followed = START
    said = load(topology)
    for name, part in said.items():
        if name == step:
            break
        followed, _ = run(followed, recorded(part.said))
    rows = [wire.parse(block.text()) for block in said[step].said]
    read, snapshot = resync(
        START,
        [row for row in rows if row.event == "Status"],
        [row for row in rows if row.event == "BridgeListItem"],
        NOW,
    )
    assert read.agents == followed.agents
    assert list(read.calls) == list(followed.calls)
    for caller, call in read.calls.items():
        told, known = call.shown, followed.calls[caller].shown
        assert told is not None
        assert known is not None
        if step == "snapshot":
            # Only we remember when it was answered, to the millisecond; the PBX has it in seconds.
            assert replace(told, answered_at=None) == replace(known, answered_at=None)
        else:
            assert [choice.why for choice in told.modes] == [PAIRED] * 4
    kinds = [type(event) for event in snapshot.events]
    assert kinds == [CallChanged, AgentPresent]


# ---- discovery ----


def test_a_call_appears_when_caller_and_ai_are_in_one_bridge_and_not_before() -> None:
    state, events = run(START, dial(1, 2))
    assert events == []
    state, events = run(state, [enter(2)])
    assert events == []
    state, events = run(state, [enter(1)])
    assert [type(event) for event in events] == [CallChanged]


def test_calls_of_people_are_no_calls_of_ours() -> None:
    _, events = run(START, [*dial(1, 2, "bob", "PJSIP/bob-2"), enter(2), enter(1), leave(1), hangup(2), hangup(1)])
    assert events == []


def test_the_rule_sees_technology_and_dial_string() -> None:
    rules = (Rule("vendor", re.compile(r"^PJSIP/\d+@vendor$")),)
    events = run(State("main", rules), [*dial(1, 2, "800@vendor", "PJSIP/vendor-2"), enter(2), enter(1)])[1]
    assert last_call(events).ai.name == "vendor"


def test_the_doctors_call_is_seen_by_the_doctor_and_by_nobody_else() -> None:
    caller = {"channel": "AudioSocket/127.0.0.1:9-x", "uniqueid": "takeover-doctor-1700000000.7"}
    leg = {"destchannel": "AudioSocket/127.0.0.1:9-y", "destuniqueid": "1700000000.2"}
    bridge = {"bridgeuniqueid": "b1", "bridgetype": "basic", "bridgecreator": "<unknown>"}
    messages = [
        m("Newchannel", **caller),
        m("DialBegin", **caller, **leg, dialstring="127.0.0.1:9/y/c(slin)"),
        m("BridgeEnter", channel=leg["destchannel"], uniqueid=leg["destuniqueid"], **bridge),
        m("BridgeEnter", **caller, **bridge),
    ]
    rows = [
        m("Status", **caller, linkedid="l", application="Dial", data="AudioSocket/127.0.0.1:9/y,5", bridgeid="b1"),
        m("Status", channel=leg["destchannel"], uniqueid=leg["destuniqueid"], linkedid="l", application="AppDial",
          bridgeid="b1"),
    ]  # fmt: skip
    assert run(START, messages)[1] == []
    assert resync(START, rows, [m("BridgeListItem", **bridge)], NOW)[1].events == ()
    doctor = replace(START, test=True)
    assert last_call(run(doctor, messages)[1]).channels.caller_id == caller["uniqueid"]
    again, snapshot = resync(doctor, rows, [m("BridgeListItem", **bridge)], NOW)
    assert last_call(list(snapshot.events)).ai.name == "socket-bot"
    assert again.test
    assert run(doctor, [*dial(1, 2), enter(2), enter(1)])[1] == []


def test_a_failed_dial_is_no_ai() -> None:
    failed = [*dial(1, 2)[:2], m("DialEnd", **channel(1), destuniqueid="1700000000.2", dialstatus="CHANUNAVAIL")]
    state, _ = run(START, failed)
    assert state.ais == {}


def test_a_marked_leg_is_an_ai_without_any_rule() -> None:
    mark = m("UserEvent", channel="PJSIP/x-2", uniqueid="1700000000.2", userevent="TakeoverAi", ai="PJSIP/x-2")
    events = run(State("main"), [mark, *dial(1, 2, "x", "PJSIP/x-2"), enter(2), enter(1)])[1]
    assert last_call(events).ai.name == "ai"


def test_after_the_hook_the_next_dialled_leg_is_the_ai_and_the_one_after_it_is_not() -> None:
    hook = user("TakeoverCall", 1, id="1700000000.1", tenant="t", queue="q", airef="r", recording="x.wav")
    state, events = run(State("main"), [hook, *dial(1, 2, "x", "PJSIP/x-2"), enter(2), enter(1)])
    call = last_call(events)
    assert (call.tenant, call.queue, call.ai.ref, call.recording) == ("t", "q", "r", "x.wav")
    state, events = run(state, [leave(2), hangup(2), *dial(1, 3, "bob", "PJSIP/bob-3"), enter(3, "b2"), enter(1, "b2")])
    assert CallGone("main~1700000000.1", "transferred") in events  # type: ignore[arg-type]  # CallId is a str
    assert not any(isinstance(event, CallChanged) and event.call.channels.ai for event in events)


def test_a_hook_speaks_only_for_its_own_channel() -> None:
    hook = user("TakeoverCall", 5, id="1700000000.1", tenant="evil", queue="", airef="", recording="")
    state, events = run(talking_to_ai(), [hook])
    assert (state.hooks, events) == ({}, [])


def test_the_audiosocket_uuid_is_the_reference_when_the_hook_gives_none() -> None:
    events = run(START, [*dial(1, 2, f"h:1/{PATCH}/c(slin)", f"AudioSocket/h:1-{PATCH}"), enter(2), enter(1)])[1]
    assert last_call(events).ai.ref == PATCH


def test_an_ai_in_another_applications_bridge_is_shown_with_the_reason() -> None:
    into = {"bridgetype": "stasis", "channel": "AudioSocket/h:1-" + PATCH}
    _, events = run(START, [m("Newchannel", **channel(1)), enter(1, bridgetype="stasis"), enter(2, **into)])
    call = last_call(events)
    assert call.topology is Topology.STASIS
    assert not any(choice.possible for choice in call.modes)
    assert "ARI" in call.choice(Mode.TAKEOVER).why


def test_an_ai_on_the_callers_own_channel_is_shown_with_the_remedy() -> None:
    row = {**channel(1), "application": "AudioSocket", "data": f"{PATCH},127.0.0.1:9093"}
    state, events = run(START, [m("Status", **row)])
    call = last_call(events)
    assert (call.topology, call.ai.ref, call.channels.ai) == (Topology.INLINE, PATCH, "")
    assert "Dial(AudioSocket/" in call.choice(Mode.TAKEOVER).why
    _, events = run(state, [hangup(1)])
    assert [type(event) for event in events] == [CallGone]


# ---- agents ----


def test_a_mode_is_what_the_agent_leg_itself_says() -> None:
    state, events = run(talking_to_ai(), [mode("whisper")])
    assert events == [AgentPresent("main~1700000000.1", PATCH, AGENT, "me", Mode.WHISPER)]  # type: ignore[arg-type]
    for forged in (mode("takeover", agent="PJSIP/other-1"), mode("shout"), mode("barge", uid="1700000000.77")):
        assert run(state, [forged]) == (state, [])


def test_a_user_event_without_a_channel_is_not_believed() -> None:
    """AMI's own UserEvent action can raise any: it has no channel."""
    forged = m("UserEvent", userevent="TakeoverFallback", uid="1700000000.1")
    assert run(talking_to_ai(), [forged])[1] == []


def test_an_agent_that_dies_without_a_word_is_gone_all_the_same() -> None:
    state, _ = run(talking_to_ai(), [mode("takeover")])
    state, events = run(state, [m("Hangup", channel=AGENT, uniqueid="1700000000.9")])
    assert events == [AgentGone("main~1700000000.1", PATCH, "hangup")]  # type: ignore[arg-type]
    assert state.agents == {}


def test_the_end_of_an_agent_is_told_once_with_its_reason() -> None:
    ended = {"userevent": "TakeoverEnded", "channel": AGENT, "uniqueid": "1700000000.9", "why": "deadman"}
    _, events = run(
        talking_to_ai(),
        [mode("takeover"), m("UserEvent", **ended), m("Hangup", channel=AGENT, uniqueid="1700000000.9")],
    )
    assert [event for event in events if isinstance(event, AgentGone)] == [
        AgentGone("main~1700000000.1", PATCH, "deadman")  # type: ignore[arg-type]
    ]


def test_a_refused_agent_is_told_with_who_speaks_and_what_it_goes_on_as() -> None:
    refused = {
        "userevent": "TakeoverRefused",
        "mode": "barge",
        "reason": "busy",
        "by": "AudioSocket/x",
        "was": "monitor",
    }
    _, events = run(talking_to_ai(), [mode("monitor"), mode("barge", **refused)])
    refusal = events[-1]
    assert isinstance(refusal, AgentRefused)
    assert (refusal.why, refusal.by, refusal.was) == ("busy", "AudioSocket/x", Mode.MONITOR)


def test_a_spy_of_somebody_else_changes_nothing() -> None:
    state = talking_to_ai()
    spy = [m("Newchannel", **channel(7)), m("ChanSpyStart", spyerchannel="PJSIP/c7-1", spyeechannel="PJSIP/c1-1")]
    assert run(state, spy)[1] == []


# ---- ends, transfers, renames ----


def test_an_ai_that_hangs_up_alone_leaves_a_call_nobody_can_engage_in() -> None:
    state, events = run(talking_to_ai(), [leave(2), hangup(2)])
    assert events[0] == AiGone("main~1700000000.1", paired=False)  # type: ignore[arg-type]
    assert last_call(events).choice(Mode.TAKEOVER).why == AI_LEFT
    _, events = run(state, [hangup(1)])
    assert events == [CallGone("main~1700000000.1", "hangup")]  # type: ignore[arg-type]


def test_a_second_ai_brings_the_call_back() -> None:
    _, events = run(talking_to_ai(), [leave(2), hangup(2), *dial(1, 3)[1:], enter(3, "b2"), enter(1, "b2")])
    call = last_call(events)
    assert call.channels.ai_id == "1700000000.3"
    assert call.choice(Mode.TAKEOVER).possible
    assert not any(isinstance(event, CallGone) for event in events)


def test_a_paired_call_says_why_no_mode_can_be_changed() -> None:
    state, events = run(talking_to_ai(), [mode("takeover"), leave(2), hangup(2)])
    assert AiGone("main~1700000000.1", paired=True) in events  # type: ignore[arg-type]
    assert last_call(events).choice(Mode.WHISPER).why == PAIRED
    _, events = run(state, [user("TakeoverFallback", 1, uid="1700000000.1")])
    assert events[0] == FellBack("main~1700000000.1")  # type: ignore[arg-type]


def test_an_ai_that_leaves_a_listener_pairs_nobody() -> None:
    _, events = run(talking_to_ai(), [mode("monitor"), leave(2), hangup(2)])
    assert AiGone("main~1700000000.1", paired=False) in events  # type: ignore[arg-type]


def test_a_pair_whose_agent_goes_is_no_pair_any_more() -> None:
    _, events = run(talking_to_ai(), [mode("takeover"), leave(2), hangup(2), hangup(9)])
    assert last_call(events).choice(Mode.WHISPER).why == AI_LEFT


@pytest.mark.parametrize("by", [1, 2])
def test_a_blind_transfer_ends_the_call_with_this_ai(by: int) -> None:
    other = 3 - by
    transfer = {"transfereruniqueid": f"1700000000.{by}", "transfereeuniqueid": f"1700000000.{other}"}
    state, events = run(talking_to_ai(), [m("BlindTransfer", result="Success", **transfer)])
    assert events == [CallGone("main~1700000000.1", "transferred")]  # type: ignore[arg-type]
    assert run(state, [hangup(2), hangup(1)])[1] == []
    assert run(talking_to_ai(), [m("BlindTransfer", result="Fail", **transfer)])[1] == []


def test_a_blind_transfer_of_somebody_else_ends_no_call() -> None:
    """Asterisk names no transferee where three or more are in the bridge."""
    inline = m("Status", **channel(4), application="AudioSocket", data=f"{PATCH},127.0.0.1:9093")
    state, _ = run(talking_to_ai(), [inline])
    assert run(state, [m("BlindTransfer", result="Success", transfereruniqueid="1700000000.7")])[1] == []


def test_a_merge_hands_the_ai_to_the_caller_who_is_in_its_bridge_now() -> None:
    """An attended transfer: somebody called the AI and then joined a customer to it."""
    state, _ = run(talking_to_ai(), [*dial(5, 6, "bob", "PJSIP/bob-6")])
    _, events = run(state, [leave(1), enter(5)])
    assert events[0] == CallGone("main~1700000000.1", "transferred")  # type: ignore[arg-type]
    assert last_call(events).id == "main~1700000000.5"


def test_a_masquerade_changes_the_name_and_not_the_call() -> None:
    rename = m("Rename", channel="PJSIP/c1-1", newname="PJSIP/new-9", uniqueid="1700000000.1")
    state, events = run(talking_to_ai(), [rename])
    assert (last_call(events).channels.caller, last_call(events).id) == ("PJSIP/new-9", "main~1700000000.1")
    state, _ = run(state, [mode("monitor")])
    _, events = run(state, [m("Rename", channel=AGENT, newname=AGENT + "-x", uniqueid="1700000000.9")])
    assert isinstance(events[0], AgentPresent)
    assert events[0].channel == AGENT + "-x"


# ---- what the parties do ----


def test_a_digit_counts_from_the_caller_alone_and_once() -> None:
    state = talking_to_ai()
    digits = [
        m("DTMFEnd", **channel(1), digit="0", direction="Received"),
        m("DTMFEnd", **channel(2), digit="0", direction="Sent"),
        m("DTMFEnd", **channel(2), digit="9", direction="Received"),
        m("DTMFEnd", **channel(7), digit="9", direction="Received"),
    ]
    assert run(state, digits)[1] == [Dtmf("main~1700000000.1", "caller", "0")]  # type: ignore[arg-type]


def test_talking_is_told_for_each_party() -> None:
    state, _ = run(talking_to_ai(), [mode("takeover")])
    agent = {"channel": AGENT, "uniqueid": "1700000000.9"}
    talk = [m("ChannelTalkingStart", **channel(1)), m("ChannelTalkingStop", **channel(2))]
    _, events = run(state, [*talk, m("ChannelTalkingStart", **agent), m("ChannelTalkingStart", **channel(7))])
    told = [(event.role, event.on) for event in events if isinstance(event, Talking)]
    assert told == [("caller", True), ("ai", False), ("agent", True)]


def test_the_dialplan_can_ask_for_a_human_in_its_own_call() -> None:
    state = talking_to_ai()
    _, events = run(state, [user("TakeoverHuman", 1, reason="angry", urgency="urgent")])
    assert events == [HumanAsked("main~1700000000.1", "angry", "urgent")]  # type: ignore[arg-type]
    _, events = run(state, [user("TakeoverHuman", 1, reason="x", urgency="apocalypse")])
    assert isinstance(events[0], HumanAsked)
    assert events[0].priority == "normal"
    assert run(state, [user("TakeoverHuman", 7, reason="x")])[1] == []


@pytest.mark.parametrize(
    ("direct", "technology", "notes"),
    [
        ("10.0.0.1:4000", "native_rtp", ("direct-media",)),
        ("(null)", "native_rtp", ("same-codec-without-hook",)),
        ("(null)", "simple_bridge", ()),
    ],
)
def test_what_a_look_at_the_call_found_is_noted(direct: str, technology: str, notes: tuple[str, ...]) -> None:
    look = m("*probed", uniqueid="1700000000.1", direct=direct, technology=technology)
    state, events = run(talking_to_ai(), [look])
    assert state.calls["1700000000.1"].notes == notes
    assert len(events) == (1 if notes else 0)


def test_a_missing_dialplan_makes_every_mode_impossible_until_it_is_there() -> None:
    unfit = replace(START, unfit="install it")
    state, events = run(unfit, [*dial(1, 2), enter(2), enter(1)])
    assert {choice.why for choice in last_call(events).modes} == {"install it"}
    _, events = run(state, [m("*fitness", why="")])
    assert last_call(events).choice(Mode.TAKEOVER).possible


# ---- resync ----


def test_resync_keeps_what_only_we_know_and_forgets_what_is_gone() -> None:
    state, _ = run(talking_to_ai(), [m("*probed", uniqueid="1700000000.1", technology="native_rtp")])
    state, _ = run(state, [*dial(5, 6), enter(6, "b5"), enter(5, "b5")])
    rows = [
        m("Status", **channel(1), application="Dial", data="PJSIP/ai,30", bridgeid="b1", linkedid="L"),
        m("Status", **channel(2), application="AppDial", bridgeid="b1", linkedid="L"),
    ]
    bridges = [m("BridgeListItem", bridgeuniqueid="b1", bridgetype="basic")]
    read, snapshot = resync(state, rows, bridges, datetime(2027, 1, 1, tzinfo=UTC))
    assert list(read.calls) == ["1700000000.1"]
    call = snapshot.events[0]
    assert isinstance(call, CallChanged)
    assert call.call.answered_at == NOW
    assert call.call.notes == ("same-codec-without-hook",)


def test_resync_finds_an_ai_that_is_still_ringing() -> None:
    rows = [
        m("Status", **channel(1), application="Dial", data="PJSIP/ai,30,g", linkedid="L"),
        m("Status", **channel(2), application="AppDial", linkedid="L"),
    ]
    state, snapshot = resync(START, rows, [], NOW)
    assert snapshot.events == ()
    _, events = run(state, [enter(2), enter(1)])
    assert last_call(events).ai.name == "sip-bot"


def test_events_that_are_older_than_the_snapshot_do_no_harm() -> None:
    """They waited while it was read: each states a fact, and the last one is the truth."""
    state = talking_to_ai()
    rows = [
        m("Status", **channel(1), application="Dial", data="PJSIP/ai", bridgeid="b1", linkedid="L"),
        m("Status", **channel(2), application="AppDial", bridgeid="b1", linkedid="L"),
    ]
    read, _ = resync(state, rows, [m("BridgeListItem", bridgeuniqueid="b1")], NOW)
    again, events = run(read, [*dial(1, 2), enter(2), enter(1)])
    assert events == []
    assert again.calls == read.calls
