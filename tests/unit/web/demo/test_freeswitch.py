"""Which FreeSWITCH the demo finds, and what it says where there is none."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from web.demo import freeswitch
from web.demo.exchanges import freeswitch_dialplan
from web.demo.freeswitchconfig import FreeSwitchConfig, Ports, document
from web.demo.packages import NotProvided

TREE = Path(__file__).parents[4] / freeswitch.DIALPLAN


def installed(folder: Path, says: str) -> Path:
    """A prefix with a program that says this for its version."""
    program = folder / "bin" / "freeswitch"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def test_one_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = installed(tmp_path, "FreeSWITCH version: 1.10.12-release~64bit ( 64bit)")
    monkeypatch.setenv("FREESWITCH_HOME", str(tmp_path))
    assert freeswitch.find() == freeswitch.Installation("1.10.12", program)


def test_one_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = installed(tmp_path, "FreeSWITCH version: 1.11.2+git~20250101 (git)")
    monkeypatch.delenv("FREESWITCH_HOME", raising=False)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert freeswitch.find().version == "1.11.2"


@pytest.mark.parametrize(
    ("says", "remedy"),
    [("FreeSWITCH version: 1.8.7", "install 1.10 or later"), ("Hello", "name another by FREESWITCH_HOME")],
)
def test_one_that_cannot_be_used_is_refused_with_the_remedy(
    says: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, says)
    monkeypatch.setenv("FREESWITCH_HOME", str(tmp_path))
    with pytest.raises(NotProvided, match=remedy):
        freeswitch.find()


def test_a_demo_without_one_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "web.demo.run", "--freeswitch"]
    environment = {"PATH": str(tmp_path), "FREESWITCH_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: FREESWITCH_HOME: ")
    assert str(tmp_path) in done.stderr
    assert done.stdout == ""


def test_the_configuration_is_one_document_with_our_dialplan_and_the_demos(tmp_path: Path) -> None:
    config = FreeSwitchConfig(freeswitch_dialplan("assistant@127.0.0.1:5070"), context="demo-incoming")
    ports = Ports(10001, 10002, (10010, 10199))
    tree = ElementTree.fromstring(document(config, ports, "secret", tmp_path, TREE.read_text()))
    contexts = {one.get("name") for one in tree.iter("context")}
    assert contexts == {"demo-incoming", "takeover"}
    profile = next(one for one in tree.iter("profile") if one.get("name") == "internal")
    given = {one.get("name"): one.get("value") for one in profile.iter("param")}
    assert (given["sip-ip"], given["sip-port"], given["context"]) == ("127.0.0.1", "10002", "demo-incoming")
    loaded = [one.get("module") for one in tree.iter("load")]
    assert loaded[-1] == "mod_sofia"
