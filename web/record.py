"""Acts of the web's own (log-ins, tokens) in the audit: the intent before the effect, then what came of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from connector.domain.calls import CallId
from connector.domain.errors import TakeoverError
from connector.ports import Journal

from .errors import WebError
from .middleware import slug_of


@asynccontextmanager
async def recorded(
    journal: Journal, actor: str, act: str, facts: Mapping[str, str], call: CallId | None = None
) -> AsyncIterator[None]:
    """Raises `StoreUnavailable` before the effect when the intent cannot be kept."""
    number = await journal.intent(actor, act, call, dict(facts))
    try:
        yield
    except (WebError, TakeoverError) as error:
        await journal.outcome(number, slug_of(error), {})
        raise
    await journal.outcome(number, "ok", {})
