"""The embedded PBX's configuration as text."""

from pathlib import Path

import pytest

from web.demo import asterisk
from web.demo.pbxconfig import (
    Endpoint,
    PbxConfig,
    Ports,
    Secrets,
    extensions_conf,
    manager_conf,
    modules_conf,
    pjsip_conf,
    websocket_client_conf,
)

PORTS = Ports(5038, 5060, 8088, 10000, 10100)


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("22.10.1+dfsg", True),
        ("20.6.0~dfsg", True),
        ("20.0.1", False),
        ("18.16.0", True),
        ("18.10.0~dfsg", False),
        ("16.28.0", False),
        ("23.0.0", True),
        ("GIT-master", False),
        ("", False),
    ],
)
def test_which_version_is_new_enough(version: str, enough: bool) -> None:
    assert asterisk.new_enough(version) is enough


def test_only_wanted_modules_are_loaded() -> None:
    text = modules_conf(["chan_pjsip.so", "chan_iax2.so", "app_bridgeaddchan.so", "app_voicemail.so", "res_snmp.so"])
    assert "load=chan_pjsip.so" in text
    assert "load=app_bridgeaddchan.so" in text
    assert all(name not in text for name in ("iax2", "voicemail", "snmp"))


def test_the_service_user_is_our_template_with_its_secret() -> None:
    template = (asterisk.dialplan_folder() / "manager_takeover.conf").read_text()
    text = manager_conf(PORTS, Secrets("s3", "a1"), template, {"second": "s4"})
    assert "#include" not in "\n".join(line for line in text.splitlines() if not line.startswith(";"))
    for name, secret in (("takeover", "s3"), ("second", "s4")):
        part = text.partition(f"[{name}]")[2].partition("[")[0]
        assert f"secret={secret}" in part
        assert "write=originate,call,reporting" in text.partition(f"[{name}]")[2]
    assert "bindaddr=127.0.0.1" in text


def test_an_endpoint_with_a_contact_can_be_dialled() -> None:
    text = pjsip_conf(PORTS, [Endpoint("caller"), Endpoint("ai", contact="sip:ai@127.0.0.1:9", codecs="alaw")])
    assert "bind=127.0.0.1:5060" in text
    assert "[ai]\ntype=aor\ncontact=sip:ai@127.0.0.1:9" in text
    assert "[caller]\ntype=aor" not in text


def test_ours_comes_before_the_rest() -> None:
    text = extensions_conf(
        Path("/x/extensions_takeover.conf"), PbxConfig(dialplan="[mine]", globals={"TK_PBX": "main"})
    )
    assert text.index("TK_PBX=main") < text.index("#include /x/extensions_takeover.conf") < text.index("[mine]")


def test_websocket_clients_are_made_per_call() -> None:
    text = websocket_client_conf({"ai": "ws://127.0.0.1:9/media"})
    assert "[ai]" in text
    assert "connection_type=per_call_config" in text


def test_the_command_line_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert asterisk.main([]) == 2
    assert "install|remove|path" in capsys.readouterr().err


def test_path_of_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAKEOVER_CACHE", str(tmp_path))
    assert asterisk.main(["path"]) == 1
    assert "not installed" in capsys.readouterr().out
    assert asterisk.main(["remove"]) == 0
    assert "there was none" in capsys.readouterr().out
