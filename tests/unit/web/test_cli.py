"""The command line, in this process: what it prints, what it does to the store, and its exit codes."""

import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from web.cli import main
from web.commands.check import check
from web.settings import parse

CONFIG = "data_dir: data\npbx: {main: {kind: asterisk, username: takeover, secret: s3cret, port: 1}}\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command; exit code, standard output, standard error."""
    (tmp_path / "takeover.yaml").write_text(CONFIG)
    monkeypatch.setenv("TAKEOVER_CONFIG", str(tmp_path / "takeover.yaml"))

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_check_says_what_it_understood(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("check")
    assert code == 0
    assert "main (asterisk 127.0.0.1:1)" in out
    found = json.loads(run("check", "--json")[1])
    assert found == {
        "ok": True,
        "listen": "http://127.0.0.1:8080",
        "pbx": ["main"],
        "data_dir": str(tmp_path / "data"),
        "store": f"sqlite+aiosqlite:///{tmp_path}/data/takeover.db",
        "notes": [],
    }


PBX = "pbx: {m: {kind: asterisk, username: u, secret: s}}\n"
SWITCH = "pbx: {m: {kind: freeswitch, secret: s, host: 10.0.0.9}}\n"
REMOTE = "pbx: {m: {kind: asterisk, username: u, secret: s, host: %s, tls: %s}}\n"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (PBX + "http: {host: 0.0.0.0}", "http.host: '0.0.0.0' is open to other machines by plain http"),
        (PBX + "http: {host: 0.0.0.0, public_url: 'https://a.example'}", ""),
        (REMOTE % ("10.0.0.9", "false") + "media: {audiosocket_host: 10.0.0.5, pbx_addresses: [10.0.0.9]}", "set tls"),
        (REMOTE % ("10.0.0.9", "true") + "media: {audiosocket_host: 10.0.0.5, pbx_addresses: [10.0.0.0/24]}", ""),
        (REMOTE % ("pbx.example", "true") + "media: {audiosocket_host: 10.0.0.5}", ""),
        (SWITCH + "media: {audiosocket_host: 10.0.0.5, pbx_addresses: [10.0.0.9]}", "ESL is in the clear"),
        (REMOTE % ("10.0.0.9", "true"), "media.audiosocket_host: '127.0.0.1' is this machine's alone"),
        (REMOTE % ("10.0.0.9", "true") + "media: {audiosocket_host: 10.0.0.5}", "[] lacks '10.0.0.9'"),
    ],
)
def test_check_notes_what_other_machines_could_not_use(text: str, note: str) -> None:
    outcome = check(parse(text, variables={}))
    said = [line for line in outcome.lines if line.startswith("Note: ")]
    assert len(said) == bool(note)
    assert all(note in line for line in said)
    assert outcome.code == 0
    assert [f"Note: {one}" for one in outcome.facts["notes"]] == said


@pytest.mark.parametrize(
    ("media", "note"),
    [
        ("workers: 4, udp_ports: 20000-20199", ""),
        ("workers: 4", ""),
        (
            "workers: 5, udp_ports: 20000-20199",
            "media.udp_ports: '20000-20199' has 200 ports, and 5 workers take up to 250 agents",
        ),
        (
            "workers: 1, max_legs_per_worker: 300, udp_ports: 20000-20199",
            "media.udp_ports: '20000-20199' has 200 ports, and 1 worker takes up to 300 agents",
        ),
    ],
)
def test_check_notes_agents_for_whom_there_is_no_port(media: str, note: str) -> None:
    said = check(parse(PBX + f"media: {{{media}}}", variables={})).facts["notes"]
    assert len(said) == bool(note)
    assert all(one.startswith(note) for one in said)


def test_check_counts_the_workers_that_there_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    (note,) = check(parse(PBX + "media: {udp_ports: 20000-20199}", variables={})).facts["notes"]
    assert note == (
        "media.udp_ports: '20000-20199' has 200 ports, and 16 workers take up to 800 agents on duty at once: those for "
        "whom there is no port are refused. If there can be so many, give 800 ports, better 880, as an agent whose "
        "network changes has two for a moment; else lower media.max_legs_per_worker"
    )


def test_root_leaves_no_files_of_its_own_in_the_services_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "data", 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    code, _, err = run("user", "list")
    assert code == 1
    assert "run this as that user: sudo -u " in err
    assert list((tmp_path / "data").iterdir()) == []


def test_who_reads_only_the_beginning_of_what_is_printed_gets_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "web.cli", "dialplan", "--for", "asterisk"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as printing:
        assert printing.stdout is not None
        assert printing.stderr is not None
        printing.stdout.close()
        assert printing.stderr.read() == ""


