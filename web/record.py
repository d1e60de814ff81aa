"""Acts of the web's own (log-ins, tokens, legs) in the audit: the intent before the effect, then what came of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import structlog

from connector.domain.calls import CallId
from connector.domain.errors import StoreUnavailable, TakeoverError
from connector.ports import Journal
from connector.services.record import close

from .errors import WebError
from .middleware import slug_of

log = structlog.get_logger()

Recording = Literal["first", "best", "inside", "data"]
"""``first``: the act does not happen when its intent cannot be kept. ``best``: the act goes on without (the process
log has it), because somebody's way out or an agent's voice hangs on it. ``inside``: the handler or the service it
calls writes its own. ``data``: no act of a person, or one's own microphone; the route says why."""

_PATIENCE = 0.5
"""Seconds that a ``best`` act waits for the audit: log-out has to give calls back within one."""


@asynccontextmanager
async def recorded(
    journal: Journal, actor: str, act: str, facts: Mapping[str, str], call: CallId | None = None, *, must: bool = True
) -> AsyncIterator[None]:
    """Raises `StoreUnavailable` before the effect when the intent cannot be kept and it `must`."""
    number: int | None = None
    try:
        async with asyncio.timeout(None if must else _PATIENCE):
            number = await journal.intent(actor, act, call, dict(facts))
    except (StoreUnavailable, TimeoutError) as error:
        if must:
            raise
        log.warning("audit.unkept", actor=actor, act=act, call=call, facts=dict(facts), why=str(error) or "too slow")
    result = "fault"
    try:
        yield
        result = "ok"
    except (WebError, TakeoverError) as error:
        result = slug_of(error)
        raise
    finally:
        if number is not None:
            await close(journal, number, result)
