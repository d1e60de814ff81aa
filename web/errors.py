"""What can go wrong at the web's own door. The domain's errors are in `connector.domain.errors`.

WebError
|-- BadRequest(faults)               the request is malformed; each fault names field, value and remedy
|-- NotLoggedIn(why)                 no session, an expired one, an unknown token, a wrong password
|-- WrongPassword                    one's own, asked for again, is wrong
|-- ForeignOrigin(origin)            a page of another site made the browser ask
|-- TooManyAttempts(seconds)         log in again later
|-- TooManyRequests(seconds)         ask more slowly
|-- NotFound(what)                   no such path, leg or token
|-- LegExists(leg)                   this session has its agent leg already
`-- Overloaded(why)                  no room for this now
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input, in the three parts a person needs to put it right."""

    field: str
    """Path of the field, as in ``pbx.main.port``; empty when the whole input is meant."""
    value: str
    """What was given, shortened; empty when nothing was."""
    remedy: str

    def __str__(self) -> str:
        if not self.value:
            return f"{self.field or 'input'}: {self.remedy}"
        return f"{self.field or 'input'}: {self.value} is not accepted; {self.remedy}"


class StartFailed(Exception):
    """The service cannot start; the text says what is in the way and what helps."""


class WebError(Exception):
    """Base of the web's errors."""


class BadRequest(WebError):
    """The request is malformed."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults: Sequence[Fault] = faults


class NotLoggedIn(WebError):
    """Nobody known is asking."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class WrongPassword(WebError):
    """Somebody is logged in, but does not know the password of that account."""

    def __init__(self) -> None:
        super().__init__("The present password is wrong; nothing was changed.")


class ForeignOrigin(WebError):
    """The browser says that a page of another origin made this request."""

    def __init__(self, origin: str) -> None:
        given = f"The origin {origin!r} is not this service." if origin else "The request names no origin."
        super().__init__(f"{given} Open the panel at its own address, or use a token instead of a cookie.")
        self.origin = origin


class TooManyAttempts(WebError):
    """Log-in attempts failed too often; `seconds` is how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many failed attempts. Try again in {max(1, round(seconds))} s.")
        self.seconds = seconds


class TooManyRequests(WebError):
    """One actor asks faster than it may; `seconds` is how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"You ask too often. Try again in {max(1, math.ceil(seconds))} s.")
        self.seconds = seconds


class NotFound(WebError):
    """No such thing."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class LegExists(WebError):
    """One session has one agent leg."""

    def __init__(self, leg: str) -> None:
        super().__init__('This session has an agent leg already; send "replace": true to replace it.')
        self.leg = leg


class Overloaded(WebError):
    """There is no room for this now."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