def test_wrong_settings_are_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "takeover.yaml").write_text(CONFIG + "http: {prot: 1}\n")
    code, _, err = run("check")
    assert code == 2
    assert "http.prot: \"prot\" is not accepted; there is no such field; did you mean 'port'?" in err
    code, out, _ = run("check", "--json")
    assert (code, json.loads(out)["faults"][0]["field"]) == (2, "http.prot")


def test_a_missing_file_is_exit_code_2(run: Run) -> None:
    code, _, err = run("check", "--config", "/nowhere/takeover.yaml")
    assert code == 2
    assert "there is no such file; copy takeover.example.yaml there, or name another with --config" in err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["user"], ["token", "add"], ["dialplan", "--for", "skype"]])
def test_wrong_arguments_are_exit_code_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


def test_users_are_added_listed_changed_and_removed(run: Run) -> None:
    code, out, _ = run("user", "add", "anna", "--role", "supervisor", "--password-stdin", stdin="long enough\n")
    assert (code, out) == (0, "anna may log in now, as supervisor.\n")
    assert run("user", "add", "anna", "--password-stdin", stdin="long enough\n")[0] == 1
    assert json.loads(run("user", "list", "--json")[1])["users"] == [
        {"username": "anna", "role": "supervisor", "name": "anna", "queues": ["*"], "tenants": ["*"]}
    ]
    assert run("user", "password", "anna", "--password-stdin", stdin="another one\n")[0] == 0
    assert run("user", "remove", "anna")[0] == 0
    code, _, err = run("user", "remove", "anna")
    assert (code, err) == (1, "There is no user 'anna'; see: takeover user list\n")


def test_the_password_is_asked_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["long enough", "long enuogh"]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    code, _, err = run("user", "add", "anna")
    assert (code, err) == (1, "The two passwords differ; nothing was changed\n")


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("anna", "short", "password: 5 characters are too few; use at least 10"),
        ("anna", "", "password: 0 characters are too few; use at least 10"),
        ("an na", "long enough", "name: 'an na' is not accepted; use 1 to 64 letters, digits and . _ @ + -"),
        ("a\nb", "long enough", "name: 'a\\nb' is not accepted"),
        ("../x", "long enough", "name: '../x' is not accepted"),
    ],
)
def test_wrong_users(run: Run, name: str, password: str, why: str) -> None:
    code, _, err = run("user", "add", name, "--password-stdin", stdin=f"{password}\n")
    assert code == 1
    assert err.startswith(why)


