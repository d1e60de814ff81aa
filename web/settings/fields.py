"""The kinds of values in the settings: what is accepted, and the remedy where it is not."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


def pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"give a regular expression that compiles ({error})") from None
    return value


def machine(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.%\w]*:[0-9A-Fa-f:.%\w]*", value):
        raise ValueError('give a host name or an address, like "10.0.0.5"')
    _check_labels(value)
    return value


def _check_labels(host: str) -> None:
    """Raises ValueError where the standard library's resolver would raise something that nobody expects of it."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("give a name whose parts between the dots have 1 to 63 characters") from None


def port_range(value: str) -> str:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value)
    if match is None or not 1024 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError('give a range within 1024-65535, like "20000-20199"')
    return value


def network(value: str) -> str:
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise ValueError('give an address or a network, like "10.0.0.5" or "10.0.0.0/24"') from None
    if "/" in value and value.partition("/")[0] != str(meant.network_address):
        raise ValueError(f'give the address "{value.partition("/")[0]}", or its network "{meant}"')
    return value


def proxies(value: str) -> str:
    if ip_network(network(value)).prefixlen == 0:
        raise ValueError("name your proxies only; of everybody, anybody could claim any address")
    return value


def address(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        raise ValueError('give an address, like "203.0.113.10"') from None
    return value


def origin(value: str) -> str:
    """As browsers write it, or no request would seem to be ours: in ASCII and small letters, without a default port."""
    try:
        parts = urlsplit(value)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:  # UnicodeError too: a name that is none
        parts, host, port = urlsplit(""), "", None
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None
    if parts.scheme not in _PORTS or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host) or more:
        raise ValueError('give scheme and host, like "https://takeover.example.com"')
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, _PORTS[parts.scheme]) else "")


_PORTS = {"http": 80, "https": 443}


def ice(value: str) -> str:
    """RFC 7064 and 7065; a browser that is given anything else opens no line at all."""
    found = re.fullmatch(
        r"(stun|turn)s?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?(\?transport=(?:udp|tcp))?", value
    )
    if found is None or not 0 < int(found[2] or 1) <= 65535 or (found[1] == "stun" and found[3]):
        raise ValueError('give "stun:HOST:PORT", or "turn:HOST:PORT" with or without "?transport=tcp"')
    return value


def key(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", value):
        raise ValueError("use 1 to 32 small letters, digits and hyphens, not first a hyphen")
    return value


def file(value: Path) -> Path:
    """With the home folder put in for ``~``."""
    if "\0" in str(value):
        raise ValueError("remove the character U+0000")
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {value.parts[0][1:]!r} here; write the whole path") from None


def destination(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+,[A-Za-z0-9_*#+.-]+,\d+", value):
        raise ValueError('give "context,extension,priority", like "support,200,1"')
    return value


def place(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,80},[A-Za-z0-9_*#+.-]{1,80}", value):
        raise ValueError('give "context,extension", like "default,200"')
    return value


def check_webhook(url: str, *, allow_http: bool) -> None:
    """Raises ValueError with the remedy unless events may be sent there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # a ValueError for one that is none
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None or parts.fragment:
        raise ValueError('give an address like "https://bot.example.com/takeover", without a user or a fragment')
    _check_labels(host)
    if parts.scheme == "http" and not allow_http and not _near(host):
        raise ValueError("use https; http is for loopback and private addresses, or with allow_http: true")


def transcriber(value: str) -> str:
    """Where what callers say may be sent."""
    try:
        check_webhook(value, allow_http=False)
    except ValueError:
        raise ValueError(
            'give an https address, or http on this machine or a private one: "http://127.0.0.1:9000/v1"'
        ) from None
    return value.rstrip("/")


def _near(host: str) -> bool:
    """Whether a host is this machine or a private address. A name that is resolved anew each time is neither."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


Port = Annotated[int, Field(ge=0, le=65535)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(pattern)]
Key = Annotated[str, AfterValidator(key)]
File = Annotated[Path, AfterValidator(file)]
