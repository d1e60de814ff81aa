"""The kinds of values in the settings: what is accepted, and the remedy where it is not."""

import re
from ipaddress import ip_address, ip_network
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
        ip_network(value)
    except ValueError:
        raise ValueError('give an address or a network, like "10.0.0.5" or "10.0.0.0/24"') from None
    return value


def origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('give scheme and host, like "https://takeover.example.com"')
    return value.rstrip("/")


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
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