def test_a_token_is_printed_once_and_nowhere_kept(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("token", "add", "--name", "bot", "--role", "ai", "--ai", "acme")
    secret = out.splitlines()[0]
    assert code == 0
    assert "no rule of pbx.*.ais is called 'acme', so it will see no call; known are ai." in out
    assert re.fullmatch(r"[\w-]{43}", secret)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert secret.encode() not in kept
    assert run("token", "list")[1].split() == ["bot", "ai", "acme", "all", "calls"]
    assert run("token", "revoke", "bot")[0] == 0
    assert run("token", "revoke", "bot")[0] == 1


def test_a_token_reaches_the_queues_and_tenants_that_are_given(run: Run) -> None:
    assert run("token", "add", "--name", "theirs", "--role", "agent", "--queue", "sales", "--tenant", "acme")[0] == 0
    assert run("token", "list")[1].split() == ["theirs", "agent", "queues", "sales;", "tenants", "acme"]
    code, _, err = run("token", "add", "--name", "figures", "--role", "metrics", "--tenant", "acme")
    assert (code, err) == (
        1,
        "--queue, --tenant: figures are the whole house's; give none with --role metrics\n",
    )


def test_people_get_another_role_and_other_queues(run: Run) -> None:
    run("user", "add", "anna", "--queue", "sales", "--tenant", "acme", "--password-stdin", stdin="long enough\n")
    assert run("user", "list")[1].split() == ["anna", "agent", "queues", "sales;", "tenants", "acme", "anna"]
    assert run("user", "change", "anna", "--role", "supervisor", "--queue", "*", "--tenant", "*")[0] == 0
    assert run("user", "list")[1].split() == ["anna", "supervisor", "all", "calls", "anna"]
    assert run("user", "change", "anna")[0] == 1
    assert run("user", "change", "nobody", "--role", "admin")[0] == 1


def test_a_token_of_role_ai_names_its_ai(run: Run) -> None:
    code, _, err = run("token", "add", "--name", "bot", "--role", "ai")
    assert (code, err) == (1, "--ai: give the name of the AI with --role ai, and only then\n")


def test_the_audit_is_verified(run: Run, tmp_path: Path) -> None:

    run("user", "add", "anna", "--password-stdin", stdin="long enough\n")
    code, out, _ = run("audit", "verify")
    assert code == 0
    assert out.startswith("The audit is whole: 2 entries, head 2:")
    head = out.rstrip(".\n").split()[-1]
    assert run("audit", "verify", "--head", head)[0] == 0
    with sqlite3.connect(tmp_path / "data" / "takeover-audit.db") as database:
        database.execute("UPDATE audit SET actor = 'somebody-else' WHERE number = 1")
    database.close()
    code, _, err = run("audit", "verify")
    assert (code, err.splitlines()[0]) == (1, "The audit was changed:")
    assert run("audit", "verify", "--head", "nonsense")[0] == 1


def test_a_lost_audit_key_is_said(run: Run, tmp_path: Path) -> None:
    run("user", "list")
    (tmp_path / "data" / "audit.key").write_text("not hexadecimal")
    code, _, err = run("user", "list")
    assert code == 1
    assert "put the old key back" in err


def test_the_key_and_the_folder_are_the_service_users_only(run: Run, tmp_path: Path) -> None:
    run("user", "list")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "audit.key").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_said(run: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (tmp_path / "takeover.yaml").write_text(f"{CONFIG}http: {{port: {port}}}\nmedia: {{workers: 1}}\n")
        code, _, err = run("serve")
    assert code == 1
    expected = (
        f"http.host, http.port: cannot listen on 127.0.0.1:{port}, another program listens there; "
        "stop that one, or set another http.port"
    )
    assert err.splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("store: {url: 'sqlite+aiosqlite:////no/such/folder/x.db'}", "store: the store is unavailable: "),
        ("media: {workers: 1, audiosocket_host: 0.0.0.0}", "media.audiosocket_host = '0.0.0.0': name the address"),
        ("http: {host: 203.0.113.77, port: 8080}\nmedia: {workers: 1}", "http.host, http.port: cannot listen on"),
    ],
)
def test_what_only_the_start_can_know(run: Run, tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "takeover.yaml").write_text(f"{CONFIG}{line}\n")
    code, _, err = run("serve")
    assert code == 1
    assert err.splitlines()[-1].startswith(why)


def test_a_backup_beside_a_running_service_is_whole_and_becomes_the_store_of_another(run: Run, tmp_path: Path) -> None:
    assert run("user", "add", "anna", "--password-stdin", stdin="correct horse battery\n")[0] == 0
    (tmp_path / "data" / "marks").mkdir()
    (tmp_path / "data" / "marks" / "lab~1.jsonl").write_text("{}\n")
    with sqlite3.connect(tmp_path / "data" / "takeover.db") as service:  # its last writing is in the log beside it
        service.execute("UPDATE accounts SET name = 'Anna Berg'")
        service.commit()
        code, out, _ = run("backup", str(tmp_path / "copy"))
    service.close()
    assert (code, "keep it safe" in out) == (0, True)
    kept = {path.name for path in (tmp_path / "copy").iterdir()}
    assert {"takeover.db", "takeover-audit.db", "audit.key", "marks"} <= kept
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "copy").glob("*.db"))
    assert not [name for name in kept if name.endswith(("-wal", "-shm"))]
    (tmp_path / "data").rename(tmp_path / "lost")
    (tmp_path / "copy").rename(tmp_path / "data")
    assert "Anna Berg" in run("user", "list")[1]
    assert run("audit", "verify")[0] == 0


def test_a_backup_that_cannot_be_made_says_why(run: Run, tmp_path: Path) -> None:
    code, _, err = run("backup", str(tmp_path / "copy"))
    assert (code, "takeover.db' is not there" in err) == (1, True)
    run("user", "list")
    (tmp_path / "copy" / "something").mkdir(parents=True)
    code, _, err = run("backup", str(tmp_path / "copy"))
    assert (code, "is not empty" in err) == (1, True)
    (tmp_path / "file").write_text("")
    code, _, err = run("backup", str(tmp_path / "file" / "copy"))
    assert (code, "Not a directory" in err) == (1, True)
    (tmp_path / "data" / "takeover-audit.db").write_text("no database" * 1_000)
    code, _, err = run("backup", str(tmp_path / "third"))
    assert (code, "file is not a database" in err) == (1, True)


def test_the_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert re.match(r"takeover \d", out)
