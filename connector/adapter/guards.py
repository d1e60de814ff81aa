"""What may reach a PBX: an allow-list for each field, since every PBX has a syntax that a value could break out of."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from ..domain.errors import BadValue

Allowed = Mapping[str, tuple[re.Pattern[str], str]]
"""The name of a field to what it may be, and to the remedy when it is not."""

CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COMMON: Allowed = {
    "host": (re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]"), "give an IP address or host name"),
    "port": (
        re.compile(r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"),
        "give a port from 1 to 65535",
    ),
    "uuid": (UUID, "give a lower-case uuid"),
    "instance": (re.compile(r"[A-Za-z0-9_.-]{1,64}"), "use letters, digits, '_', '.' and '-', at most 64"),
    "digits": (re.compile(r"[0-9A-D*#]{1,32}"), "use 1 to 32 of the digits 0-9 A-D * #"),
}


def check(allowed: Allowed, name: str, value: str) -> str:
    """Returns `value` when the allow-list of the field `name` lets it pass, else raises `BadValue`."""
    pattern, remedy = allowed[name]
    if not pattern.fullmatch(value):
        raise BadValue(name, value, remedy)
    return value


MAX_NAME = 48
"""Characters of an agent's name that go to the PBX."""
_MAX_ENCODED = MAX_NAME * 12
"""Four bytes of UTF-8 in three characters each."""


def encoded(name: str) -> str:
    """An agent's name as it may stand in a channel variable: ASCII letters, digits, and percent signs for the rest."""
    return "".join(
        chr(byte) if byte < 128 and chr(byte).isalnum() else f"%{byte:02X}" for byte in name[:MAX_NAME].encode()
    )


def decoded(text: str) -> str:
    """A name out of a channel variable, whoever wrote it: without control characters, and no longer than ours."""
    name = unquote(text[:_MAX_ENCODED], errors="replace")
    return "".join(letter for letter in name if letter.isprintable())[:MAX_NAME].strip()
