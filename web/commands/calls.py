"""``takeover calls``: what is live now, as the running service believes it.

It asks the service, not the PBXs: with a token, for the snapshot that a panel gets, calls and PBXs of one moment.
"""

import asyncio
import json
import os
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ..messages import CallJson, EngagementJson, PbxJson
from ..settings import Settings
from .outcome import CommandFailed, Outcome

WITHIN_S = 10.0
TOKEN_VARIABLE = "TAKEOVER_TOKEN"  # noqa: S105 - a name
_TOKEN = re.compile(r"[\x21-\x7e]+")
_MAKE_ONE = "takeover token add --role supervisor --name console"
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class TokenMissing(Exception):
    """No token was given, or none that could be one."""


def calls(settings: Settings, options: Namespace) -> Outcome:
    """Exit code 0 also when a PBX is down: that is told, not failed. Raises `CommandFailed`."""
    try:
        token = _token(options.token_file)
    except TokenMissing as error:
        return Outcome([str(error)], {"ok": False, "why": str(error)}, code=2)
    url, found = _url(settings), asyncio.run(_ask(settings, token))
    pbxs, live = cast("list[PbxJson]", found["pbxs"]), cast("list[CallJson]", found["calls"])
    me = found["me"]
    lines = [f"{one['name']}: {_state(one)}" for one in pbxs]
    count = f"{len(live) or 'no'} live call{'s' if len(live) != 1 else ''}"
    lines.append(f"{count}, as {me['name']} ({me['role']}) may see them{':' if live else ''}")
    lines += [f"  {line}" for line in _table([_row(one) for one in live])]
    facts = {"ok": True, "service": url, "me": me, "rev": found["rev"], "pbxs": pbxs, "calls": live}
    return Outcome([_printable(line) for line in lines], facts)


def _token(file: Path | None) -> str:
    """Of `file`, else of the environment: not an argument, which every user of the machine could read."""
    token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
    if file is not None:
        where = f"--token-file: {str(file)!r}"
        try:
            token = file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise TokenMissing(f"{where} cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise TokenMissing(f"{where} holds no token; put one there, alone: {_MAKE_ONE}") from None
    elif not token:
        raise TokenMissing(f"The service asks who you are: give --token-file FILE or {TOKEN_VARIABLE}; {_MAKE_ONE}")
    if not _TOKEN.fullmatch(token):
        raise TokenMissing(f"{where} holds no token; put one there, alone: {_MAKE_ONE}")
    return token


def _url(settings: Settings) -> str:
    """Where the service listens on this machine, also behind a proxy."""
    host = _HERE.get(settings.http.host, settings.http.host)
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.http.tls else 'http'}://{shown}:{settings.http.port}"


async def _ask(settings: Settings, token: str) -> Mapping[str, Any]:
    """The snapshot. Raises `CommandFailed`."""
    url = _url(settings)
    pin = _pin(settings)
    headers, connector = {"Authorization": f"Bearer {token}"}, aiohttp.TCPConnector(ssl=pin or True)
    try:
        async with (
            asyncio.timeout(WITHIN_S),
            aiohttp.ClientSession(url, headers=headers, connector=connector) as session,
        ):
            async with session.get("/api/v1/session", allow_redirects=False) as answer:
                _check(url, answer.status, await answer.json(content_type=None))
            async with session.ws_connect("/api/v1/events", max_msg_size=0) as socket:
                await socket.send_json({"type": "hello"})
                return _snapshot(url, await socket.receive())
    except aiohttp.ServerFingerprintMismatch:
        remedy = "if it was renewed, restart the service; if not, another program listens there"
        raise CommandFailed(f"{url} shows another certificate than that of http.tls; {remedy}") from None
    except aiohttp.ClientConnectorError as error:
        refused = isinstance(error.os_error, ConnectionRefusedError)  # whose text says the address once more
        why = "connection refused" if refused else error.os_error.strerror or str(error.os_error)
        raise CommandFailed(f"No service at {url} ({why}); {_START}") from None
    except TimeoutError:
        raise CommandFailed(f"{url} took more than {WITHIN_S:g} s to answer; the service's log may say why") from None
    except aiohttp.WSServerHandshakeError as error:
        raise CommandFailed(f"The service at {url} is busy, or stopping (status {error.status}); try again") from None
    except (aiohttp.ClientError, ValueError) as error:  # not HTTP, not JSON
        raise CommandFailed(f"What listens at {url} does not answer as Takeover does ({error}); {_START}") from None


