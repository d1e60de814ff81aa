"""AMI text: parsing, the guards, the action builders, the version gates."""

import re

import pytest

from connector.adapter.guards import decoded
from connector.asterisk import wire
from connector.domain.calls import Mode
from connector.domain.errors import BadValue

UUID = "0b6e3ea4-8f5d-4a0b-9d4e-2f9d1f2c3b4a"


def patch(**changed: object) -> wire.Patch:
    facts: dict[str, object] = {
        "host": "127.0.0.1",
        "port": 9092,
        "uuid": UUID,
        "wideband": False,
        "channel_id": "takeover-1700000000.7",
        "caller": "PJSIP/caller-00000001",
        "caller_id": "1700000000.1",
        "ai": "PJSIP/ai-00000002",
        "instance": "node-1",
        "deadman_s": 5.0,
    }
    return wire.Patch(**{**facts, **changed})  # type: ignore[arg-type]  # any of its fields


def test_a_block_is_read_with_lower_case_keys_and_variables() -> None:
    message = wire.parse("Event: Status\r\nChannel: PJSIP/a-1\r\nVariable: TK_UID=1.2\r\nVariable: X=a=b\r\nEmpty: ")
    assert message.event == "Status"
    assert message["channel"] == "PJSIP/a-1"
    assert message["empty"] == message["absent"] == ""
    assert message.variables == {"TK_UID": "1.2", "X": "a=b"}


def test_of_a_repeated_header_the_first_counts() -> None:
    """A dialplan's own text comes last in a UserEvent: it must not rename the channel that raised it."""
    message = wire.parse("Event: UserEvent\r\nUniqueid: 1.1\r\nUserEvent: TakeoverMode\r\nUniqueid: 9.9")
    assert message["uniqueid"] == "1.1"


def test_the_banner_is_no_header() -> None:
    assert wire.parse("Asterisk Call Manager/11.0.0\r\nResponse: Success").ok


def test_an_event_is_named_without_parsing() -> None:
    assert wire.event_name("Event: Newchannel\r\nChannel: x") == "Newchannel"
    assert wire.event_name("Response: Success\r\nEvent: x") == ""


@pytest.mark.parametrize("evil", ["\r\nAction: Command", "\n", "\r", "\0", "\x1b", "\x7f", "\x85", "\u2028"])
def test_control_characters_never_reach_ami(evil: str) -> None:
    with pytest.raises(BadValue, match="control characters") as caught:
        wire.guard({"Action": "Setvar", "Value": f"a{evil}b"})
    assert (caught.value.field, caught.value.value) == ("Value", f"a{evil}b")
    with pytest.raises(BadValue):
        wire.guard({"Action": "Originate", "Variable": ["fine=1", f"bad={evil}"]})


@pytest.mark.parametrize("key", ["Chan nel", "Channel:", "A\r\nB", "", "x" * 33])
def test_a_header_name_is_letters_and_digits(key: str) -> None:
    with pytest.raises(BadValue, match="letters and digits"):
        wire.guard({key: "x"})


def test_a_value_has_a_length() -> None:
    with pytest.raises(BadValue, match="shorten"):
        wire.guard({"Action": "x" * 1001})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel", "PJSIP/a,TK_AI=PJSIP/other"),  # a comma in a Variable header starts a second variable
        ("channel", "PJSIP/a)&System(x"),
        ("channel", "PJSIP/${SHELL(id)}"),
        ("channel", 'PJSIP/a"b'),
        ("channel", "no-technology"),
        ("channel", "PJSIP/a b"),
        ("channel", ""),
        ("unique id", "1.1,2"),
        ("unique id", "1.1\r\n"),
        ("host", "127.0.0.1/x"),
        ("host", "[::1"),
        ("port", "0"),
        ("port", "-1"),
        ("port", "123456"),
        ("uuid", UUID.upper()),
        ("uuid", UUID + "/c(ulaw)"),
        ("instance", "a b"),
        ("instance", "x" * 65),
        ("destination", "ctx,100"),
        ("destination", "ctx,100,1,extra"),
        ("destination", "${X},100,1"),
        ("digits", ""),
        ("digits", "12w"),
        ("digits", "1" * 33),
        ("variable", "SHELL(id)(x)"),
        ("context", "takeover agent"),
    ],
)
def test_each_field_has_an_allow_list(field: str, value: str) -> None:
    with pytest.raises(BadValue) as caught:
        wire.allowed(field, value)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "channel",
    [
        "PJSIP/line-0000002a",
        "PJSIP/anonymous@10.0.0.1-00000001",
        "Local/s@ai-00000001;1",
        "AudioSocket/127.0.0.1:9092-" + UUID,
        "WebSocket/ai/0x7f7d64023af0",
        "SIP/100-00000003",
        "DAHDI/i1/5551234-1",
        "IAX2/trunk-42",
    ],
)
def test_real_channel_names_pass(channel: str) -> None:
    assert wire.allowed("channel", channel) == channel


