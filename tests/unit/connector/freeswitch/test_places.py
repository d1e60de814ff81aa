"""AIs that are not bridged with the caller: on his own channel, or in a conference with him."""

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from connector.adapter.tables import Rule
from connector.domain.calls import Call, Mode, Topology
from connector.domain.events import AgentPresent, AiGone, CallChanged, CallGone, Dtmf, PbxEvent
from connector.freeswitch import attach, ground
from connector.freeswitch.facts import DEAF, ENDLESS, QUIET, State
from connector.freeswitch.ground import Ground, Lent
from connector.freeswitch.resync import Look, conferences, missed, resync
from connector.freeswitch.wire import MAX_COMMAND, Message, Reader

from .test_translate import AT, DATA, bridged, message, mode, told

RULES = (
    Rule("bot", re.compile("^sofia/internal/ai-")),
    Rule("stream", re.compile("^media-bug/audio_stream$")),
    Rule("app", re.compile("^socket/10[.]0[.]0[.]9:")),
)
START = State("main", RULES)
HOOK = {"variable_takeover_id": "c", "variable_takeover_queue": "sales"}
SOCKET = {"application": "socket", "application_data": "10.0.0.9:8084 async full"}


def follow(messages: Iterable[Message], state: State = START) -> tuple[State, list[PbxEvent]]:
    return told(messages, state)


def caller(**variables: str) -> Message:
    return message("CHANNEL_CREATE", "c", channel_name="sofia/internal/caller@x", **variables)


def bug(name: str, function: str) -> Message:
    return message(f"MEDIA_BUG_{name}", "c", media_bug_function=function)


def member(action: str, channel: str, room: str = "r", **headers: str) -> Message:
    return message(
        "conference::maintenance",
        channel,
        action=action,
        conference_unique_id=room,
        **{"conference_name": "room", "member_id": "3", **headers},
    )


def last(events: Iterable[PbxEvent]) -> Call:
    return [event.call for event in events if isinstance(event, CallChanged)][-1]


@pytest.mark.parametrize(
    ("name", "topology", "ai"),
    [
        ("takeover", Topology.DIALLED, "sofia/internal/ai-"),
        ("t2", Topology.INLINE, "media-bug/displace"),
        ("t3", Topology.CONFERENCE, "sofia/internal/ai-"),
        ("t4", Topology.INLINE, "socket/127.0.0.1:"),
    ],
)
def test_what_a_real_freeswitch_said_of_a_takeover_in_each_place(name: str, topology: Topology, ai: str) -> None:
    """Engaged in takeover, a digit, the AI leaves, the caller hangs up; each is told once, and in this order."""
    rules = (Rule("bot", re.compile("^sofia/internal/ai-")), Rule("bot", re.compile("^media-bug/displace|^socket/")))
    messages = Reader().feed((DATA / f"{name}.txt").read_bytes())
    _, events = follow(messages, State("main", rules))
    [place] = [place for place, event in enumerate(events) if isinstance(event, AgentPresent)]
    call = last(events[:place])
    assert (call.topology, call.ai.name, call.queue) == (topology, "bot", "sales")
    assert call.channels.ai.startswith(ai)
    [present] = [event for event in events if isinstance(event, AgentPresent)]
    assert (present.mode, present.name, present.instance) == (Mode.TAKEOVER, "Ann Ä", "node-1")
    told = [event for event in events if not isinstance(event, CallChanged | AgentPresent)]
    assert told[:2] == [Dtmf(call.id, "caller", "5"), AiGone(call.id, True)]
    assert sorted(type(event).__name__ for event in told[2:]) == ["AgentGone", "CallGone"]
    assert next(event.why for event in told if isinstance(event, CallGone)) == "hangup"


def test_a_media_bug_that_a_rule_names_is_an_ai() -> None:
    state, events = follow([caller(), bug("START", "session_record"), bug("START", "audio_stream")])
    call = last(events)
    assert (call.topology, call.ai.name, call.channels.ai) == (Topology.INLINE, "stream", "media-bug/audio_stream")
    assert all(call.choice(one).possible for one in Mode)
    assert state.ground("c") == Ground("c", "", Topology.INLINE, "media-bug/audio_stream")
    state, events = follow([bug("STOP", "session_record"), bug("STOP", "audio_stream")], state)
    assert events[0] == AiGone(call.id, False)
    assert not last(events).choice(Mode.TAKEOVER).possible


