"""The agents' WebRTC legs as their owners see them: opened, changed and closed only by the session that owns them."""

from collections.abc import Mapping
from typing import Any, Protocol

import structlog
from typing_extensions import TypedDict

from connector.domain.errors import LegNotReady

from .auth import Principal
from .errors import BadRequest, Fault, LegExists, NotFound, Overloaded
from .messages import ChangeLeg, NewLeg
from .routing import Ask, Route

log = structlog.get_logger()


class Opened(Protocol):
    """A leg that was just opened."""

    @property
    def leg(self) -> str: ...
    @property
    def answer(self) -> str:
        """The SDP answer."""


class Legs(Protocol):
    """What is needed of the media pool."""

    async def open_leg(self, offer: str, owner: str) -> Opened:
        """Raises `ValueError` for an offer that cannot be answered, in words; `Overloaded` when there is no room."""

    async def renew_leg(self, leg: str, offer: str) -> Opened:
        """A new connection of the same browser. Raises as `open_leg`, and `LegNotReady` where there is no such leg."""

    async def close_leg(self, leg: str) -> None: ...

    async def set_leg(self, leg: str, *, muted: bool | None = None, suppression: bool | None = None) -> None: ...

    def alive(self, leg: str) -> bool: ...

    def not_alive_reason(self, leg: str) -> str | None: ...

    def signal_lost(self, leg: str) -> None: ...

    def signal_back(self, leg: str) -> None: ...


class LegJson(TypedDict):
    leg: str
    ready: bool
    why: str | None


class LegsJson(TypedDict):
    legs: list[LegJson]


class AnswerJson(TypedDict):
    leg: str
    sdp: str
    type: str


class Desk:
    """Which leg is whose. One leg per session; nobody can name another's."""

    def __init__(self, legs: Legs) -> None:
        self._legs = legs
        self._by_session: dict[str, str | None] = {}
        """None while the leg is being opened."""
        self._replaced: dict[str, str] = {}
        """Whose legs were that another window has replaced, until the pool says that they are gone."""

    async def open(self, principal: Principal, offer: str, *, replace: bool | str) -> Opened:
        """Answers an offer. Raises `LegExists`, `BadRequest`.

        `replace` True is another window: it gets a new leg, and the old one's engagement ends. The leg's own id is the
        same window on another network: the leg goes on, and with it the engagement.
        """
        session = principal.session
        if (leg := self._by_session.get(session)) and leg == replace:
            try:
                return await self._legs.renew_leg(leg, offer)
            except ValueError as error:
                raise BadRequest(Fault("sdp", "", str(error))) from None
            except LegNotReady:
                log.info("leg-not-renewed", leg=leg)  # it went meanwhile: then a new one is what is wanted
        if session in self._by_session:
            leg = self._by_session[session]
            if leg is None or not replace:
                raise LegExists(leg or "")
        else:
            leg = None
        self._by_session[session] = None  # before the first await: two requests at once cannot both go on
        try:
            if leg is not None:
                self._replaced[leg] = session  # the window that still shows it is told when it is gone
                await self._legs.close_leg(leg)
            opened = await self._legs.open_leg(offer, session)
        except ValueError as error:
            self._by_session.pop(session, None)
            raise BadRequest(Fault("sdp", "", str(error))) from None
        except BaseException:
            self._by_session.pop(session, None)
            raise
        if session not in self._by_session:  # logged out meanwhile
            await self._legs.close_leg(opened.leg)
            raise NotFound("The session ended while its leg was being opened.")
        self._by_session[session] = opened.leg
        return opened

    def owned(self, session: str, leg: str) -> None:
        """Raises `NotFound` unless the leg is this session's: whether another has it is nobody's business."""
        if not self.owns(session, leg):
            raise NotFound(f"There is no leg {leg!r} of yours; open one with POST /api/v1/legs.")

    def owns(self, session: str, leg: str) -> bool:
        """Whether the leg is this session's."""
        return bool(leg) and self._by_session.get(session) == leg

    def of(self, session: str) -> str | None:
        """The session's leg."""
        return self._by_session.get(session)

    def owner(self, leg: str) -> str | None:
        """The session that owns a leg."""
        return next((session for session, one in self._by_session.items() if one == leg), None)

    async def change(self, session: str, leg: str, *, muted: bool | None, suppression: bool | None) -> None:
        """Mutes, or switches the voice cleaning. Raises `NotFound`."""
        self.owned(session, leg)
        await self._legs.set_leg(leg, muted=muted, suppression=suppression)

    async def close(self, session: str, leg: str) -> None:
        """Closes the leg; its engagement ends. Raises `NotFound`."""
        self.owned(session, leg)
        self._by_session.pop(session, None)
        await self._legs.close_leg(leg)

    async def end_session(self, session: str) -> None:
        """The session is over, and so is its leg."""
        leg = self._by_session.pop(session, None)
        if leg is not None:
            await self._legs.close_leg(leg)

    def down(self, leg: str) -> str | None:
        """The pool says that a leg is gone: forgotten. Returns whose it was."""
        session = self.owner(leg)
        if session is not None:
            self._by_session.pop(session, None)
        return session or self._replaced.pop(leg, None)

    def signal_lost(self, leg: str) -> None:
        """No socket of the leg's browser is connected any more."""
        if self.owner(leg) is not None:
            self._legs.signal_lost(leg)

    def signal_back(self, leg: str) -> None:
        """The leg's browser is connected again."""
        self._legs.signal_back(leg)

    def state(self, session: str) -> list[LegJson]:
        """The session's leg and whether it is fit to speak."""
        leg = self._by_session.get(session)
        if leg is None:
            return []
        return [{"leg": leg, "ready": self._legs.alive(leg), "why": self._legs.not_alive_reason(leg)}]

    def __len__(self) -> int:
        return len(self._by_session)


def leg_routes(desk: Desk) -> list[Route]:
    """The routes of the agent's leg."""

    async def create(ask: Ask) -> Mapping[str, Any]:
        body = ask.body(NewLeg)
        opened = await desk.open(ask.principal, body.sdp, replace=body.replace)
        return {"leg": opened.leg, "sdp": opened.answer, "type": "answer"}

    async def mine(ask: Ask) -> Mapping[str, Any]:
        return {"legs": desk.state(ask.principal.session)}

    async def change(ask: Ask) -> None:
        body = ask.body(ChangeLeg)
        leg = ask.request.match_info["leg"]
        await desk.change(ask.principal.session, leg, muted=body.muted, suppression=body.suppression)

    async def close(ask: Ask) -> None:
        await desk.close(ask.principal.session, ask.request.match_info["leg"])

    path, one = "/api/v1/legs", "/api/v1/legs/{leg}"
    return [
        Route(
            "POST",
            path,
            "open-leg",
            create,
            "Open my leg",
            NewLeg,
            AnswerJson,
            201,
            record="best",
            errors=(LegExists, Overloaded),
        ),
        Route("GET", path, "open-leg", mine, "My leg", answer=LegsJson),
        Route(
            "PATCH",
            one,
            "open-leg",
            change,
            "Mute, voice cleaning",
            ChangeLeg,
            status=204,
            record="data",  # one's own microphone; who hears it is the engagement's mode, and that is on record
        ),
        Route(
            "DELETE",
            one,
            "open-leg",
            close,
            "Close my leg",
            status=204,
            record="best",
            word="close-leg",
            limited=False,
            facts=lambda ask: {"leg": ask.request.match_info["leg"][:64]},
        ),
    ]