def test_the_originate_carries_all_the_dialplan_needs() -> None:
    action = wire.originate(patch(), Mode.TAKEOVER, 5000)
    assert action == {
        "Action": "Originate",
        "Channel": f"AudioSocket/127.0.0.1:9092/{UUID}/c(slin)",
        "ChannelId": "takeover-1700000000.7",
        "Context": "takeover-agent",
        "Exten": "takeover",
        "Priority": "1",
        "Async": "true",
        "Timeout": "5000",
        "Variable": [
            "TK_CALLER=PJSIP/caller-00000001",
            "TK_AI=PJSIP/ai-00000002",
            "TK_UID=1700000000.1",
            "TK_INSTANCE=node-1",
            "TK_DEADMAN=5",
        ],
    }
    assert "c(slin16)" in str(wire.originate(patch(wideband=True), Mode.BARGE, 5000)["Channel"])


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "a/b"},
        {"port": 70000},
        {"uuid": "not-a-uuid"},
        {"caller": "PJSIP/a,b"},
        {"ai": ""},
        {"caller_id": "1.1,TK_X=1"},
        {"instance": "a=b,c"},
    ],
)
def test_the_originate_refuses_every_field_that_could_break_out(changed: dict[str, object]) -> None:
    with pytest.raises(BadValue):
        wire.originate(patch(**changed), Mode.TAKEOVER, 5000)


@pytest.mark.parametrize(
    "name", ["Anna", "Zoë, a=b", "a\r\nAction: Logoff", "${SHELL(id)}", "x|y;z\"'", "名" * 100, ""]
)
def test_a_name_goes_to_the_pbx_and_back_unable_to_break_out(name: str) -> None:
    action = wire.originate(patch(name=name), Mode.TAKEOVER, 5000)
    wire.guard(action)
    sent = next((text for text in action["Variable"] if text.startswith("TK_NAME=")), "TK_NAME=")
    assert re.fullmatch(r"TK_NAME=(?:[A-Za-z0-9]|%[0-9A-F]{2})*", sent)
    assert decoded(sent.removeprefix("TK_NAME=")) == "".join(c for c in name if c.isprintable())[:48]


@pytest.mark.parametrize("text", ["%0D%0AEvent: x", "%FF%FE", "A" * 10_000, "%", "é", "%E2%80%AE"])
def test_a_name_from_the_pbx_is_harmless_whoever_wrote_it(text: str) -> None:
    name = decoded(text)
    assert len(name) <= 48
    assert name.isprintable()


def test_hangup_takes_a_name_or_an_id() -> None:
    assert wire.hangup("PJSIP/a-1")["Channel"] == "PJSIP/a-1"
    assert wire.hangup("takeover-1700000000.7")["Channel"] == "takeover-1700000000.7"
    with pytest.raises(BadValue):
        wire.hangup("/.*/")  # a regular expression would hang up everybody


def test_versions_are_read() -> None:
    assert wire.version_of("22.10.1+dfsg+~cs6.17.60671434-1") == (22, 10)
    assert wire.version_of("certified/18.9-cert5") == (18, 9)
    assert wire.version_of("GIT-master-abcdef") is None


@pytest.mark.parametrize(
    ("version", "supported", "wideband"),
    [
        ((16, 28), False, False),
        ((18, 15), False, False),
        ((18, 16), True, False),
        ((19, 8), True, False),
        ((20, 0), False, False),
        ((20, 1), True, False),
        ((20, 17), True, True),
        ((21, 0), True, False),
        ((22, 6), True, False),
        ((22, 10), True, True),
        ((23, 0), True, False),
        ((24, 0), True, True),
        (None, True, True),
    ],
)
def test_what_a_version_has(version: wire.Version | None, supported: bool, wideband: bool) -> None:
    assert wire.since(version, wire.SUPPORTED) is supported
    assert wire.since(version, wire.WIDEBAND) is wideband
