"""``takeover calls``, asking the real application over HTTP and HTTPS."""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.domain.calls import Party
from connector.domain.events import CallChanged, PbxDown
from connector.domain.people import ActorRole
from tests.unit.web.house import House, make_call
from web import app
from web.certificate import self_signed
from web.cli import main
from web.passwords import hash_secret, new_secret

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """``takeover calls`` with these settings of ``http``; exit code, standard output, standard error."""
    monkeypatch.delenv("TAKEOVER_TOKEN", raising=False)

    async def run(http: dict[str, Any], *arguments: str) -> tuple[int, str, str]:
        pbx = {"lab": {"kind": "asterisk", "username": "takeover", "secret": "s3cret", "port": 1}}
        config = tmp_path / "takeover.yaml"
        config.write_text(json.dumps({"data_dir": "data", "pbx": pbx, "http": http}))
        with structlog.testing.capture_logs():  # the application's, which runs in this process too
            capsys.readouterr()
            code = await asyncio.to_thread(main, ["calls", "--config", str(config), *arguments])
            said = capsys.readouterr()
        return code, said.out, said.err

    return run


async def token(house: House, role: ActorRole = "supervisor", *, ai: str = "", queue: str = "*") -> str:
    """The option that names a file with a new token."""
    secret = new_secret()
    await house.store.tokens.add("console", role, ai, hash_secret(secret), [queue], ["*"])
    file = house.folder / "token"
    file.write_text(f"{secret}\n")
    return f"--token-file={file}"


def at(house: House) -> dict[str, Any]:
    return {"port": house.server.port}


async def test_calls_and_who_is_in_them(house: House, run: Run) -> None:
    given = await token(house)
    call = house.call("1")
    house.call("2", ai="other")
    anna = await house.person("anna")
    made = (await anna.ask("POST", f"calls/{call}/engagements", {"mode": "whisper", "leg": await anna.leg()})).body
    code, out, err = await run(at(house), given)
    assert (code, err) == (0, "")
    since = f"{made['since'][:19].replace('T', ' ')}Z"
    assert out.splitlines() == [
        "lab: up, version 22.0.0",
        "2 live calls, as console (supervisor) may see them:",
        f"  lab  +491701234567 Erika  acme   since 2026-01-02 03:04:05Z  Anna: whisper since {since}",
        "  lab  +491701234567 Erika  other  since 2026-01-02 03:04:05Z  nobody else",
    ]
    await anna.ask("PATCH", f"engagements/{made['id']}", {"mode": "takeover"})
    assert "Anna: takeover since" in (await run(at(house), given))[1]
    await anna.ask("POST", f"engagements/{made['id']}/release", {})
    assert "Anna" not in (await run(at(house), given))[1]


