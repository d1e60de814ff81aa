"""Events into calls: what a real FreeSWITCH said of a takeover, in whatever pieces it comes; and what it might say."""

import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.adapter.tables import Rule
from connector.domain.calls import Mode
from connector.domain.events import AgentGone, AgentPresent, AiGone, CallChanged, CallGone, Dtmf, HumanAsked, PbxEvent
from connector.freeswitch.facts import BYPASSED, State
from connector.freeswitch.resync import Look, missed, resync, rows, worth_a_dump
from connector.freeswitch.translate import fold
from connector.freeswitch.wire import Message, Reader

DATA = Path(__file__).parents[3] / "data" / "esl"
RECORDED = (DATA / "takeover.txt").read_bytes()
AT = datetime(2026, 1, 1, tzinfo=UTC)
RULES = (Rule("bot", re.compile("sofia/internal/ai-")),)


def told(messages: Iterable[Message], state: State | None = None) -> tuple[State, list[PbxEvent]]:
    state, events = state or State("main", RULES), []
    for message in messages:
        state, more = fold(state, message, AT)
        events += more
    return state, events


def message(name: str, channel: str = "", **headers: str) -> Message:
    fields = {key.lower().replace("_", "-"): value for key, value in headers.items() if not key.startswith("variable_")}
    variables = {key: value for key, value in headers.items() if key.startswith("variable_")}
    kind = {"event-name": "CUSTOM", "event-subclass": name} if "::" in name else {"event-name": name}
    return Message({**kind, "unique-id": channel, **fields, **variables})


def bridged(caller: str = "c", ai: str = "a", **headers: str) -> list[Message]:
    return [
        message("CHANNEL_CREATE", caller, channel_name="sofia/internal/caller@x", caller_caller_id_number="100"),
        message("CHANNEL_CREATE", ai, channel_name="sofia/internal/ai-1@x"),
        message("CHANNEL_BRIDGE", caller, bridge_a_unique_id=caller, bridge_b_unique_id=ai, **headers),
    ]


