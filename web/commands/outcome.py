"""What a command says: lines for people, facts for programs, and the exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class CommandFailed(Exception):
    """The command could not do what was asked; the text names what is wrong and what helps. Exit code 1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`lines` for a terminal, `facts` for ``--json``; `code` 0 done, 1 not done."""

    lines: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    code: int = 0
