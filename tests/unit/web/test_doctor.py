"""What `takeover doctor` says of PBXs that are in order, away, or not as they should be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fake_esl import FakeFreeSwitch
from web import settings
from web.cli import main
from web.commands.doctor import doctor

IN_ORDER = {
    "xml_locate configuration": '<configuration><param name="listen-ip" value="127.0.0.1"/></configuration>',
    "sofia status": "Name  internal\nSIP-IP  127.0.0.1\n",
    "xml_locate dialplan context name default": '<context name="default"/>',
    "xml_locate dialplan context name nowhere": "can't find anything",
}


class Told(FakeFreeSwitch):
    """Answers some commands as it was told; the longest beginning counts."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = dict(IN_ORDER)

    def api(self, line: str) -> str:
        fits = [key for key in self.answers if line.startswith(key)]
        return self.answers[max(fits, key=len)] if fits else super().api(line)


async def found(pbx: FakeFreeSwitch, **more: Any) -> tuple[int, list[dict[str, str]], list[str]]:
    """Exit code, the faults and the lines for one FreeSWITCH."""
    tree = {"pbx": {"branch": {"kind": "freeswitch", "port": pbx.port, "secret": "right", **more}}}
    outcome = await asyncio.to_thread(doctor, settings.Settings.model_validate(tree))
    return outcome.code, outcome.facts["pbx"]["branch"]["faults"], list(outcome.lines)


async def test_one_that_is_in_order() -> None:
    async with Told() as pbx:
        code, faults, lines = await found(pbx, destinations={"support": "default,200"})
    assert (code, faults) == (0, [])
    assert lines[0].startswith("branch: FreeSWITCH ")
    assert lines[0].endswith(", in order")


async def test_everything_that_is_wrong_is_told_at_once_with_field_value_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.commands.doctor.DEFAULT_PASSWORD", "right")  # the only one that the fake takes
    async with Told() as pbx:
        pbx.answers["xml_locate configuration"] = '<c><param name="listen-ip" value="0.0.0.0"/></c>'
        pbx.answers["sofia status"] = "Name  internal\nSIP-IP  10.0.0.7\n"
        code, faults, lines = await found(pbx, destinations={"support": "nowhere,200"})
    assert code == 1
    assert [(one["field"], one["value"]) for one in faults] == [
        ("pbx.branch.secret", '"right"'),
        ("pbx.branch", '"listen-ip 0.0.0.0"'),
        ("media.pbx_addresses", "[]"),
        ("pbx.branch.destinations.support", '"nowhere,200"'),
    ]
    assert all(one["remedy"] for one in faults)
    assert "add '10.0.0.7'" in lines[3]


async def test_an_acl_makes_an_open_socket_one_of_ours() -> None:
    async with Told() as pbx:
        pbx.answers["xml_locate configuration"] = '<c><param name="apply-inbound-acl" value="lan"/></c>'
        assert (await found(pbx))[1] == []


async def test_what_the_panel_would_say_of_a_lacking_dialplan_is_said_here() -> None:
    async with Told() as pbx:
        pbx.answers["xml_locate dialplan context name takeover"] = "can't find anything"
        code, [fault], _ = await found(pbx)
    assert code == 1
    assert "takeover dialplan --for freeswitch --install" in fault["remedy"]


@pytest.mark.parametrize("kind", ["asterisk", "freeswitch"])
async def test_one_that_is_away_is_named_with_its_address(kind: str) -> None:
    account = {"username": "takeover"} if kind == "asterisk" else {}
    tree = {"pbx": {"away": {"kind": kind, "port": 1, "secret": "x", **account}}}
    outcome = await asyncio.to_thread(doctor, settings.Settings.model_validate(tree))
    assert outcome.code == 1
    assert outcome.lines[0] == f"away: {kind} at 127.0.0.1:1"
    assert "127.0.0.1:1" in outcome.lines[1]


BOTH = {
    "pbx": {
        "main": {"kind": "asterisk", "username": "takeover", "secret": "s", "ais": [{"name": "bot", "match": "x"}]},
        "branch": {"kind": "freeswitch", "secret": "s"},
    }
}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--call", "100", "--context", "carrier"], "--pbx: '' is not accepted; say on which PBX 100 is to be called"),
        (
            ["--call", "100", "--pbx", "other", "--context", "carrier"],
            "the settings have no such PBX, but branch, main",
        ),
        (["--call", "100", "--pbx", "main"], "--context: '' is not accepted; name the context in which callers of 100"),
        (["--call", "--pbx", "main"], "--call NUMBER"),
        (["--call", "1 0", "--pbx", "main", "--context", "a"], "--call: '1 0' is not accepted; give a number as it is"),
        (["--call", "1", "--pbx", "main", "--context", "a,b"], "--context: 'a,b' is not accepted; give the name of"),
    ],
)
def test_a_number_that_cannot_be_called_is_refused_before_any_call(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "takeover.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(BOTH))
    assert main(["doctor", *arguments, "--config", str(config)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "word"), [("asterisk", "manager.conf"), ("freeswitch", "event_socket.conf.xml")])
async def test_where_nobody_listens_it_says_what_to_look_at(kind: str, word: str) -> None:
    given = {"kind": kind, "secret": "s", "port": 1} | ({"username": "t"} if kind == "asterisk" else {})
    outcome = await asyncio.to_thread(doctor, settings.Settings.model_validate({"pbx": {"main": given}}))
    assert outcome.code == 1
    assert "cannot connect to 127.0.0.1:1" in outcome.lines[1]
    assert word in outcome.lines[1]
