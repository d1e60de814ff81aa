"""Staying connected: one session after the other, for ever, with pauses that grow, and each loss told once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import structlog

from ..domain.errors import PbxError, PbxTimeout, PbxUnavailable
from ..domain.events import PbxDown, PbxEvent, SnapshotTaken

log = structlog.get_logger(__name__)

BACKOFF_S = (0.2, 1.0)
"""First and longest pause between two attempts to connect. The PBX's dead-man waits 5 s, which a short cut must not
outlast: with longer pauses one of 3.1 s would end every takeover."""
REFUSED_BACKOFF_S = (5.0, 60.0)
"""The same after a refused login: an attempt a second would look like an attack."""
RECHECK_S = (0.2, 5.0)
"""First and longest pause between two looks whether all is there now that we need."""
PING_EVERY_S = 1.0


class LoginRefused(PbxUnavailable):
    """The PBX is there and does not want us: trying again soon is of no use."""


async def stay_connected(
    pbx: str, session: Callable[[], AsyncGenerator[PbxEvent, None]], because: Callable[[str], None]
) -> AsyncIterator[PbxEvent]:
    """Yields what each `session` yields. One session is one connection: it ends by raising, and its snapshot says that
    it was a good one. `because` is told why there is no connection, before `PbxDown` is."""
    told, pause = "", BACKOFF_S[0]
    while True:
        why, longest, shown_up = "the session ended", BACKOFF_S[1], False
        try:
            async with aclosing(session()) as events:
                async for event in events:
                    shown_up = True
                    yield event
                    if isinstance(event, SnapshotTaken):
                        told, pause = "", BACKOFF_S[0]
        except LoginRefused as fault:
            why, longest = fault.why, REFUSED_BACKOFF_S[1]
            pause = max(pause, REFUSED_BACKOFF_S[0])
        except PbxUnavailable as fault:
            why = fault.why
        except PbxError as fault:
            why = str(fault)
        because(why)
        news = why != told
        if news:
            told = why
            log.warning("pbx.down", pbx=pbx, why=why)
        if news or shown_up:
            yield PbxDown(pbx, why)
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)


async def until_fit(look: Callable[[], Awaitable[str]]) -> None:
    """Returns when `look` finds nothing missing any more: no event tells when an administrator has installed it."""
    pause, longest = RECHECK_S
    why = "not looked yet"
    while why:
        await asyncio.sleep(pause)
        why, pause = await look(), min(2 * pause, longest)


async def keep_alive(ping: Callable[[], Awaitable[object]], silent: Callable[[], None]) -> None:
    """Notices a half-open link: TCP alone would take a quarter of an hour. `silent` is told of each unanswered ping;
    returns when there is no connection any more."""
    while True:
        await asyncio.sleep(PING_EVERY_S)
        try:
            await ping()
        except PbxTimeout:
            silent()
        except PbxUnavailable:
            return
