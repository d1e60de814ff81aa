"""Whose a call is, in the audit: every act on a call is kept with the call's tenant and queue.

By these, people who are restricted to some tenants or queues read their part of the audit and no more. One journal
around the other adds them, so that no act can be forgotten.
"""

from collections.abc import Awaitable, Callable, Mapping

from ..domain.calls import CallId
from ..ports import Journal
from .registry import Registry

Past = Callable[[CallId], Awaitable[Mapping[str, str]]]
"""What the audit itself knows of a call that ended long ago: its tenant and queue, or nothing. May raise
`StoreUnavailable`."""


class PlacedJournal:
    """Implements `ports.Journal`."""

    def __init__(self, journal: Journal, registry: Registry, past: Past) -> None:
        self._journal = journal
        self._registry = registry
        self._past = past

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        """See `ports.Journal`."""
        if call is not None:
            facts = {**facts, **(self._registry.whose(call) or await self._past(call))}
        return await self._journal.intent(actor, act, call, facts)

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        """See `ports.Journal`."""
        await self._journal.outcome(number, result, facts)

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        """See `ports.Journal`. Asks no store: for a call that ended long ago, nobody is in an emergency."""
        whose = self._registry.whose(call) if call is not None else {}
        return await self._journal.emergency_intent(actor, act, call, facts | whose)