def mode(mode: str, patch: str = "p", caller: str = "c") -> Message:
    return message(
        "takeover::mode", takeover_call=caller, takeover_patch=patch, takeover_instance="n", takeover_mode=mode
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_recorded_takeover_in_whatever_pieces_it_comes(seed: int) -> None:
    picks = random.Random(seed)
    reader, rest = Reader(), RECORDED
    messages: list[Message] = []
    while rest:
        size = picks.choice((1, 7, 1000, 65536))
        messages += reader.feed(rest[:size])
        rest = rest[size:]
    state, events = told(messages)
    kinds = [type(event) for event in events]
    assert kinds == [CallChanged, AgentPresent, Dtmf, AiGone, CallChanged, *kinds[5:]]
    assert set(kinds[5:]) == {AgentGone, CallGone}
    first = events[0]
    assert isinstance(first, CallChanged)
    call = first.call
    assert (call.ai.name, call.queue, call.tenant, call.caller.number) == ("bot", "sales", "default", "caller")
    assert call.id == f"main~{call.channels.caller_id}"
    assert all(call.choice(one).possible for one in Mode)
    present = events[1]
    assert isinstance(present, AgentPresent)
    assert (present.mode, present.name, present.instance) == (Mode.TAKEOVER, "Ann Ä", "node-1")
    assert events[2] == Dtmf(call.id, "caller", "5")
    assert events[3] == AiGone(call.id, paired=True)
    assert (state.calls, state.agents, state.channels) == ({}, {}, {})


def test_the_doctors_call_is_seen_by_the_doctor_and_by_nobody_else() -> None:
    marked = [Message({**one.headers, "variable_takeover_role": "test"}) for one in bridged()]
    dumps = {
        "c": f"{DUMP_C.rstrip()}\nvariable_takeover_role: test\n\n",
        "a": f"{DUMP_A.rstrip()}\nvariable_takeover_role: test\n\n",
    }
    look = Look(CHANNELS[:2], CALLS, dumps)
    assert told(marked)[1] == []
    assert resync(State("main", RULES), look, AT)[1].events == ()
    doctor = State("main", RULES, test=True)
    [changed] = told(marked, doctor)[1]
    assert isinstance(changed, CallChanged)
    assert changed.call.ai.name == "bot"
    again, snapshot = resync(doctor, look, AT)
    assert [type(event) for event in snapshot.events] == [CallChanged]
    assert again.test
    assert told(bridged(), doctor)[1] == []


def test_on_an_outbound_call_the_ai_dials_and_the_caller_is_the_other() -> None:
    messages = bridged()
    messages[-1] = message("CHANNEL_BRIDGE", "a", bridge_a_unique_id="a", bridge_b_unique_id="c")
    _, events = told(messages)
    [changed] = events
    assert isinstance(changed, CallChanged)
    assert (changed.call.channels.caller_id, changed.call.channels.ai_id) == ("c", "a")


def test_a_mark_makes_an_ai_without_a_rule_and_two_people_are_no_call() -> None:
    marked = [
        message("CHANNEL_CREATE", "c", channel_name="sofia/x/caller"),
        message("CHANNEL_CREATE", "b", channel_name="sofia/x/somebody", variable_takeover_role="ai"),
        message("CHANNEL_BRIDGE", "c", bridge_a_unique_id="c", bridge_b_unique_id="b"),
    ]
    _, events = told(marked, State("main"))
    [changed] = events
    assert isinstance(changed, CallChanged)
    assert changed.call.ai.name == "ai"
    people = [marked[0], message("CHANNEL_CREATE", "b", channel_name="sofia/x/somebody"), marked[2]]
    assert told(people)[1] == []


@pytest.mark.parametrize(
    "said",
    [{"variable_bypass_media": "true"}, {"channel_state": "CS_HIBERNATE"}, {"channel_read_codec_name": "PROXY"}],
)
def test_a_call_whose_media_passes_by_offers_nothing_and_says_why(said: dict[str, str]) -> None:
    _, events = told(bridged(**said))
    changed = events[-1]
    assert isinstance(changed, CallChanged)
    assert {(choice.possible, choice.why) for choice in changed.call.modes} == {(False, BYPASSED)}


def test_who_is_led_away_from_his_ai_is_transferred() -> None:
    state, _ = told(bridged())
    away = [
        message("CHANNEL_CREATE", "h", channel_name="sofia/internal/person@x"),
        message("CHANNEL_BRIDGE", "c", bridge_a_unique_id="c", bridge_b_unique_id="h"),
    ]
    assert told(away, state)[1] == [CallGone(state.id("c"), "transferred")]


def test_the_ais_end_pairs_only_who_is_spoken_with() -> None:
    for heard, paired in (("monitor", False), ("whisper", False), ("barge", True), ("takeover", True)):
        state, _ = told([*bridged(), mode(heard)])
        _, events = told([message("CHANNEL_HANGUP_COMPLETE", "a")], state)
        assert events[0] == AiGone(state.id("c"), paired)


def test_the_dialplan_asks_for_a_human_for_the_caller_who_runs_in_it() -> None:
    state, _ = told(bridged())
    for asked, priority in (("urgent", "urgent"), ("emergency", "emergency"), ("root", "normal"), ("", "normal")):
        ask = message("takeover::request", "c", takeover_reason="angry", takeover_priority=asked)
        assert told([ask], state)[1] == [HumanAsked(state.id("c"), "angry", priority)]  # type: ignore[arg-type]
    assert told([message("takeover::request", "stranger", takeover_reason="x")], state)[1] == []


def test_the_dialplans_variables_say_why_it_asks_whatever_is_in_the_words() -> None:
    state, _ = told(bridged())
    words = "angry,Takeover-Priority=emergency"
    ask = message("takeover::request", "c", variable_takeover_reason=words, variable_takeover_priority="urgent")
    assert told([ask], state)[1] == [HumanAsked(state.id("c"), words, "urgent")]


def test_what_is_said_of_strangers_changes_nothing() -> None:
    strangers = [
        mode("takeover", caller="nobody"),
        mode("loud"),
        message("takeover::mode"),
        message("takeover::paired", "nobody"),
        message("takeover::fallback", "nobody"),
        message("takeover::refused", takeover_mode="x"),
        message("DTMF", "nobody", dtmf_digit="5"),
        message("CHANNEL_BRIDGE", "nobody", bridge_a_unique_id="x", bridge_b_unique_id="y"),
        message("CHANNEL_HANGUP_COMPLETE", "nobody"),
        message("HEARTBEAT"),
        Message({}),
    ]
    assert told(strangers)[1] == []


DUMP_C = (
    "Unique-ID: c\nChannel-Name: sofia/internal/caller\nvariable_takeover_id: c\nvariable_takeover_queue: sales\n\n"
)
DUMP_A = "Unique-ID: a\nChannel-Name: sofia/internal/ai-1\n\n"
DUMP_P = (
    "Unique-ID: p\nvariable_takeover_role: agent\nvariable_takeover_mode: takeover\nvariable_takeover_call: c\n"
    "variable_takeover_instance: n\nvariable_takeover_name: Ann%2520B\n\n"
)
CHANNELS = [{"uuid": "c", "name": "x"}, {"uuid": "a", "name": "sofia/internal/ai-1"}, {"uuid": "p", "name": "y"}]
CALLS = [{"uuid": "c", "b_uuid": "a"}]


def test_all_is_read_back_after_a_restart() -> None:
    dumps = {"c": DUMP_C, "a": DUMP_A, "p": DUMP_P}
    state, snapshot = resync(State("main", RULES), Look(CHANNELS, CALLS, dumps), AT)
    changed, present = snapshot.events
    assert isinstance(changed, CallChanged)
    assert (changed.call.queue, changed.call.channels.ai_id) == ("sales", "a")
    assert isinstance(present, AgentPresent)
    assert (present.patch, present.mode, present.name) == ("p", Mode.TAKEOVER, "Ann B")
    _, again = resync(state, Look(CHANNELS, CALLS, dumps), AT)
    assert again == snapshot


def test_the_tables_are_late_and_a_channel_without_a_dump_is_none() -> None:
    state, snapshot = resync(
        State("main", RULES), Look(CHANNELS, CALLS, {"c": DUMP_C, "a": "-ERR No such channel!"}), AT
    )
    assert snapshot.events == ()
    dumps = {"c": DUMP_C, "a": DUMP_A, "p": DUMP_P}
    live, _ = told([*bridged(), mode("takeover")])
    assert {"c", "a", "p"} <= set(worth_a_dump(live, [], []))
    _, snapshot = resync(live, Look([], [], dumps), AT)
    assert len(snapshot.events) == 2
    late = list(missed(state, Look([], CALLS, dumps)))
    _, events = told(late, state)
    assert [type(event) for event in events] == [CallChanged, AgentPresent]


@pytest.mark.parametrize("text", ["", "-ERR", "[]", "{}", '{"row_count": 0}', '{"rows": [1, null]}', "{"])
def test_lists_without_rows_are_empty(text: str) -> None:
    assert rows(text) == []
