"""What the voice chain asks of a suppressor."""

from typing import Protocol

from ..frame import Sound


class Suppressor(Protocol):
    """Holds what is the same for all sessions; what is a session's own is a row of float32, made by `fresh`."""

    @property
    def kind(self) -> str:
        """`neural` or `classical`."""
        ...

    def fresh(self) -> Sound:
        """The row of a new session."""
        ...

    def flush(self, row: Sound) -> None:
        """Drop the sound that is still inside; what was learnt about the noise stays."""

    def process(self, rows: Sound, sound: Sound) -> Sound:
        """(sessions, n * 320) samples -> the same shape, 10 ms later. `rows` moves on in place, one row a session."""
        ...
