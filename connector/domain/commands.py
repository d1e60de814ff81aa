"""What the takeover machine wants done. Each command has a number, which its answer bears (see `inputs`)."""

from dataclasses import dataclass

from .calls import Mode


@dataclass(frozen=True, slots=True)
class Prepare:
    """Put the intent on record and, with `patch`, open the patch; both at once. Answer: `Prepared`, `Refused`."""

    seq: int
    mode: Mode
    patch: bool


@dataclass(frozen=True, slots=True)
class Engage:
    """Bring the patch into the call. With `emergency` the intent goes to the reserve first."""

    seq: int
    mode: Mode
    emergency: bool


@dataclass(frozen=True, slots=True)
class SwitchTo:
    """Change the mode. With `emergency` the intent goes to the reserve first."""

    seq: int
    mode: Mode
    emergency: bool


@dataclass(frozen=True, slots=True)
class Verify:
    """Read from the PBX in which mode the patch is in the call. Answer: `Seen`, `Lost`."""

    seq: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Take the agent out and make the AI audible. Never waits for the store longer than a moment."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class ClosePatch:
    """Close our end of the patch: the PBX's own fail-safe makes the AI audible."""

    seq: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back with `Due` after the retry interval."""

    seq: int


Command = Prepare | Engage | SwitchTo | Verify | GiveBack | ClosePatch | Wait
