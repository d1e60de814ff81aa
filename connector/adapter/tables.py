"""Small parts of a fold over what is known of a PBX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..domain.calls import Mode

V = TypeVar("V")

NAMELESS_AI = "ai"
"""The name of an AI that the dialplan marks and no rule names."""
AI_LEFT = "The AI has left this call."


@dataclass(frozen=True, slots=True)
class Rule:
    """How an AI is recognised: `match` is searched in what the PBX calls its channel, or dials for it."""

    name: str
    match: re.Pattern[str]


def recognised(rules: Sequence[Rule], *subjects: str) -> str | None:
    """The name of the first AI whose rule matches one of the subjects."""
    return next((rule.name for rule in rules if any(rule.match.search(subject) for subject in subjects)), None)


def nameless(rules: Sequence[Rule]) -> str:
    """How a marked AI that no rule names is called: where only one is configured, it is that one."""
    return rules[0].name if len(rules) == 1 else NAMELESS_AI


def put(mapping: Mapping[str, V], key: str, value: V) -> dict[str, V]:
    return {**mapping, key: value}


def drop(mapping: Mapping[str, V], key: str) -> Mapping[str, V]:
    return {name: value for name, value in mapping.items() if name != key} if key in mapping else mapping


def mode_of(text: str) -> Mode | None:
    return next((mode for mode in Mode if mode == text), None)
