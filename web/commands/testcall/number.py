"""What a test call dials, where it does not go past the site's dialplan."""

import re
from dataclasses import dataclass

from connector.domain.errors import BadValue

_NUMBER = re.compile(r"[A-Za-z0-9_.+*#-]{1,80}")
_CONTEXT = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True, slots=True)
class Number:
    """What is dialled, and the dialplan context in which the site's callers come in. Raises `BadValue`."""

    number: str
    context: str

    def __post_init__(self) -> None:
        if not _NUMBER.fullmatch(self.number):
            raise BadValue("--call", self.number, "give a number as it is dialled, without spaces")
        if not _CONTEXT.fullmatch(self.context):
            raise BadValue("--context", self.context, "give the name of the context in which your callers come in")

    def __str__(self) -> str:
        return f"{self.number} in [{self.context}]"