_START = "is it running (systemctl status takeover), with these settings (http.host, http.port)?"


def _pin(settings: Settings) -> aiohttp.Fingerprint | None:
    """The one certificate that is believed: ours, whoever signed it and whatever name it is for."""
    tls = settings.http.tls
    if tls is None:
        return None
    path = settings.data_dir / "self-signed.crt" if tls.self_signed else tls.cert_file or Path()
    try:
        return aiohttp.Fingerprint(x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()))
    except FileNotFoundError:
        remedy = "the service makes it at its first start" if tls.self_signed else "name one that exists"
        raise CommandFailed(f"http.tls: there is no certificate {str(path)!r}; {remedy}") from None
    except OSError as error:
        remedy = "run this as the service's user"
        raise CommandFailed(f"http.tls: {str(path)!r} cannot be read ({error.strerror}); {remedy}") from None
    except ValueError:
        raise CommandFailed(f"http.tls: {str(path)!r} holds no certificate in PEM form") from None


def _snapshot(url: str, message: aiohttp.WSMessage) -> Mapping[str, Any]:
    """The first thing that is said after a hello. Raises `CommandFailed`."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise CommandFailed(f"The service at {url} closed the connection: it is stopping, or the token was revoked")
    said = cast("Mapping[str, Any]", json.loads(message.data))
    if said["type"] != "snapshot":
        raise CommandFailed(f"The service at {url} refused: {said.get('detail', said['type'])}")
    return said


def _check(url: str, status: int, body: Any) -> None:
    """Whether this token may have the snapshot. Raises `CommandFailed`."""
    if not isinstance(body, dict) or not ("may" in body or str(body.get("type")).startswith("urn:takeover:")):
        raise CommandFailed(f"What listens at {url} does not answer as Takeover does (status {status}); {_START}")
    if status == 401:
        raise CommandFailed(f"The token was refused: {body['detail']} Make another: {_MAKE_ONE}")
    if status != 200:
        raise CommandFailed(f"The service at {url} refused: {body['detail']}")
    if body["role"] == "ai" or not {"see", "listen-events"} <= set(body["may"]):
        raise CommandFailed(f"The token's role {body['role']!r} may not see who is in the calls; {_MAKE_ONE}")


def _state(pbx: PbxJson) -> str:
    if pbx["up"]:
        return f"up, version {pbx['version']}" if pbx["version"] else "up"
    return f"down, {pbx['why'] or 'not connected yet'}"


def _row(call: CallJson) -> Sequence[str]:
    caller = " ".join(part for part in (call["caller"]["number"], call["caller"]["name"]) if part) or "unknown caller"
    people = ", ".join(_person(one) for one in call["engagements"]) or "nobody else"
    return call["pbx"], caller, call["ai"]["name"], f"since {_time(call['started_at'])}", people


def _person(one: EngagementJson) -> str:
    """Who, in which mode, since when."""
    state = "" if one["phase"] == "active" else f" ({one['phase']})"
    return f"{one['agent_name']}: {one['mode']}{' on hold' if one['hold'] else ''}{state} since {_time(one['since'])}"


def _time(stamp: str) -> str:
    return f"{stamp[:19].replace('T', ' ')}Z"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _printable(line: str) -> str:
    """A caller's name is whatever the caller sent: no escape sequence and no bidi mark reaches a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