@pytest.mark.parametrize(("function", "seen"), [("openai_stream", True), ("session_record", False), ("audio", False)])
def test_the_hook_makes_an_ai_of_a_media_bug_that_no_rule_names(function: str, seen: bool) -> None:
    """Whether it comes before the bug or after it."""
    for messages in (
        [caller(), bug("START", function), message("takeover::call", "c", **HOOK)],
        [caller(), message("takeover::call", "c", **HOOK), bug("START", function)],
    ):
        _, events = follow(messages)
        assert bool(events) is seen
        if seen:
            assert (last(events).queue, last(events).ai.name) == ("sales", "ai")
    assert not follow([caller(), bug("START", "openai_stream")])[1]


def test_an_application_is_an_ai_and_its_end_pairs_who_is_spoken_with() -> None:
    messages = [
        caller(),
        message("CHANNEL_EXECUTE", "c", application="bridge", application_data="socket/10.0.0.9:1"),
        message("CHANNEL_EXECUTE", "c", **SOCKET),
        message("CHANNEL_EXECUTE", "c", application="playback", application_data="hello.wav"),
    ]
    state, events = follow(messages)
    assert [type(event) for event in events] == [CallChanged]
    assert (last(events).topology, last(events).ai.name) == (Topology.INLINE, "app")
    over = message("CHANNEL_EXECUTE_COMPLETE", "c", application="playback", application_data="hello.wav")
    state, events = follow([over, mode("takeover")], state)
    assert len(events) == 1
    done = [message("CHANNEL_EXECUTE_COMPLETE", "c", **SOCKET), message("takeover::paired", "c")]
    state, events = follow(done, state)
    assert events[0] == AiGone(state.id("c"), True)
    assert len(events) == 2, "told once"


def test_an_agent_speaks_only_where_silence_flows_while_the_application_says_nothing() -> None:
    call = last(follow([caller(), message("CHANNEL_EXECUTE", "c", **SOCKET)])[1])
    assert {one: call.choice(one).why for one in Mode} == {
        Mode.MONITOR: "",
        Mode.WHISPER: "",
        Mode.BARGE: QUIET,
        Mode.TAKEOVER: QUIET,
    }
    flows = {"variable_send_silence_when_idle": "-1"}
    call = last(follow([caller(), message("CHANNEL_EXECUTE", "c", **SOCKET, **flows)])[1])
    assert all(call.choice(one).possible for one in Mode)


def test_an_ai_that_its_socket_bridges_is_a_dialled_one() -> None:
    state, _ = follow([caller(), message("CHANNEL_EXECUTE", "c", **SOCKET)])
    state, events = follow(bridged(), state)
    assert (last(events).topology, last(events).channels.ai_id) == (Topology.DIALLED, "a")
    human = message("CHANNEL_CREATE", "h", channel_name="sofia/internal/anna@x")
    _, events = follow([human, message("CHANNEL_BRIDGE", "c", bridge_a_unique_id="c", bridge_b_unique_id="h")], state)
    assert events == [CallGone(state.id("c"), "transferred")]


def test_a_media_bug_that_begins_again_brings_the_ai_back() -> None:
    state, _ = follow([caller(), bug("START", "audio_stream"), mode("takeover"), bug("STOP", "audio_stream")])
    assert state.calls["c"].paired
    state, events = follow([bug("START", "audio_stream")], state)
    assert last(events).choice(Mode.BARGE).possible
    assert not state.calls["c"].left


def test_a_conference_with_one_ai_is_the_call_of_whom_the_hook_marks() -> None:
    ai = message("CHANNEL_CREATE", "a", channel_name="sofia/internal/ai-1@x")
    friend = message("CHANNEL_CREATE", "f", channel_name="sofia/internal/friend@x")
    joined = [member("add-member", one) for one in ("f", "c", "a")]
    state, events = follow([friend, caller(**HOOK), ai, *joined])
    call = last(events)
    assert (call.topology, call.channels.caller_id, call.channels.ai_id) == (Topology.CONFERENCE, "c", "a")
    assert not state.alone("c", "a")
    where = state.ground("c")
    assert where is not None
    assert where.relation == "room relate 3 3"
    assert "nobody) relate 3 3 nospeak" not in ground.mute(where, "p")
    assert ground.mute(where, "p").endswith("? room : nobody)} relate 3 3 nospeak")
    alone = follow([member("del-member", "f")], state)[0].ground("c")
    assert alone is not None
    assert ground.mute(alone, "p").endswith("? c : nobody)} start write mute 1")
    assert ground.audible(alone) == [
        "uuid_audio a stop",
        "uuid_audio c start write mute 0",
        "conference room relate 3 3 clear",
    ]
    _, left = follow([mode("takeover"), member("del-member", "a")], state)
    assert AiGone(call.id, True) in left
    _, gone = follow([member("del-member", "c")], state)
    assert gone == [CallGone(call.id, "transferred")]
    ended = [member("del-member", "c", answer_state="hangup"), message("CHANNEL_HANGUP_COMPLETE", "c")]
    assert follow(ended, state)[1] == [CallGone(call.id, "hangup")]


