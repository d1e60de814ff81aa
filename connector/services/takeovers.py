"""Who may be in which call, and how: claims, overrides, and the acts of agents. One `Conductor` per engagement.

A claim is decided without a single await, so of two agents who ask at once exactly one wins. The PBX guards the same
rule on its own, against other services.

When the audit cannot be written: listening, transfer, digits and coaching are refused (`StoreUnavailable`); speaking
and giving back go through with an emergency record, because the caller may need them. So does hanging up by who speaks
with the caller, and taking the caller off hold.
"""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from ..domain import reasons
from ..domain.calls import Call, CallId, Engagement, EngagementId, Mode, Phase
from ..domain.errors import (
    AlreadyEngaged,
    AlreadyTaken,
    BadValue,
    EngagementUnknown,
    ModeNotPossible,
    PbxTimeout,
    PbxUnavailable,
    StoreUnavailable,
    TakeoverError,
)
from ..domain.events import AgentPresent, CallChanged, CallGone, PbxEvent, SnapshotTaken
from ..domain.inputs import CallerLeft, Leave, PatchLost, Seen
from ..domain.people import Actor, demand
from ..ports import AgentLegs, EngagementKeeper, Journal, Pbx
from .conductor import Conductor, Parts
from .conductors import Conductors
from .fitness import demand_fit
from .hands import Timing, release_orphan
from .notices import Notices
from .record import audited
from .registry import WHY_AI_GONE, Registry
from .reports import UNSEEN, reports
from .transcripts import Transcripts

log = structlog.get_logger(__name__)

DIGITS = re.compile(r"[0-9A-D*#]{1,32}")
MAX_NOTE = 4_000
OVERRIDDEN = "taken-over-by-supervisor"
STOPPING = "this service is shutting down"


