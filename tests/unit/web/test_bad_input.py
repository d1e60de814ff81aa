"""Hostile and wrong inputs, each with the exact error that a user sees. Nothing crashes, nothing is lost."""

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.domain.calls import Mode, ModeChoice
from connector.domain.errors import ChannelGone, PbxTimeout, PbxUnavailable, TakeoverError, VerbRefused
from connector.domain.events import PbxDown
from media.sdp import BadOffer
from media.sdp import parse as parse_offer
from tests.unit.web.house import House
from web.errors import BadRequest, Fault, Overloaded
from web.settings import SettingsError, parse

# ---- the settings file ----

ONE = "pbx: {m: {kind: asterisk, username: u, secret: s}}\n"
SETTINGS = {
    "empty": ("", "  the file: null is not accepted; it must hold a map of settings; see takeover.example.yaml"),
    "a list": ("- a", '  the file: ["a"] is not accepted; it must hold a map of settings; see takeover.example.yaml'),
    "no pbx": ("{}", "  pbx: it is missing; add it"),
    "empty pbx": ("pbx: {}", "  pbx: {} is not accepted; give at least 1 of them"),
    "a key given twice": ("log: {}\nlog: {}", "  log: line 2 is not accepted; it is given twice; keep one"),
    "an unknown key": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, http: {prot: 1}}",
        "  http.prot: \"prot\" is not accepted; there is no such field; did you mean 'port'?",
    ),
    "an unknown kind": (
        "pbx: {m: {kind: kamailio, secret: s3cret}}",
        "  pbx.m.kind: \"kamailio\" is not accepted; use one of 'asterisk', 'freeswitch'",
    ),
    "no kind": (
        "pbx: {m: {secret: s3cret}}",
        "  pbx.m.kind: it is missing; add it",
    ),
    "a field of the other kind": (
        "pbx: {m: {kind: freeswitch, secret: s3cret, sip_profil: x}}",
        "  pbx.m.sip_profil: \"sip_profil\" is not accepted; there is no such field; did you mean 'sip_profile'?",
    ),
    "a port out of range": (
        "pbx: {m: {kind: asterisk, username: u, secret: s, port: 70000}}",
        "  pbx.m.port: 70000 is not accepted; it should be less than or equal to 65535",
    ),
    "no secret": (
        "pbx: {m: {kind: asterisk, username: u}}",
        "  pbx.m.secret: it is missing; give secret, secret_file or the environment variable TAKEOVER_PBX_M_SECRET",
    ),
    "two secrets": (
        "pbx: {m: {kind: asterisk, username: u, secret: s, secret_file: f}}",
        "  pbx.m.secret: *** is not accepted; give secret or secret_file, not both",
    ),
    "a secret file that is not there": (
        "pbx: {m: {kind: asterisk, username: u, secret_file: /nowhere/s}}",
        (
            '  pbx.m.secret_file: "/nowhere/s" is not accepted; it cannot be read '
            "([Errno 2] No such file or directory: '/nowhere/s')"
        ),
    ),
    "a second action in the AMI user's name": (
        'pbx: {m: {kind: asterisk, username: "u\\r\\nAction: Originate", secret: s}}',
        '  pbx.m.username: "u\\r\\nAction: Originate" is not accepted; it must match ^[^\\x00-\\x1f\\x7f]+$',
    ),
    "a rule that is no regular expression": (
        "pbx: {m: {kind: asterisk, username: u, secret: s, ais: [{name: a, match: '('}]}}",
        (
            '  pbx.m.ais.0.match: "(" is not accepted; give a regular expression that compiles '
            "(missing ), unterminated subpattern at position 0)"
        ),
    ),
    "a destination that is a dial string": (
        "pbx: {m: {kind: asterisk, username: u, secret: s, destinations: {out: PJSIP/0900@trunk}}}",
        (
            '  pbx.m.destinations.out: "PJSIP/0900@trunk" is not accepted; give "context,extension,priority", '
            'like "support,200,1"'
        ),
    ),
    "ports the wrong way round": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, media: {udp_ports: 30000-20000}}",
        '  media.udp_ports: "30000-20000" is not accepted; give a range within 1024-65535, like "20000-20199"',
    ),
    "a single port for all agents": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, media: {udp_ports: 20000-20000}}",
        (
            '  media.udp_ports: "20000-20000" is not accepted; it has 1 port; give 2 or more: each worker needs one '
            "for an agent, and one more while that agent's network changes"
        ),
    ),
    "fewer ports than the workers need": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, media: {workers: 8, udp_ports: 20000-20009}}",
        (
            '  media.udp_ports: "20000-20009" is not accepted; it has 10 ports; give 16 or more: each worker needs one '
            "for an agent, and one more while that agent's network changes"
        ),
    ),
    "tls without its key": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, http: {tls: {cert_file: a.pem}}}",
        '  http.tls: {"cert_file": "a.pem"} is not accepted; give cert_file and key_file, or self_signed: true',
    ),
    "a public address that is none": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, media: {public_addresses: [example.com]}}",
        ('  media.public_addresses.0: "example.com" is not accepted; give an address, like "203.0.113.10"'),
    ),
    "a public url with a path": (
        "{pbx: {m: {kind: asterisk, username: u, secret: s}}, http: {public_url: 'https://a.example/panel'}}",
        (
            '  http.public_url: "https://a.example/panel" is not accepted; give scheme and host, '
            'like "https://takeover.example.com"'
        ),
    ),
    "a public url with a port that is none": (
        ONE + "http: {public_url: 'https://a.example:99999'}",
        (
            '  http.public_url: "https://a.example:99999" is not accepted; give scheme and host, '
            'like "https://takeover.example.com"'
        ),
    ),
    "a public url with a password": (
        ONE + "http: {public_url: 'https://u:p@a.example'}",
        (
            '  http.public_url: "https://u:p@a.example" is not accepted; give scheme and host, '
            'like "https://takeover.example.com"'
        ),
    ),
    "a public url that is not what browsers are served": (
        ONE + "http: {public_url: 'http://a.example', tls: {self_signed: true}}",
        (
            '  http: {"public_url": "http://a.example", "tls": {"self_signed": true}} is not accepted; '
            "with tls the panel is served by https: let public_url begin with https"
        ),
    ),
    "everybody as a proxy": (
        ONE + "http: {trusted_proxies: [0.0.0.0/0]}",
        (
            '  http.trusted_proxies.0: "0.0.0.0/0" is not accepted; name your proxies only; '
            "of everybody, anybody could claim any address"
        ),
    ),
    "an address with the size of its network": (
        ONE + "http: {monitoring: [10.0.0.5/24]}",
        (
            '  http.monitoring.0: "10.0.0.5/24" is not accepted; give the address "10.0.0.5", '
            'or its network "10.0.0.0/24"'
        ),
    ),
    "a network where one address is meant": (
        ONE + "media: {public_addresses: [10.0.0.0/24]}",
        '  media.public_addresses.0: "10.0.0.0/24" is not accepted; give an address, like "203.0.113.10"',
    ),
    "a TURN server without a login": (
        ONE + "media: {ice_servers: [{url: 'turn:a.example', username: u}]}",
        (
            '  media.ice_servers.0: {"url": "turn:a.example", "username": "u"} is not accepted; '
            "a TURN server wants a login: give username and credential, or secret"
        ),
    ),
    "a STUN server that browsers do not take": (
        ONE + "media: {ice_servers: [{url: 'stun://a.example:3478'}]}",
        (
            '  media.ice_servers.0.url: "stun://a.example:3478" is not accepted; '
            'give "stun:HOST:PORT", or "turn:HOST:PORT" with or without "?transport=tcp"'
        ),
    ),
    "a name with capitals": (
        "pbx: {Main: {kind: asterisk, username: u, secret: s}}",
        '  pbx.Main: "Main" is not accepted; use 1 to 32 small letters, digits and hyphens, not first a hyphen',
    ),
    "a part whose fields are all commented out": (
        ONE + "http:",
        "  http: it is empty; give what belongs there, or leave it out",
    ),
    "a path with a NUL": (
        'pbx: {m: {kind: asterisk, username: u, secret_file: "a\\0b"}}',
        '  pbx.m.secret_file: "a\\u0000b" is not accepted; remove the character U+0000',
    ),
    "a path of a user who is not there": (
        ONE + "data_dir: ~nobody-here/data",
        "  data_dir: \"~nobody-here/data\" is not accepted; there is no user 'nobody-here' here; write the whole path",
    ),
    "a folder instead of a certificate": (
        "pbx: {m: {kind: asterisk, username: u, secret: s, tls: true, tls_ca_file: /}}",
        '  pbx.m.tls_ca_file: "/" is not accepted; there is no such file, or it may not be read',
    ),
    "a merge of two parts": (
        "x: &x {secret: s}\npbx: {m: {<<: *x, kind: asterisk}}",
        "  the file: it is not valid YAML (line 2: << is not known here; write out what it stands for)",
    ),
    "a python object": (
        "pbx: !!python/object/apply:os.system ['true']",
        (
            "  the file: it is not valid YAML (could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.system' in \"<unicode string>\", line 1, column 6: "
            "pbx: !!python/object/apply:os.system ... ^)"
        ),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str) -> None:
    text, expected = SETTINGS[name]
    with pytest.raises(SettingsError) as fault:
        parse(text, folder=Path("/nowhere"), variables={})
    assert str(fault.value) == f"settings: 1 fault\n{expected}"