def test_who_comes_into_the_conference_of_a_takeover_is_told_from_who_is_in_it_already() -> None:
    ai = message("CHANNEL_CREATE", "a", channel_name="sofia/internal/ai-1@x")
    friends = [message("CHANNEL_CREATE", one, channel_name=f"sofia/internal/{one}@x") for one in ("f", "g")]
    state, _ = follow([caller(**HOOK), ai, *friends, member("add-member", "c"), member("add-member", "a")])
    listened = follow([mode("barge"), member("add-member", "f")], state)[0]
    assert listened.joined_by("f") == []
    taken = follow([mode("takeover"), member("add-member", "f"), member("add-member", "g", room="else")], state)[0]
    [(agent, where)] = taken.joined_by("f")
    assert (agent.call, where) == ("c", taken.ground("c"))
    assert [taken.joined_by(one) for one in ("c", "a", "g", "stranger")] == [[], [], [], []]


@pytest.mark.parametrize(
    ("name", "number"), [("r;x", "1"), ("r x", "1"), ("${x}", "1"), ("r", "1 2"), ("r", ""), ("r", "²")]
)
def test_a_conference_that_could_break_out_of_its_command_is_not_named_in_one(name: str, number: str) -> None:
    ai = message("CHANNEL_CREATE", "a", channel_name="sofia/internal/ai-1@x")
    joined = [member("add-member", one, conference_name=name, member_id=number) for one in ("c", "a")]
    state, _ = follow([caller(), ai, *joined])
    assert state.ground("c") == Ground("c", "a", Topology.CONFERENCE, alone=True)


def test_two_ais_or_none_are_no_call() -> None:
    people = [message("CHANNEL_CREATE", one, channel_name="sofia/internal/ai-1@x") for one in ("a", "b")]
    joined = [member("add-member", one) for one in ("c", "a", "b")]
    assert len(follow([caller(), *people, joined[1], joined[2], joined[0]])[1]) == 0
    assert not follow([caller(), joined[0]])[1]


def test_what_a_policy_asks_for_and_cannot_be_done_is_refused_with_the_reason() -> None:
    for policy, why in (({"deaf": frozenset({"stream"})}, DEAF), ({"hung_up": frozenset({"any"})}, ENDLESS)):
        rules = (*RULES, Rule("any", re.compile("^media-bug/other")))
        function = "audio_stream" if why is DEAF else "other"
        state = replace(START, rules=rules, **policy)  # type: ignore[arg-type]
        call = last(follow([caller(), bug("START", function)], state)[1])
        assert call.choice(Mode.TAKEOVER).why == why
        assert call.choice(Mode.BARGE).possible
    known = replace(START, hung_up=frozenset({"stream"}))
    assert last(follow([caller(), bug("START", "audio_stream")], known)[1]).choice(Mode.TAKEOVER).possible


ROOMS = (
    '[{"conference_name": "n", "conference_uuid": "r", "members": [{"uuid": "a"}, {"uuid": "c"}, {"type": "x"}]},'
    ' {"members": null}, 3]'
)
DUMPS = {
    "c": "Unique-ID: c\nChannel-Name: sofia/internal/caller@x\nvariable_takeover_id: c\n\n",
    "a": "Unique-ID: a\nChannel-Name: sofia/internal/ai-1@x\n\n",
}