class Takeovers:
    """Every engagement of this service. All acts raise the errors of `domain.errors`."""

    def __init__(
        self,
        registry: Registry,
        pbxs: Mapping[str, Pbx],
        legs: AgentLegs,
        journal: Journal,
        keeper: EngagementKeeper,
        transcripts: Transcripts,
        timing: Timing = Timing(),  # noqa: B008 - frozen
        *,
        notices: Notices | None = None,
    ) -> None:
        self._registry = registry
        self._pbxs = pbxs
        self._legs = legs
        self._journal = journal
        self._notices = notices or Notices(registry, transcripts)
        self._parts = Parts(registry, legs, journal, keeper, self._notices, timing)
        self._timing = timing
        self._conductors = Conductors(timing.leave)
        self._hung_up: set[CallId] = set()
        self._draining = False
        registry.listen(self._heard)

    async def run(self) -> None:
        """Runs every engagement until cancelled; `engage` needs it running."""
        await self._conductors.run()

    # Coming

    async def engage(self, actor: Actor, call: CallId, mode: Mode, leg: str, override: str | None = None) -> Engagement:
        """Claims and engages; returns when the PBX has confirmed.

        `override` is a supervisor's reason to put the present speaker out. From the leg's own engagement in this
        call it is a change of mode. Raises `CallUnknown`, `CallEnded`, `NotAllowed`, `ModeNotPossible`,
        `LegNotReady`, `AlreadyTaken`, `AlreadyEngaged`, `BadValue`, `StoreUnavailable`, `PbxError`s.
        """
        await self._after_last_try(actor, leg)
        found = self._registry.call(call)
        demand(actor, mode, found)
        self._offered(found, mode)
        mine = self._conductors.of_leg(leg)
        if mine is not None and (mine.call.id != call or mine.engagement.agent != actor.id):
            raise AlreadyEngaged(mine.call.id, mine.engagement.id)
        demand_fit(self._legs, leg, mode)
        pbx = self._pbx(found)
        speakers = self._floor(actor, found, mode, override, but=mine)
        if mine is not None:
            return await self._switch(actor, mine, mode, override, speakers)
        now = datetime.now(UTC)
        engagement = Engagement(
            EngagementId(uuid.uuid4().hex), call, actor.id, actor.name, leg, mode, Phase.CONNECTING, now
        )
        conductor = Conductor(self._parts, pbx, found, actor, engagement)
        self._conductors.claim(conductor)
        try:
            await self._override(actor, conductor, speakers, override)
            self._conductors.start(conductor)
        except BaseException:
            self._conductors.withdraw(conductor)
            raise
        return await conductor.answered()

    async def change(self, actor: Actor, engagement: EngagementId, mode: Mode) -> Engagement:
        """Changes the mode, live; the permission is asked for again."""
        conductor = self._conductors.own(actor, engagement)
        demand(actor, mode, conductor.call_now)
        if mode is conductor.engagement.mode and conductor.settled:
            return conductor.engagement
        self._offered(self._registry.call(conductor.call.id), mode)
        demand_fit(self._legs, conductor.engagement.leg, mode)
        self._pbx(conductor.call)
        speakers = self._floor(actor, conductor.call, mode, None, but=conductor)
        return await self._switch(actor, conductor, mode, None, speakers)

    async def hold(self, actor: Actor, engagement: EngagementId, on: bool) -> Engagement:
        """Music for the caller, from our worker, and nothing for the agent; the PBX is not asked."""

        def holdable() -> Conductor:
            conductor = self._conductors.own(actor, engagement)
            if conductor.leaving:
                raise EngagementUnknown(engagement)
            if on and not conductor.engagement.mode.speaks:
                why = "Only who speaks with the caller can put the call on hold."
                raise ModeNotPossible(conductor.call.id, "hold", why)
            return conductor

        conductor = holdable()
        facts, leg = {"engagement": engagement, "on": str(on).lower()}, conductor.engagement.leg

        async def set_hold() -> None:
            holdable()  # it may have ended while the record was written: the leg's next caller must not hear music
            await self._legs.set_leg(leg, hold=on)
            try:
                holdable()
            except TakeoverError:  # it ended, or began to listen, while the worker was told
                await self._legs.set_leg(leg, hold=False)
                raise
            conductor.hold(on)

        patience = None if on else self._timing.speak  # who waits on hold is not left there for a disk
        await audited(self._journal, actor, "hold", conductor.call, facts, set_hold, patience=patience)
        return conductor.engagement

    def spoken_for(self, call: CallId) -> bool:
        """Whether an agent of ours speaks in this call, or is about to."""
        return any(c.holds_floor for c in self._conductors.of_call(call))

    # Going

    async def release(self, actor: Actor, engagement: EngagementId, note: str = "", outcome: str = "") -> None:
        """Leaves; returns when the AI speaks again. Supervisors may release others."""
        conductor = self._conductors.find(engagement)
        another = conductor.engagement.agent != actor.id
        if another:
            demand(actor, "override", conductor.call_now)
        if len(note) > MAX_NOTE:
            raise BadValue("note", f"{note[:32]}...", f"use at most {MAX_NOTE} characters")
        if another and not conductor.leaving:
            conductor.record.parting = {"by": actor.id}
        # It may be leaving already, with a note that the AI has not read yet.
        conductor.note, conductor.outcome = note or conductor.note, outcome or conductor.outcome
        conductor.post(Leave(reasons.RELEASED))
        if not await self._conductors.gone([conductor]):
            raise PbxTimeout(conductor.pbx.name, "release", self._timing.leave)

    async def kept(self, actor: Actor, call: CallId) -> None:
        """Returns when the store has what the actor has left of this call, which is written behind. Raises
        `StoreUnavailable`."""
        if not await self._conductors.kept(actor, call):
            raise StoreUnavailable("the end of your part in this call is not written yet. Try again in a moment")

    def patch_down(self, patch: str, why: str) -> None:
        """The patch's connection ended on the media side. Ends by the PBX (``pbx-...``) it explains itself."""
        self._conductors.tell(lambda c: c.patch == patch, PatchLost() if why.startswith("pbx-") else Leave(why))

    def leg_down(self, leg: str, why: str) -> None:
        """The agent's leg is gone: browser, network or worker."""
        self._conductors.tell(lambda c: c.engagement.leg == leg, Leave(why))

    async def drain(self) -> None:
        """Shutdown: refuses what is new, gives back every call, waits for it (bounded)."""
        self._draining = True
        present = list(self._conductors)
        for conductor in present:
            conductor.post(Leave("service-stopped"))
        if not await self._conductors.gone(present):
            log.warning("takeovers.drain-incomplete", left=[c.engagement.id for c in present if not c.left.is_set()])

    # Acts on the call

    async def hangup(self, actor: Actor, call: CallId) -> None:
        """Ends the call for everybody."""
        found = self._registry.call(call)
        demand(actor, "hangup", found)
        pbx = self._pbx(found)

        async def end() -> None:
            self._hung_up.add(call)
            try:
                await pbx.hangup(found)
            except TakeoverError:
                self._hung_up.discard(call)
                raise

        patience = self._timing.speak if self._conductors.speaks(actor, call) else None
        await audited(self._journal, actor, "hangup", found, {}, end, patience=patience)

    async def transfer(self, actor: Actor, call: CallId, destination_key: str) -> None:
        """Sends the caller to a configured destination; AI and agents leave."""
        found = self._registry.call(call)
        demand(actor, "transfer", found)
        pbx = self._pbx(found)
        facts = {"to": destination_key[:64]}
        await audited(self._journal, actor, "transfer", found, facts, lambda: pbx.transfer(found, destination_key))

    async def dtmf(self, actor: Actor, call: CallId, digits: str) -> None:
        """Sends digits towards the AI's side. They may be a secret, so the audit has their number only."""
        if not DIGITS.fullmatch(digits):
            raise BadValue("digits", digits[:32], "use 1 to 32 of 0-9, A-D, * and #")
        found = self._registry.call(call)
        demand(actor, "dtmf", found)
        pbx = self._pbx(found)
        facts = {"count": str(len(digits))}
        await audited(self._journal, actor, "dtmf", found, facts, lambda: pbx.send_dtmf(found, digits))

    async def coach(self, actor: Actor, call: CallId, text: str) -> None:
        """Guidance to the AI while it talks."""
        if not text.strip() or len(text) > MAX_NOTE:
            raise BadValue("text", text[:32], f"use 1 to {MAX_NOTE} characters")
        found = self._registry.call(call)
        demand(actor, "coach", found)

        async def send() -> None:
            self._notices.coach(found, text, actor.name)

        await audited(self._journal, actor, "coach", found, {"length": str(len(text))}, send)

    # Claims; nothing here awaits before the claim stands

    @staticmethod
    def _offered(call: Call, mode: Mode) -> None:
        choice = call.choice(mode)
        if not choice.possible:
            raise ModeNotPossible(call.id, mode.value, choice.why)

    def _pbx(self, call: Call) -> Pbx:
        if self._draining:
            raise PbxUnavailable(call.pbx, STOPPING)
        state = next((s for s in self._registry.pbxs() if s.name == call.pbx), None)
        pbx = self._pbxs.get(call.pbx)
        if pbx is None or state is None or not state.up:
            raise PbxUnavailable(call.pbx, state.why if state and state.why else "not connected")
        return pbx

    async def _after_last_try(self, actor: Actor, leg: str) -> None:
        """Waits (bounded) while the leg leaves a call: who was refused, or has given it back, may ask again at once."""
        last = self._conductors.of_leg(leg)
        if last is not None and last.leaving and last.engagement.agent == actor.id:
            await self._conductors.gone([last])

    def _floor(
        self, actor: Actor, call: Call, mode: Mode, override: str | None, but: Conductor | None
    ) -> list[Conductor]:
        """Who has to leave before `mode` may begin. Raises `AlreadyTaken` unless overridden."""
        if not mode.speaks:
            return []
        speakers = [c for c in self._conductors.of_call(call.id) if c is not but and c.holds_floor]
        # Our own last try, which the PBX refused a moment ago, is nobody's rival: it is waited for, like an overridden.
        rivals = [c for c in speakers if not (c.leaving and c.engagement.agent == actor.id)]
        if rivals and override is None:
            raise AlreadyTaken(call.id, rivals[-1].engagement.agent_name)
        if rivals:
            demand(actor, "override", call)
            if not (override or "").strip():
                raise BadValue("override.reason", override or "", "say why you take over from your colleague")
        for foreign in self._registry.engagements(call.id):
            if foreign.id not in self._conductors and foreign.mode.speaks:
                raise AlreadyTaken(call.id, foreign.agent_name)  # another service's: the PBX would refuse us
        return speakers

    async def _override(
        self, actor: Actor, claimed: Conductor, speakers: list[Conductor], override: str | None
    ) -> None:
        if not speakers:
            return
        rivals = [speaker for speaker in speakers if not speaker.leaving]
        reason = {"override": override or ""} if rivals else {}
        for speaker in rivals:
            speaker.record.parting = {"by": actor.id} | reason
            speaker.post(Leave(OVERRIDDEN))
        if not await self._conductors.gone(speakers, ended=True):
            raise AlreadyTaken(claimed.call.id, speakers[-1].engagement.agent_name)
        claimed.record.wish = reason

    async def _switch(
        self, actor: Actor, conductor: Conductor, mode: Mode, override: str | None, speakers: list[Conductor]
    ) -> Engagement:
        if not conductor.ai_present:
            raise ModeNotPossible(conductor.call.id, mode.value, WHY_AI_GONE)
        if not conductor.settled:
            raise ModeNotPossible(conductor.call.id, mode.value, "The last change of mode is still under way.")
        conductor.claim(mode)
        try:
            await self._override(actor, conductor, speakers, override)
        except BaseException:
            conductor.unclaim()
            raise
        conductor.ask(mode)
        return await conductor.answered()

    # What the PBX reports

    def _heard(self, event: PbxEvent) -> None:
        for whom, input_ in reports(event, self._hung_up):
            self._conductors.tell(whom, input_)
        match event:
            case SnapshotTaken():
                self._resync(event)
            case CallChanged(call):
                for conductor in self._conductors.of_call(call.id):
                    conductor.reconsider()
            case CallGone(call_id):
                self._hung_up.discard(call_id)
            case AgentPresent():
                self._adopt_or_release(event)

    def _resync(self, snapshot: SnapshotTaken) -> None:
        """After a reconnection: our engagements learn the truth, patches that nobody owns are released."""
        present = {e.patch: e for e in snapshot.events if isinstance(e, AgentPresent)}
        live = {call.id for call in self._registry.calls()}
        self._hung_up &= live
        for conductor in self._conductors:
            if conductor.pbx.name != snapshot.pbx:
                continue
            if conductor.call.id not in live:
                conductor.post(CallerLeft(UNSEEN))
                continue
            seen = present.get(conductor.patch) if conductor.patch is not None else None
            conductor.post(Seen(None, seen.mode if seen else None))
            conductor.reconsider()
        for event in present.values():
            self._adopt_or_release(event)

    def _adopt_or_release(self, event: AgentPresent) -> None:
        if event.instance != self._registry.instance:
            return
        if any(c.patch == event.patch and not c.ended for c in self._conductors):
            return
        pbx = self._pbxs.get(event.call.partition("~")[0])
        if pbx is not None and self._conductors.running:
            self._conductors.spawn(release_orphan(pbx, self._journal, event, self._timing.record))