async def test_json_is_one_object_with_the_calls_as_the_api_gives_them(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.call()
    await token(house)
    monkeypatch.setenv("TAKEOVER_TOKEN", (house.folder / "token").read_text())
    code, out, _ = await run(at(house), "--json")
    told = json.loads(out)
    asked = (await (await house.person("anna")).ask("GET", "calls")).body
    assert (code, told["ok"], told["service"]) == (0, True, f"http://127.0.0.1:{house.server.port}")
    assert told["calls"] == asked["calls"]
    assert told["pbxs"] == [{"name": "lab", "up": True, "why": "", "version": "22.0.0"}]


async def test_a_pbx_that_is_down_is_told_with_the_reason(house: House, run: Run) -> None:
    house.registry.apply(PbxDown("lab", "authentication refused"))
    code, out, _ = await run(at(house), await token(house))
    assert (code, out) == (
        0,
        "lab: down, authentication refused\nno live calls, as console (supervisor) may see them\n",
    )


async def test_a_restricted_token_shows_what_it_may_see(house: House, run: Run) -> None:
    house.call("1", queue="sales")
    house.call("2", queue="support", ai="other")
    _, out, _ = await run(at(house), await token(house, "agent", queue="support"))
    assert "1 live call, as console (agent) may see them:" in out
    assert "acme" not in out


async def test_what_a_caller_is_called_cannot_steer_the_terminal(house: House, run: Run) -> None:
    caller = Party("+49170\x9b2J", "Eve\x1b[2J\u202eeve\nlab: down")
    house.registry.apply(CallChanged(replace(make_call(), caller=caller)))
    _, out, _ = await run(at(house), await token(house))
    assert "+49170?2J Eve?[2J?eve?lab: down" in out
    assert len(out.splitlines()) == 3


async def test_the_services_own_certificate_is_trusted_and_no_other(house: House, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    given, pair = await token(house), self_signed(tmp_path / "data", "panel.example.com")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    server = TestServer(app.build(house.parts), scheme="https")
    await server.start_server(ssl=context)
    try:
        code, out, err = await run({"port": server.port, "tls": {"self_signed": True}}, given)
        assert (code, err) == (0, "")
        assert out.startswith("lab: up")
        (tmp_path / "other").mkdir()
        certificate, key = self_signed(tmp_path / "other", "panel.example.com")
        tls = {"cert_file": str(certificate), "key_file": str(key)}
        code, _, err = await run({"port": server.port, "tls": tls}, given)
        assert code == 1
        assert "shows another certificate than that of http.tls; if it was renewed, restart the service" in err
        pair[0].unlink()
        code, _, err = await run({"port": server.port, "tls": {"self_signed": True}}, given)
        assert code == 1
        assert "self-signed.crt'; the service makes it at its first start" in err
    finally:
        await server.close()


async def test_no_service(house: House, run: Run) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        port = silent.getsockname()[1]
        code, out, err = await run({"port": port}, await token(house))
    assert (code, out) == (1, "")
    assert err == (
        f"No service at http://127.0.0.1:{port} (connection refused); "
        "is it running (systemctl status takeover), with these settings (http.host, http.port)?\n"
    )


async def test_https_is_asked_of_a_service_without_it(house: House, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    self_signed(tmp_path / "data", "panel.example.com")
    code, _, err = await run({**at(house), "tls": {"self_signed": True}}, await token(house))
    assert code == 1
    assert f"https://127.0.0.1:{house.server.port}" in err
    assert "with these settings (http.host, http.port)?" in err


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>hello"),
        lambda: web.json_response({"error": "not found"}, status=404),
        lambda: web.json_response([]),
        lambda: web.Response(status=302, headers={"Location": "https://example.com/"}),
    ],
)
async def test_another_program_on_that_port(house: House, run: Run, answer: Callable[[], web.Response]) -> None:
    async def answers(_: web.Request) -> web.Response:
        return answer()

    other = web.Application()
    other.router.add_get("/api/v1/session", answers)
    server = TestServer(other)
    await server.start_server()
    try:
        code, _, err = await run({"port": server.port}, await token(house))
    finally:
        await server.close()
    assert code == 1
    assert err.startswith("What listens at http://127.0.0.1:")
    assert "does not answer as Takeover does (" in err


async def closes(request: web.Request) -> web.StreamResponse:
    events = web.WebSocketResponse()
    await events.prepare(request)
    await events.receive()
    await events.close(code=1012)
    return events


async def refuses(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("does", "within", "why"),
    [
        (closes, 60.0, "closed the connection: it is stopping, or the token was revoked"),
        (refuses, 60.0, "is busy, or stopping (status 503); try again"),
        (hangs, 0.5, "took more than 0.5 s to answer"),
    ],
)
async def test_a_service_that_is_stopping_or_stuck(
    house: House,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    does: Callable[[web.Request], Awaitable[web.StreamResponse]],
    within: float,
    why: str,
) -> None:
    async def who(_: web.Request) -> web.Response:
        return web.json_response({"role": "admin", "may": ["see", "listen-events"]})

    monkeypatch.setattr("web.commands.calls.WITHIN_S", within)
    ours = web.Application()
    ours.router.add_get("/api/v1/session", who)
    ours.router.add_get("/api/v1/events", does)
    server = TestServer(ours, handler_cancellation=True)
    await server.start_server()
    try:
        code, _, err = await run({"port": server.port}, await token(house))
    finally:
        await server.close()
    assert code == 1
    assert why in err


async def test_an_unknown_token_is_refused(house: House, run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("not-one-of-ours")
    code, _, err = await run(at(house), f"--token-file={tmp_path / 'other'}")
    assert code == 1
    assert err == (
        "The token was refused: This token is unknown or was revoked. "
        "Make another: takeover token add --role supervisor --name console\n"
    )
    code, out, _ = await run(at(house), f"--token-file={tmp_path / 'other'}", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)


@pytest.mark.parametrize(("role", "ai"), [("ai", "acme"), ("metrics", "")])
async def test_a_token_that_may_not_see_who_is_in_calls(house: House, run: Run, role: ActorRole, ai: str) -> None:
    code, _, err = await run(at(house), await token(house, role, ai=ai))
    assert code == 1
    assert err.startswith(f"The token's role {role!r} may not see who is in the calls; takeover token add")


async def test_without_a_token_it_says_how_to_get_one(run: Run, tmp_path: Path) -> None:
    code, _, err = await run({})
    assert code == 2
    assert err == (
        "The service asks who you are: give --token-file FILE or TAKEOVER_TOKEN; "
        "takeover token add --role supervisor --name console\n"
    )
    code, out, _ = await run({}, "--token-file=/nowhere/token", "--json")
    assert code == 2
    assert json.loads(out)["why"] == "--token-file: '/nowhere/token' cannot be read (No such file or directory)"
    for content in ("", "two words", "\u00e9"):
        (tmp_path / "token").write_text(content)
        code, _, err = await run({}, f"--token-file={tmp_path / 'token'}")
        assert code == 2
        assert "holds no token; put one there, alone" in err
