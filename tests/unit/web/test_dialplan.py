"""Installing the include files: one marked line in the administrator's files, twice is once, and out again."""

import os
from pathlib import Path

import pytest

from web.cli import main
from web.commands.dialplan import MARK

OURS = ("extensions_takeover.conf", "manager_takeover.conf", "manager_takeover_secret.conf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Somebody's /etc/asterisk."""
    (tmp_path / "extensions.conf").write_text("[general]\nstatic=yes\n\n[incoming]\nexten => 1,1,Hangup()\n")
    (tmp_path / "manager.conf").write_text("[general]\nenabled=yes\n")
    (tmp_path / "manager.conf").chmod(0o640)
    return tmp_path


def dialplan(*arguments: object) -> int:
    return main(["dialplan", "--for", "asterisk", *map(str, arguments)])


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_install_writes_our_files_and_one_marked_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert dialplan("--install", folder) == 0
    after = contents(folder)
    assert after["extensions.conf"] == before["extensions.conf"] + f"{MARK}\n#include extensions_takeover.conf\n"
    assert after["manager.conf"] == before["manager.conf"] + f"{MARK}\n#include manager_takeover.conf\n"
    assert set(after) == {*before, *OURS}
    assert after["manager_takeover_secret.conf"].startswith("secret=")
    assert (folder / "manager_takeover_secret.conf").stat().st_mode & 0o777 == 0o640
    assert (folder / "manager.conf").stat().st_mode & 0o777 == 0o640
    said = capsys.readouterr().out
    assert 'asterisk -rx "dialplan reload"' in said
    assert f"added one line to {folder}/extensions.conf: #include extensions_takeover.conf" in said


def test_twice_is_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dialplan("--install", folder)
    first = contents(folder)
    capsys.readouterr()
    assert dialplan("--install", folder) == 0
    assert contents(folder) == first
    assert capsys.readouterr().out == "Installed already; nothing was changed.\n"


def test_remove_leaves_what_was_there_before(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    dialplan("--install", folder)
    assert dialplan("--remove", folder) == 0
    assert contents(folder) == before
    assert dialplan("--remove", folder) == 0
    assert capsys.readouterr().out.endswith("Nothing of Takeover was there.\n")


def test_a_line_of_the_administrators_own_is_never_touched(folder: Path) -> None:
    own = (folder / "extensions.conf").read_text() + '#include "extensions_takeover.conf" ; by hand\n'
    (folder / "extensions.conf").write_text(own)
    dialplan("--install", folder)
    assert (folder / "extensions.conf").read_text() == own
    assert dialplan("--remove", folder) == 1  # Asterisk would refuse to load a file that includes a missing one
    assert (folder / "extensions.conf").read_text() == own
    assert (folder / "extensions_takeover.conf").exists()


def test_an_older_file_of_ours_is_replaced(folder: Path) -> None:
    dialplan("--install", folder)
    (folder / "extensions_takeover.conf").write_text("; an older version\n")
    dialplan("--install", folder)
    assert "[takeover-agent]" in (folder / "extensions_takeover.conf").read_text()


def test_a_folder_that_is_not_asterisks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dialplan("--install", tmp_path) == 1
    assert capsys.readouterr().err == (
        f"--install: '{tmp_path}' has no extensions.conf; name the folder of Asterisk's own configuration\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.chmod(0o500)
    try:
        assert dialplan("--install", folder) == 1
    finally:
        folder.chmod(0o700)
    assert "run this as the user who owns that folder" in capsys.readouterr().err


def test_without_a_folder_the_files_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert dialplan() == 0
    out = capsys.readouterr().out
    assert ";;;; extensions_takeover.conf" in out
    assert "[takeover-agent]" in out
    assert "eventfilter=" in out


def freeswitch(*arguments: object) -> int:
    return main(["dialplan", "--for", "freeswitch", *map(str, arguments)])


@pytest.fixture
def switch_folder(tmp_path: Path) -> Path:
    """Somebody's /etc/freeswitch."""
    (tmp_path / "dialplan").mkdir()
    (tmp_path / "freeswitch.xml").write_text('<X-PRE-PROCESS cmd="include" data="dialplan/*.xml"/>\n')
    return tmp_path


def test_freeswitch_gets_one_file_of_ours_and_none_of_the_administrators_is_touched(
    switch_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (switch_folder / "freeswitch.xml").read_text()
    assert freeswitch("--install", switch_folder) == 0
    assert "fs_cli -x reloadxml" in capsys.readouterr().out
    installed = switch_folder / "dialplan" / "takeover.xml"
    assert '<context name="takeover">' in installed.read_text()
    assert (switch_folder / "freeswitch.xml").read_text() == before
    assert freeswitch("--install", switch_folder) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert freeswitch("--remove", switch_folder) == 0
    assert not installed.exists()
    assert freeswitch("--remove", switch_folder) == 0
    assert "Nothing of Takeover was there" in capsys.readouterr().out


def test_a_freeswitch_that_includes_no_such_folder_is_told(
    switch_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (switch_folder / "freeswitch.xml").write_text("<document/>\n")
    assert freeswitch("--install", switch_folder) == 0
    assert "does not include dialplan/*.xml" in capsys.readouterr().out


def test_a_folder_that_is_not_freeswitchs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert freeswitch("--install", tmp_path) == 1
    assert "name the folder of FreeSWITCH's own configuration" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_freeswitchs_file_is_printed_and_is_xml(capsys: pytest.CaptureFixture[str]) -> None:
    from xml.etree import ElementTree

    assert freeswitch() == 0
    tree = ElementTree.fromstring(capsys.readouterr().out)
    names = {one.get("name") for one in tree.iter("extension")}
    assert {"takeover_pair", "takeover_hold", "takeover_fallback", "register", "human"} <= names