# ---- the API ----


@dataclass(frozen=True)
class Case:
    """A request and the problem that it gets. `{call}` is a live call, `{leg}` a leg of the asker's, `{eng}` its
    engagement there."""

    method: str
    path: str
    body: Any
    status: int
    slug: str
    detail: str
    role: str = "agent"


TURN = {"turn": "1", "speaker": "ai", "text": "Hello", "at": "2026-01-02T03:04:05Z"}
JSON_TYPE = {"Content-Type": "application/json"}

API = {
    "a name instead of a mode": Case(
        "POST", "calls/{call}/engagements", {"mode": "shout", "leg": "{leg}"}, 400, "bad-request",
        "mode: \"shout\" is not accepted; use 'monitor', 'whisper', 'barge' or 'takeover'",
    ),
    "no mode": Case(
        "POST", "calls/{call}/engagements", {"leg": "{leg}"}, 400, "bad-request", "mode: it is missing; add it"
    ),
    "a misspelt field": Case(
        "POST", "calls/{call}/engagements", {"mode": "barge", "leg": "{leg}", "overide": {"reason": "x"}}, 400,
        "bad-request", "overide: \"overide\" is not accepted; there is no such field; did you mean 'override'?",
    ),
    "an override without a reason": Case(
        "POST", "calls/{call}/engagements", {"mode": "barge", "leg": "{leg}", "override": {"reason": ""}}, 400,
        "bad-request", 'override.reason: "" is not accepted; use at least 1 character',
    ),
    "somebody else's leg": Case(
        "POST", "calls/{call}/engagements", {"mode": "barge", "leg": "not-mine"}, 404, "not-found",
        "There is no leg 'not-mine' of yours; open one with POST /api/v1/legs.",
    ),
    "an unknown call": Case(
        "POST", "calls/lab~1.1/engagements", {"mode": "barge", "leg": "{leg}"}, 404, "call-unknown",
        "There is no call 'lab~1.1'.",
    ),
    "a call id with an AMI action in it": Case(
        "GET", "calls/lab~1%0d%0aAction:%20Originate", None, 400, "bad-request",
        'path call: "lab~1\\r\\nAction: Originate" is not accepted; remove the control characters',
    ),
    "a NUL in a filter": Case(
        "GET", "calls?q=a%00b", None, 400, "bad-request",
        'query q: "a\\u0000b" is not accepted; remove the control characters',
    ),
    "a call that has ended": Case(
        "POST", "calls/{ended}/engagements", {"mode": "barge", "leg": "{leg}"}, 410, "call-ended",
        "Call 'lab~1700000000.7' has ended.",
    ),
    "an unknown engagement": Case(
        "POST", "engagements/none/release", {}, 404, "not-found", "There is no engagement 'none'."
    ),
    "mode and hold at once": Case(
        "PATCH", "engagements/{eng}", {"mode": "barge", "hold": True}, 400, "bad-request",
        'input: {"mode": "barge", "hold": true} is not accepted; give either mode or hold',
    ),
    "hold as a word": Case(
        "PATCH", "engagements/{eng}", {"hold": "yes"}, 400, "bad-request",
        'hold: "yes" is not accepted; say true or false',
    ),
    "a note with a control character": Case(
        "POST", "engagements/{eng}/release", {"note": "a\u0000b"}, 400, "bad-request",
        'note: "a\\u0000b" is not accepted; remove the control character U+0000',
    ),
    "a note that is far too long": Case(
        "POST", "engagements/{eng}/release", {"note": "x" * 5000}, 400, "bad-request",
        f'note: "{"x" * 79}... (5002 characters) is not accepted; use at most 2000 characters',
    ),
    "an outcome of two lines": Case(
        "POST", "engagements/{eng}/release", {"outcome": "sold\r\nAction: Hangup"}, 400, "bad-request",
        'outcome: "sold\\r\\nAction: Hangup" is not accepted; use a single line',
    ),
    "digits with a command": Case(
        "POST", "calls/{call}/dtmf", {"digits": "1\r\nAction: Hangup"}, 400, "bad-request",
        'digits: "1\\r\\nAction: Hangup" is not accepted; it must match ^[0-9A-D*#]+$',
    ),
    "a transfer to a dial string": Case(
        "POST", "calls/{call}/transfer", {"to": "PJSIP/0900@trunk"}, 400, "bad-request",
        'to: "PJSIP/0900@trunk" is not accepted; it must match ^[A-Za-z0-9_-]+$',
    ),
    "an empty coaching": Case(
        "POST", "calls/{call}/coach", {"text": ""}, 400, "bad-request",
        'text: "" is not accepted; use at least 1 character',
    ),
    "a body that is no JSON": Case(
        "POST", "calls/{call}/coach", b"{text: hi}", 400, "bad-request",
        'input: "{text: hi}" is not accepted; send valid JSON (key must be a string at line 1 column 2)',
    ),
    "a body that is a list": Case(
        "POST", "calls/{call}/coach", [], 400, "bad-request",
        "input: [] is not accepted; it must be an object with named fields",
    ),
    "JSON nested without end": Case(
        "POST", "calls/{call}/coach", b'{"text":' + b"[" * 5000, 400, "bad-request",
        'input: "{\\"text\\":' + "[" * 69 + "... (5012 characters) is not accepted; "
        "send valid JSON (recursion limit exceeded at line 1 column 209)",
    ),
    "a body that is not UTF-8": Case(
        "POST", "calls/{call}/coach", b'{"text":"\xff\xfe"}', 400, "bad-request",
        'input: "{\\"text\\":\\"\\ufffd\\ufffd\\"}" is not accepted; send valid JSON '
        "(invalid unicode code point at line 1 column 10)",
    ),
    "a body over the limit": Case(
        "POST", "calls/{call}/coach", b'{"text":"' + b"x" * 70_000 + b'"}', 413, "bad-request",
        "The body is too large; send less.",
    ),
    "a login as a form": Case(
        "POST", "session", "username=anna", 400, "bad-request",
        'Content-Type: "text/plain; charset=utf-8" is not accepted; use application/json',
    ),
    "a login without a password": Case(
        "POST", "session", {"username": "anna"}, 400, "bad-request", "password: it is missing; add it"
    ),
    "a password that is a number": Case(
        "POST", "session", {"username": "anna", "password": 12345}, 400, "bad-request",
        "password: *** is not accepted; give a text, in quotes",
    ),
    "a turn without a time zone": Case(
        "POST", "calls/{call}/transcript", TURN | {"at": "2026-01-02T03:04:05"}, 400, "bad-request",
        'at: "2026-01-02T03:04:05" is not accepted; it should have timezone info', role="ai",
    ),
    "a turn of a stranger": Case(
        "POST", "calls/{call}/transcript", TURN | {"speaker": "god"}, 400, "bad-request",
        "speaker: \"god\" is not accepted; use 'caller', 'ai' or 'agent'", role="ai",
    ),
    "a turn that is far too long": Case(
        "POST", "calls/{call}/transcript", TURN | {"text": "y" * 4001}, 400, "bad-request",
        f'text: "{"y" * 79}... (4003 characters) is not accepted; use at most 4000 characters', role="ai",
    ),
    "a measurement of infinity": Case(
        "POST", "calls/{call}/measurement", b'{"heard_ms":Infinity,"gap_ms":0}', 400, "bad-request",
        "heard_ms: Infinity is not accepted; it should be a finite number", role="ai",
    ),
    "an AI that takes over": Case(
        "POST", "calls/{call}/engagements", {"mode": "takeover", "leg": "x"}, 403, "not-allowed",
        "The role 'ai' may not takeover.", role="ai",
    ),
    "a token without its AI": Case(
        "POST", "tokens", {"name": "bot", "role": "ai"}, 400, "bad-request",
        'input: {"name": "bot", "role": "ai"} is not accepted; a token of role ai names its ai, '
        "and no other token does", role="admin",
    ),
    "an audit since yesterday": Case(
        "GET", "audit?since=yesterday", None, 400, "bad-request",
        'query since: "yesterday" is not accepted; give a time with its zone, like 2026-01-31T12:00:00Z',
        role="supervisor",
    ),
    "an unknown filter": Case(
        "GET", "calls?limit=5", None, 400, "bad-request",
        'query limit: "5" is not accepted; known are queue, q, ai_ref',
    ),
    "an unknown path": Case(
        "GET", "call", None, 404, "not-found",
        "There is no such path; GET /api/v1/openapi.json lists those there are.",
    ),
    "a wrong method": Case(
        "DELETE", "calls", None, 405, "method-not-allowed", "This path does not know the method DELETE; it knows GET."
    ),
    "a file outside the panel": Case(
        "GET", "/static/..%2f..%2fsettings.py", None, 404, "not-found", "The panel has no such file."
    ),
    "a leg of the wrong type": Case(
        "POST", "legs", {"sdp": "v=0", "type": "answer"}, 400, "bad-request",
        "type: \"answer\" is not accepted; use 'offer'",
    ),
    "a second leg": Case(
        "POST", "legs", {"sdp": "v=0", "type": "offer"}, 409, "leg-exists",
        'This session has an agent leg already; send "replace": true to replace it.',
    ),
    "a change of nothing": Case(
        "PATCH", "legs/{leg}", {}, 400, "bad-request",
        "input: {} is not accepted; give muted, suppression or both",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", API)
async def test_api(house: House, name: str, caplog: pytest.LogCaptureFixture) -> None:
    case = API[name]
    call, ended, owned = house.call("1"), house.call("7"), house.call("2")
    house.hang_up(ended)
    agent = await house.person("agent", "agent")
    leg = await agent.leg()
    engaged = await agent.ask("POST", f"calls/{owned}/engagements", {"mode": "monitor", "leg": leg})
    fill = {"call": call, "ended": ended, "leg": leg, "eng": engaged.body["id"]}
    asker = agent
    if case.role == "ai":
        asker = await house.machine("bot", "ai", ai="acme")
    elif case.role != "agent":
        asker = await house.person(case.role, "admin" if case.role == "admin" else "supervisor")
    path, body = filled(case.path, fill), filled(case.body, fill)
    with caplog.at_level(logging.ERROR):
        if isinstance(body, bytes):
            answer = await asker.ask(case.method, path, data=body, headers=JSON_TYPE)
        elif isinstance(body, str):
            answer = await asker.ask(case.method, path, data=body)
        else:
            answer = await asker.ask(case.method, path, body)
    assert (answer.status, answer.slug, answer.body["detail"]) == (case.status, case.slug, case.detail)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [call.id for call in house.registry.calls()] == [call, owned]
    assert [one.mode for one in house.registry.engagements()] == [Mode.MONITOR]


def filled(value: Any, fill: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in fill.items():
            value = value.replace(f"{{{name}}}", text)
    if isinstance(value, dict):
        return {key: filled(one, fill) for key, one in value.items()}
    return value


# ---- what the PBX, the audio and the others have to say ----

PBX = {
    "away": (PbxUnavailable("lab", "connection lost"), 503, "pbx-unavailable",
             "PBX 'lab' is unavailable: connection lost."),
    "silent": (PbxTimeout("lab", "engage", 6), 504, "pbx-timeout", "PBX 'lab' did not answer engage within 6 s."),
    "unwilling": (VerbRefused("lab", "engage", "Permission denied"), 502, "pbx-refused",
                  "PBX 'lab' refused engage: Permission denied."),
    "too late": (ChannelGone("lab", "PJSIP/caller-1"), 410, "call-ended",
                 "PBX 'lab' has no channel 'PJSIP/caller-1' any more."),
}  # fmt: skip


@pytest.mark.parametrize("name", PBX)
async def test_a_pbx_that_is(house: House, name: str) -> None:
    fault, status, slug, detail = PBX[name]
    assert isinstance(fault, TakeoverError)
    anna = await house.person("anna")
    call = house.call()
    house.pbx.fault = fault
    answer = await anna.ask("POST", f"calls/{call}/hangup")
    assert (answer.status, answer.slug, answer.body["detail"]) == (status, slug, detail)


async def engage(house: House, **body: Any) -> tuple[int, str, str]:
    anna = await house.person("anna")
    call = house.call("1")
    leg = await anna.leg()
    answer = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg, **body})
    return answer.status, answer.slug, answer.body["detail"]


async def test_a_pbx_that_is_down(house: House) -> None:
    house.registry.apply(PbxDown("lab", "cannot connect to 127.0.0.1:5038: refused"))
    assert await engage(house) == (
        503, "pbx-unavailable", "PBX 'lab' is unavailable: cannot connect to 127.0.0.1:5038: refused.",
    )  # fmt: skip


async def test_a_mode_that_the_call_does_not_offer(house: House) -> None:
    why = "The AI runs on the caller's own channel, where it cannot be muted live."
    modes = (ModeChoice(Mode.MONITOR, possible=True), ModeChoice(Mode.TAKEOVER, possible=False, how=None, why=why))
    anna = await house.person("anna")
    call, leg = house.call("1", modes=modes), await anna.leg()
    answer = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    assert (answer.status, answer.slug, answer.body["detail"]) == (422, "mode-not-possible", why)


async def test_a_leg_without_a_microphone(house: House) -> None:
    anna = await house.person("anna")
    call, leg = house.call("1"), await anna.leg()
    house.legs.unfit[leg] = "no-microphone"
    answer = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    assert (answer.status, answer.slug, answer.body["why"]) == (422, "leg-not-ready", "no-microphone")
    assert answer.body["detail"] == f"Agent leg '{leg}' is not ready: no-microphone."


async def test_the_second_speaker_learns_who_was_first(house: House) -> None:
    anna, ben = await house.person("anna"), await house.person("ben")
    call = house.call("1")
    first = {"mode": "takeover", "leg": await anna.leg()}
    second = {"mode": "barge", "leg": await ben.leg()}
    answers = await asyncio.gather(
        anna.ask("POST", f"calls/{call}/engagements", first), ben.ask("POST", f"calls/{call}/engagements", second)
    )
    assert sorted(answer.status for answer in answers) == [201, 409]
    won, lost = sorted(answers, key=lambda answer: answer.status)
    assert (lost.slug, lost.body["speaker"]) == ("already-taken", won.body["agent_name"])
    assert lost.body["detail"] == f"{won.body['agent_name']} already speaks in call '{call}'."


async def test_a_full_house(house: House) -> None:
    house.legs.refuse = Overloaded("No media worker takes a new leg: worker 0 has 50 of 50 legs.")
    anna = await house.person("anna")
    answer = await anna.ask("POST", "legs", {"sdp": "v=0", "type": "offer"})
    assert (answer.status, answer.slug) == (503, "overloaded")
    assert answer.body["detail"] == "No media worker takes a new leg: worker 0 has 50 of 50 legs."


SDP = {
    "empty of media": ("v=0\r\n", "offer has no m= line: add the microphone track before createOffer()"),
    "video only": (
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        None,
    ),
    "not SDP": ("<script>alert(1)</script>", None),
}


@pytest.mark.parametrize("name", SDP)
async def test_an_offer_that_is(house: House, name: str) -> None:
    """The words are the offer parser's own; here it counts that they reach the user, and that the next try works."""
    offer, words = SDP[name]
    with pytest.raises(BadOffer) as fault:
        parse_offer(offer)
    house.legs.refuse = BadRequest(Fault("sdp", "", str(fault.value)))
    anna = await house.person("anna")
    answer = await anna.ask("POST", "legs", {"sdp": offer, "type": "offer"})
    assert (answer.status, answer.slug, answer.body["detail"]) == (400, "bad-request", f"sdp: {fault.value}")
    assert words is None or str(fault.value) == words
    house.legs.refuse = None
    assert (await anna.ask("POST", "legs", {"sdp": offer, "type": "offer"})).status == 201


async def test_a_fault_of_ours_shows_no_internals(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.legs.refuse = RuntimeError("the secret is hunter2")
    anna = await house.person("anna")
    answer = await anna.ask("POST", "legs", {"sdp": "v=0", "type": "offer"})
    assert (answer.status, answer.slug) == (500, "internal")
    assert "hunter2" not in json.dumps(answer.body)
    assert house.desk.state(next(iter(house.guard._live))) == []
    house.legs.refuse = None
    assert (await anna.ask("POST", "legs", {"sdp": "v=0", "type": "offer"})).status == 201
