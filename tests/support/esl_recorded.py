"""Events as a real FreeSWITCH said them (`tests/data/esl`), with other values: the same headers in the same order, also
those that nobody here reads, and those that it says twice."""

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

from .esl_server import event, framed

DATA = Path(__file__).parents[1] / "data" / "esl"
_OF_THAT_CALL = (
    *("unique-id", "channel-name", "caller-", "variable_", "takeover-", "bridge-", "conference-", "member-"),
    *("other-", "job-", "media-bug-", "content-length", "event-sequence", "event-uuid", "hangup-cause", "dtmf-digit"),
)
"""What a recorded event says of its own call, and an event of another one does not say unless it is told."""


@cache
def recorded() -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Of each event, a CUSTOM one by its subclass, the headers of the first that was recorded."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for file in sorted(DATA.glob("*.txt"), reverse=True):
        for block in file.read_text().split("\n\n"):
            pairs = [line.partition(": ")[::2] for line in block.splitlines()]
            headers = tuple((name, unquote(value)) for name, value in pairs if not name.startswith("variable_"))
            said = dict(headers)
            name = said.get("Event-Subclass") or said.get("Event-Name", "")
            if name:
                found.setdefault(name, headers)
    return found


@lru_cache(10_000)
def _encoded(value: str) -> str:
    return quote(value, safe="")


def told(name: str, body: str = "", **headers: str) -> bytes:
    """A recorded event with these headers for its own; as `event` makes it, where none was recorded."""
    if name not in recorded():
        return event(name, body, **headers)
    left = {key.lower(): key for key in headers}
    said: list[tuple[str, str]] = []
    for key, value in recorded()[name]:
        if key.lower() in left:
            said.append((key, headers[left[key.lower()]]))
        elif not key.lower().startswith(_OF_THAT_CALL):
            said.append((key, value))
    there = {key.lower() for key, _ in said}
    said += [(key, headers[key]) for lower, key in left.items() if lower not in there]
    if body:
        said.append(("Content-Length", str(len(body.encode()))))
    lines = "\n".join(f"{key}: {_encoded(value)}" for key, value in said)
    return framed(f"{lines}\n\n{body}".encode())
