"""What a crash left open: engagements of an earlier run of this service that the store has without an end.

The PBX gives such a call back by itself, but it tells no AI platform, and one that was told of a human waits to be told
of the end. Once a PBX has shown what is true there, each of its engagements that is not there any more is ended in the
audit and in the store, and the AI is told as always. A leg that the crash has left in the call is put out as an orphan
by `Takeovers`; its engagement is over when the PBX says that it has gone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from ..domain.calls import CallId, EngagementId, PatchId, Phase
from ..domain.errors import StoreUnavailable
from ..domain.events import AgentGone, AgentPresent, CallGone, PbxEvent, SnapshotTaken
from ..domain.transcript import Turn
from ..ports import EngagementArchive, Journal, TurnKeeper, Unended
from .notices import Notices
from .record import close, sure_intent
from .registry import Registry

log = structlog.get_logger(__name__)

CRASHED = "service-crashed"
RECORD_S = 10.0
"""How long an end waits for its record before that goes to the reserve: nobody waits for it."""


@dataclass(frozen=True, slots=True)
class _Left:
    """One that was left open, and what had been said in its call since it began."""

    unended: Unended
    said: Sequence[Turn]


class Recovery:
    """`restore` before the PBXs report and before anybody can engage, so that nobody of this run is meant; then `run`.

    Engagements of other services, also those that share the store, are left alone; so are those on a PBX that the
    settings do not name any more.
    """

    def __init__(
        self, registry: Registry, keeper: EngagementArchive, turns: TurnKeeper, journal: Journal, notices: Notices
    ) -> None:
        self._registry = registry
        self._keeper = keeper
        self._turns = turns
        self._journal = journal
        self._notices = notices
        self._open: dict[EngagementId, _Left] = {}
        self._legs: dict[str, dict[PatchId, CallId]] = {}  # by PBX that has reported: left by the crash, still there
        self._over: asyncio.Queue[_Left] = asyncio.Queue()
        registry.listen(self._heard)

    async def restore(self) -> None:
        """Reads what the last run left; nothing when the store fails, then the next start does it."""
        try:
            for one in await self._keeper.unended(self._registry.instance):
                begun = one.engagement
                # Read now: what the caller says from here on is said to the AI.
                said = await self._turns.turns(begun.call) if begun.mode.speaks else []
                self._open[begun.id] = _Left(one, [turn for turn in said if turn.at >= begun.since])
        except StoreUnavailable as error:
            log.warning("engagements.not-restored", why=error.why)

    async def run(self) -> None:
        """Ends them, one after the other, until cancelled."""
        while True:
            one = await self._over.get()
            try:
                await self._end(one)
            except Exception:  # it would end the service, and at each start anew, as this one stays in the store
                log.exception("engagement.not-ended", engagement=one.unended.engagement.id)

    def _heard(self, event: PbxEvent) -> None:
        match event:
            case SnapshotTaken(pbx, events):
                mine = self._registry.instance
                present = {e.patch: e.call for e in events if isinstance(e, AgentPresent) and e.instance == mine}
                before = self._legs.get(pbx, present)
                self._legs[pbx] = {patch: call for patch, call in present.items() if patch in before}
            case AgentGone(call, patch):
                pbx = _pbx_of(call)
                self._legs.get(pbx, {}).pop(patch, None)
            case CallGone(call):
                pbx = _pbx_of(call)
                legs = self._legs.get(pbx, {})
                for patch in [patch for patch, of in legs.items() if of == call]:
                    del legs[patch]
            case _:
                return
        if self._open and pbx in self._legs:
            self._settle(pbx)

    def _settle(self, pbx: str) -> None:
        """Those of the PBX that are not in their call any more are over."""
        still = set(self._legs[pbx].values())
        for id_, one in list(self._open.items()):
            call = one.unended.engagement.call
            if _pbx_of(call) == pbx and call not in still:
                del self._open[id_]
                if self._tell(one):
                    self._over.put_nowait(one)

    def _tell(self, one: _Left) -> bool:
        """Tells the AI, before anybody can begin anew in this call: else it would take the old end for that one's."""
        engagement = replace(one.unended.engagement, phase=Phase.ENDED)
        try:
            if engagement.mode.speaks:
                self._notices.over(engagement, one.unended.ai, one.said)
        except Exception:  # it would end the service, and at each start anew, as this one stays in the store
            log.exception("engagement.end-not-told", engagement=engagement.id)
            return False
        return True

    async def _end(self, one: _Left) -> None:
        """Into the audit, and last into the store: a crash before that tells again, under the same id."""
        engagement, ai = replace(one.unended.engagement, phase=Phase.ENDED), one.unended.ai
        facts = {
            "engagement": engagement.id,
            "agent": engagement.agent,
            "mode": engagement.mode.value,
            "why": CRASHED,
        }
        number = await sure_intent(self._journal, "service", "release", engagement.call, facts, patience=RECORD_S)
        await close(self._journal, number, "ok")
        try:
            await self._keeper.put(engagement, CRASHED, instance=self._registry.instance, ai=ai)
        except StoreUnavailable as error:  # the next start does it
            log.warning("engagement.not-kept", engagement=engagement.id, why=error.why)
        log.info("engagement.ended-after-crash", engagement=engagement.id, call=engagement.call)


def _pbx_of(call: CallId) -> str:
    return call.partition("~")[0]
