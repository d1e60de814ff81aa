"""A fake's events are those of a real FreeSWITCH: its headers, in its order, with other values."""

import pytest

from connector.freeswitch.wire import Reader
from tests.support.esl_recorded import DATA, recorded, told


def names(data: bytes) -> list[str]:
    body = data.partition(b"\n\n")[2]
    return [line.partition(b":")[0].decode() for line in body.partition(b"\n\n")[0].splitlines()]


@pytest.mark.parametrize("kind", recorded())
def test_an_event_told_anew_has_the_headers_of_the_recorded_one(kind: str) -> None:
    headers = {
        name: "x" for name, _ in recorded()[kind] if name not in ("Event-Name", "Event-Subclass", "Content-Length")
    }
    given = told(kind, "body" if "Content-Length" in dict(recorded()[kind]) else "", **headers)
    assert names(given) == [name for name, _ in recorded()[kind]]
    [message] = Reader().feed(given)
    assert message.event == kind


def test_nothing_of_the_recorded_call_is_left_in_another_one() -> None:
    ids = {message["unique-id"] for file in DATA.glob("*.txt") for message in Reader().feed(file.read_bytes())} - {""}
    assert ids
    for kind in recorded():
        [message] = Reader().feed(told(kind))
        said = " ".join(message.headers.values())
        assert not any(one in said for one in ids), (kind, said)


def test_the_values_are_the_new_ones_everywhere() -> None:
    ended = told("CHANNEL_HANGUP_COMPLETE", **{"Unique-ID": "u", "Hangup-Cause": "USER_BUSY", "variable_x": "ä:%0A"})
    assert ended.count(b"USER_BUSY") == 2, "a real one says it twice"
    [message] = Reader().feed(ended)
    assert (message["unique-id"], message.variable("x")) == ("u", "ä:%0A")
