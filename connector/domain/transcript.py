"""What was said in a call."""

from dataclasses import dataclass
from datetime import datetime

from .calls import Role

CAPTION = "caption-"
"""How the ids of turns begin that a machine made of what a person said: they may be wrong, and are labelled."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One party's turn. The id is the client's and unique in its call: the same id updates the turn.

    `text` is what somebody said: data, never markup. `final` is false while the recogniser may still change it.
    """

    id: str
    speaker: Role
    text: str
    at: datetime
    final: bool = True
