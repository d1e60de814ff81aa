"""The audit of one engagement: intent before effect, what came of it, and what to do when the store fails."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ..domain.calls import Call, CallId, Engagement, Mode
from ..domain.errors import StoreUnavailable, TakeoverError
from ..domain.people import Actor
from ..ports import Journal

log = structlog.get_logger(__name__)


class Record:
    """Writes the acts of one engagement into the journal. Only `intent` can say no."""

    def __init__(
        self,
        journal: Journal,
        actor: Actor,
        call: Call,
        engagement: Engagement,
        *,
        patience: float,
        speaking_patience: float,
    ) -> None:
        self._journal = journal
        self._actor = actor
        self._call = call
        self._engagement = engagement
        self._patience = patience
        self._speaking_patience = speaking_patience
        self._act: int | None = None
        self._release: int | None = None
        self.wish: dict[str, str] = {}
        """More facts of the act at hand: the reason of an override."""
        self.parting: dict[str, str] = {}
        """More facts of the giving back: who has put the agent out, and for what reason."""

    async def intent(self, mode: Mode, was: Mode | None) -> bool:
        """Puts on record that the agent is about to be in `mode`. False when the store failed.

        Speaking, and giving back by listening again, waits only a moment: a row that comes too late stays in the
        audit as an intent without an outcome, beside the emergency record.
        """
        urgent = mode.speaks or (was is not None and was.speaks)
        try:
            async with asyncio.timeout(self._speaking_patience if urgent else None):
                self._act = await self._journal.intent(
                    self._actor.id, mode.value, self._call.id, self._facts(mode, was)
                )
        except (StoreUnavailable, TimeoutError) as error:
            self._act = None
            log.warning("audit.unavailable", call=self._call.id, act=mode.value, why=str(error) or "too slow")
            return False
        return True

    async def emergency(self, mode: Mode, was: Mode | None) -> None:
        """The same for the caller's safety, into the reserve: never fails, and waits a moment at most."""
        facts = self._facts(mode, was) | {"emergency": "store-unavailable"}
        self._act = await self._journal.emergency_intent(self._actor.id, mode.value, self._call.id, facts)

    async def outcome(self, result: str) -> None:
        """What came of the act at hand."""
        number, self._act, self.wish = self._act, None, {}
        await self._finish(number, result)

    async def leaving(self, why: str) -> None:
        """Puts the giving back on record, once; in the reserve where the store does not answer in a moment."""
        if self._release is not None:
            return
        facts = self._base() | {"why": why} | self.parting
        self._release = await sure_intent(
            self._journal, self._actor.id, "release", self._call.id, facts, patience=self._patience
        )

    async def ended(self, why: str) -> None:
        """Closes the books: the act at hand, if any, failed; the release happened, asked for or not."""
        await self.outcome(why)
        if self._release is None:
            await self.leaving(why)
        await self._finish(self._release, "ok")

    async def _finish(self, number: int | None, result: str) -> None:
        if number is not None:
            await close(self._journal, number, result, {"engagement": self._engagement.id})

    def _facts(self, mode: Mode, was: Mode | None) -> dict[str, str]:
        was_fact = {"was": was.value} if was is not None and was is not mode else {}
        return self._base() | was_fact | self.wish

    def _base(self) -> dict[str, str]:
        origin = {"origin": self._actor.origin} if self._actor.origin else {}
        return {"engagement": self._engagement.id, "leg": self._engagement.leg} | origin


async def sure_intent(
    journal: Journal, actor: str, act: str, call: CallId | None, facts: dict[str, str], *, patience: float
) -> int:
    """The intent of an act that must not be refused: in the reserve where the store fails, or takes longer than
    `patience` (in seconds). Never raises."""
    try:
        async with asyncio.timeout(patience):
            return await journal.intent(actor, act, call, facts)
    except (StoreUnavailable, TimeoutError):
        pass
    except Exception:  # a caller waits for this act: whatever is broken here must not keep him waiting
        log.exception("audit.fault", act=act, call=call)
    return await journal.emergency_intent(actor, act, call, facts | {"emergency": "store-unavailable"})


async def audited(
    journal: Journal,
    actor: Actor,
    act: str,
    call: Call,
    facts: dict[str, str],
    verb: Callable[[], Awaitable[None]],
    *,
    patience: float | None = None,
) -> None:
    """One act that stands alone: its intent, the act, and what came of it.

    Not done when the store fails; with `patience` (in seconds) it is, with an emergency record.
    """
    facts = facts | ({"origin": actor.origin} if actor.origin else {})
    if patience is None:
        number = await journal.intent(actor.id, act, call.id, facts)
    else:
        number = await sure_intent(journal, actor.id, act, call.id, facts, patience=patience)
    result = "ok"
    try:
        await verb()
    except TakeoverError as error:
        result = error.slug
        raise
    except BaseException:
        result = "fault"
        raise
    finally:
        await close(journal, number, result)


async def close(journal: Journal, number: int, result: str, facts: dict[str, str] | None = None) -> None:
    """Writes an outcome; one that cannot be written is in the process log only."""
    try:
        await journal.outcome(number, result, facts or {})
    except StoreUnavailable as error:
        log.warning("audit.outcome-lost", intent=number, result=result, why=error.why)
