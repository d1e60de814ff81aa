"""Whatever AMI says, in whatever pieces: nothing raises, nothing grows without end, and no call is invented."""

import asyncio
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.adapter.tables import Rule
from connector.asterisk import wire
from connector.asterisk.client import Address, Connection
from connector.asterisk.facts import State
from connector.asterisk.resync import resync
from connector.asterisk.translate import fold
from connector.asterisk.wire import Message
from connector.domain.calls import Mode
from connector.domain.errors import BadValue
from connector.domain.events import AgentPresent, CallChanged, CallGone
from tests.support.fake_ami import load

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = State("main", (Rule("bot", re.compile("^PJSIP/ai")), Rule("socket", re.compile("^AudioSocket/"))))
UUID = "0b6e3ea4-8f5d-4a0b-9d4e-2f9d1f2c3b4a"

ids = st.sampled_from(["1.1", "1.2", "1.3", "1.4", ""])
names = st.sampled_from(["PJSIP/caller-1", "PJSIP/ai-2", f"AudioSocket/h:1-{UUID}", "Local/x@y-1;1", ""])
words = st.sampled_from(
    ["takeover", "monitor", "busy", "ANSWER", "Success", "Received", "stasis", "basic", "", "b1", "b2"]
)
KEYS = """
channel uniqueid linkedid destchannel destuniqueid dialstring dialstatus bridgeuniqueid bridgetype bridgecreator newname
userevent id uid agent mode instance reason by was why paired direction digit result transfereruniqueid
transfereeuniqueid tenant queue airef recording calleridnum technology direct application data bridgeid
"""
keys = KEYS.split()
events = st.sampled_from([*sorted(wire.EVENTS), "*probed", "*fitness", "*transferred", "Status", "Unknown"])
USER_EVENTS = """
TakeoverCall TakeoverAi TakeoverMode TakeoverRefused TakeoverEnded TakeoverFallback TakeoverHuman
TakeoverTransfer Other
"""
user_events = st.sampled_from(USER_EVENTS.split())


def m(event: str, **headers: str) -> Message:
    return Message({"event": event, **headers})


CALL = [
    m("Newchannel", uniqueid="1.1", channel="PJSIP/caller-1"),
    m("DialBegin", uniqueid="1.1", destuniqueid="1.2", destchannel="PJSIP/ai-2", dialstring="ai"),
    m("BridgeEnter", uniqueid="1.2", bridgeuniqueid="b1"),
    m("BridgeEnter", uniqueid="1.1", bridgeuniqueid="b1"),
]
AGENT = m(
    "UserEvent",
    userevent="TakeoverMode",
    uniqueid="1.3",
    uid="1.1",
    mode="takeover",
    **dict.fromkeys(("channel", "agent"), f"AudioSocket/h:1-{UUID}"),
)
preludes = st.sampled_from([[], CALL, [*CALL, AGENT]])


@st.composite
def messages(draw: st.DrawFn) -> Message:
    headers = draw(st.dictionaries(st.sampled_from(keys), st.one_of(ids, names, words, st.text(max_size=8))))
    headers |= {"uniqueid": draw(ids), "channel": draw(names), "userevent": draw(user_events)}
    variables = draw(st.dictionaries(st.sampled_from(["TK_ID", "TK_UID", "TK_MODE", "TK_INSTANCE", "TK_ROLE"]), words))
    return Message({"event": draw(events), **headers}, variables)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    message = wire.parse(text)
    assert all(key == key.lower() for key in message.headers)
    wire.event_name(text)
    wire.version_of(text)


@given(preludes, st.lists(messages(), max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_events_leaves_a_sound_state(prelude: list[Message], sequence: list[Message]) -> None:
    state, live = START, set[str]()
    for message in (*prelude, *sequence):
        state, told = fold(state, message, NOW)
        for event in told:
            if isinstance(event, CallChanged):
                live.add(event.call.id)
                assert event.call.channels.caller_id in state.channels
            elif isinstance(event, CallGone):
                live.discard(event.call)
            elif isinstance(event, AgentPresent):
                assert event.call in live
    assert live == {state.id(caller) for caller, call in state.calls.items() if call.shown}
    assert len({call.ai for call in state.calls.values() if call.ai}) == sum(1 for c in state.calls.values() if c.ai)


@given(preludes, st.lists(messages(), max_size=10), st.lists(messages(), max_size=10), st.lists(messages(), max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_listing_is_read_over_any_past(
    prelude: list[Message], past: list[Message], rows: list[Message], bridges: list[Message]
) -> None:
    state = START
    for message in (*prelude, *past):
        state, _ = fold(state, message, NOW)
    state, snapshot = resync(state, rows, bridges, NOW)
    calls = [event.call.id for event in snapshot.events if isinstance(event, CallChanged)]
    assert sorted(calls) == sorted({state.id(caller) for caller in state.calls})
    assert set(state.channels) <= {row["uniqueid"] for row in rows}


@pytest.mark.parametrize("recording", ["t1", "t2", "t4"])
def test_everything_forgotten_however_often_a_recording_is_cut_and_repeated(recording: str) -> None:
    said = [wire.parse(block.text()) for step in load(recording).values() for block in step.said]
    said = [message for message in said if not message["actionid"]]
    for cut in range(0, len(said), 7):
        state = START
        for message in [*said[cut:], *said]:
            state, _ = fold(state, message, NOW)
        assert (state.calls, state.agents, state.ais) == ({}, {}, {})


hostile = st.text(min_size=1, max_size=60)


@given(hostile)
def test_no_value_breaks_out_of_an_action(text: str) -> None:
    patch = wire.Patch("127.0.0.1", 1, UUID, False, "takeover-1.1", "PJSIP/a-1", "1.1", "PJSIP/b-1", "me", 5)
    for field in ("host", "uuid", "channel_id", "caller", "caller_id", "ai", "instance"):
        facts = {name: getattr(patch, name) for name in wire.Patch.__slots__} | {field: text}
        try:
            action = wire.originate(wire.Patch(**facts), Mode.TAKEOVER, 5000)
            wire.guard(action)
        except BadValue:
            continue
        for value in action.values():
            for line in (value,) if isinstance(value, str) else value:
                assert not re.search(r'[\r\n,"${}()&|\\ ](?<!\(slin\))', line.replace("c(slin)", ""))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
@settings(max_examples=30, deadline=None)
def test_however_the_bytes_are_cut_the_events_are_the_same(sizes: list[int]) -> None:
    text = "".join(f"Event: UserEvent\r\nUserEvent: X\r\nName: Grüße {n} 😀\r\n\r\n" for n in range(30)).encode()

    async def run() -> list[str]:
        seen: list[str] = []
        connection = Connection("x", Address("h", 1, "u", "s"), lambda message: seen.append(message["name"]))
        protocol = connection._protocol
        protocol.connection_made(asyncio.Transport())
        position, turn = 0, 0
        while position < len(text):
            size = sizes[turn % len(sizes)]
            protocol.data_received(text[position : position + size])
            position, turn = position + size, turn + 1
        return seen

    assert asyncio.run(run()) == [f"Grüße {n} 😀" for n in range(30)]
