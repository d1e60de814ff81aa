"""ESL from somebody who means harm: the reader, and adapter and registry behind it, which equal the PBX afterwards."""

import asyncio
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from connector.domain.events import HumanAsked, SnapshotTaken
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.freeswitch.wire import Malformed, Message, Reader
from tests.bench.esl import HOSTILE, flooded
from tests.contract.under_test import followed
from tests.support.esl_server import framed
from tests.support.fake_esl import FakeFreeSwitch
from tests.support.figures import quantile

LAG_S = 0.5
KINDS = ("text/event-plain", "text/event-json", "command/reply", "api/response", "log/data", "text/disconnect-notice")
pieces = st.lists(st.integers(1, 400), max_size=30)
bodies = st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
blocks = st.builds(framed, bodies, st.sampled_from(KINDS))
streams = st.lists(blocks | st.binary(max_size=60), max_size=6).map(b"".join)
names = st.sampled_from(["Caller-Caller-ID-Name", "variable_x", "Takeover-Reason", "DTMF-Digit"])
values = st.text(max_size=80) | st.sampled_from(
    ["a\nUnique-ID: forged", "a\n\nEvent-Name: SHUTDOWN", "%0AUnique-ID: f"]
)


def read(chunks: list[bytes]) -> tuple[list[Message], bool]:
    """What is understood, and whether the stream was found to be no ESL."""
    reader, messages = Reader(), list[Message]()
    try:
        for chunk in chunks:
            messages += reader.feed(chunk)
    except Malformed:
        return messages, True
    return messages, False


@given(streams, pieces)
def test_in_whatever_pieces_the_bytes_come_the_same_is_understood(data: bytes, sizes: list[int]) -> None:
    chunks, rest = list[bytes](), data
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    assert read([*chunks, rest]) == read([data])


@given(names, values)
def test_no_value_becomes_a_header(name: str, value: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    body = f"Event-Name: DTMF\nUnique-ID: true\n{name}: {quote(value, safe='')}\n\n".encode()
    [message], broken = read([framed(body)])
    assert not broken
    assert message.headers == {"event-name": "DTMF", "unique-id": "true", name.lower(): value}


async def test_after_hostile_bytes_and_broken_connections_the_calls_are_those_of_the_pbx() -> None:
    breaking = (
        b"Content-Length: -1\n\n",
        b"Content-Length: 5000\nContent-Type: text/event-plain\n\nEvent-Name: CHAN",
        framed(b"Disconnected, goodbye.\n", "text/disconnect-notice"),
    )
    async with FakeFreeSwitch() as fake:
        rules = (("bot", "^sofia/internal/ai-"),)
        pbx = FreeSwitchPbx("main", FreeSwitchSettings("right", port=fake.port, ais=rules), "node-1")
        async with followed(pbx) as follower:
            callers = [fake.call() for _ in range(3)]
            for number, bytes_ in enumerate((*HOSTILE, *breaking)):
                fake.say(bytes_)
                if bytes_ in breaking:
                    since = len(follower.events)
                    if b"5000" in bytes_:
                        await fake.vanish()
                    fake.hangup(callers.pop(0))
                    callers.append(fake.call())
                    if b"5000" in bytes_:
                        await fake.listen()
                    await follower.event(SnapshotTaken, since=since)
                fake.tell("takeover::request", callers[-1], **{"Takeover-Reason": str(number)})
                await follower.event(HumanAsked, lambda one, text=str(number): one.reason == text)  # type: ignore[misc]
            assert {call.channels.caller_id for call in follower.live().values()} == set(callers) == set(fake.callers())


async def test_a_burst_leaves_the_loop_free_and_the_registry_equal() -> None:
    """A loop that took it in one piece would be away for all of it, however fast the machine."""
    async with asyncio.timeout(90):
        flood = await flooded(20_000)
    assert flood.registry_equal
    assert quantile(flood.lags, 0.99) < max(LAG_S, flood.seconds / 8)