@pytest.mark.parametrize("kind", ["conference", "bug", "socket", "application"])
def test_each_is_read_back_after_a_restart_and_by_the_later_look(kind: str) -> None:
    running = {"application": "playback", "application_data": "x"}
    if kind == "application":
        running = SOCKET
    channels = [{"uuid": "c", "name": "sofia/internal/caller@x", **running}]
    dumps = {"c": DUMPS["c"]}
    look = Look(channels, [], dumps)
    match kind:
        case "conference":
            ai = {"uuid": "a", "name": "sofia/internal/ai-1@x"}
            look = replace(look, channels=[*channels, ai], dumps=DUMPS, rooms=conferences(ROOMS))
        case "bug":
            look = replace(look, bugs={"c": ["session_record", "audio_stream"]})
        case "socket":
            dumps["c"] = dumps["c"].replace("\n\n", "\nvariable_socket_host: 10.0.0.9:8084\n\n")
    state, snapshot = resync(START, look, AT)
    [changed] = snapshot.events
    assert isinstance(changed, CallChanged)
    assert changed.call.topology is (Topology.CONFERENCE if kind == "conference" else Topology.INLINE)
    assert resync(state, look, AT)[1] == snapshot
    late, events = follow(missed(START, look))
    assert last(events).topology is changed.call.topology
    assert list(missed(late, look)) == []


@pytest.mark.parametrize("text", ["", "-ERR conference Command not found!", "{}", "[1, {}]", "[{}, null]", "["])
def test_no_conferences(text: str) -> None:
    assert conferences(text) == {}


@pytest.mark.parametrize(
    ("bugs", "right"),
    [
        ("stream audio", True),
        ("session_record stream audio eavesdrop eavesdrop", True),
        ("stream eavesdrop", False),
        ("stream eavesdrop audio", False),
        ("audio stream eavesdrop", False),
        ("audio eavesdrop stream", False),
    ],
)
def test_the_order_in_which_a_speaker_is_heard_and_the_ai_is_not(bugs: str, right: bool) -> None:
    assert attach.in_order(bugs.split(), "stream") is right


def test_who_came_last_is_heard_whoever_listens_out_of_order() -> None:
    bugs = ["stream", "eavesdrop", "audio", "eavesdrop"]
    assert not attach.in_order(bugs, "stream")
    assert attach.in_order(bugs, "stream", last=True)
    assert not attach.in_order(bugs[:-1], "stream", last=True)


def test_the_order_of_bugs_is_read_from_what_the_pbx_lists() -> None:
    listing = "<media-bugs>\n" + "".join(
        f" <media-bug>\n  <function>{one}</function>\n  <target>x</target>\n </media-bug>\n" for one in ("a", "b")
    )
    assert attach.functions(listing) == ["a", "b"]
    assert attach.functions("") == []


@pytest.mark.parametrize(
    ("target", "plain"), [("/srv/a.wav", True), ("wss://ai.example/x?y=1", True), ("a b", False), ("${x}", False)]
)
async def test_a_media_bug_is_ended_by_its_target_unless_that_could_break_out(target: str, plain: bool) -> None:
    class Listing:
        async def api(self, *_: str) -> list[str]:
            listed = ("record", "t"), ("displace", target)
            return ["".join(f"<function>{name}</function>\n  <target>{one}</target>\n" for name, one in listed)]

    where = Ground("c", "", Topology.INLINE, "media-bug/displace")
    found = await attach.target(Listing(), where)  # type: ignore[arg-type]  # all it needs of a connection
    assert found == (target if plain else "")
    assert ground.end(where, found) == ((f"uuid_displace c stop {found}",) if plain else None)


@pytest.mark.parametrize(
    "where",
    [
        Ground("c" * 36, "a" * 36, Topology.DIALLED),
        Ground("c" * 36, "a" * 36, Topology.CONFERENCE),
        Ground("c" * 36, "a" * 36, Topology.CONFERENCE, relation="r" * 128 + " relate 2 1"),
        Ground("c" * 36, "", Topology.INLINE, "media-bug/audio_stream"),
        Ground("c" * 36, "", Topology.INLINE, "socket/10.0.0.9:8084"),
    ],
)
def test_every_hook_frees_the_floor_and_fits_in_a_command(where: Ground) -> None:
    hook = ground.give_back(where, "p" * 36, Lent("a:b:c", watched=True))
    assert len(hook) < MAX_COMMAND
    assert hook.count("${") == hook.count("}")
    assert hook.index("delete_ifmatch") < hook.index("uuid_audio") < hook.index("takeover_fallback")
