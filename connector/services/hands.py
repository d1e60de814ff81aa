"""What a takeover machine's commands do: on the PBX, on the agent's leg, and in the audit."""

import asyncio
from dataclasses import dataclass
from typing import assert_never

import structlog

from ..domain.calls import Call, Engagement, Mode, PatchId
from ..domain.commands import ClosePatch, Engage, GiveBack, Prepare, SwitchTo, Verify
from ..domain.errors import (
    AlreadyTaken,
    CallEnded,
    ChannelGone,
    LegNotReady,
    PbxTimeout,
    PbxUnavailable,
    StoreUnavailable,
    TakeoverError,
)
from ..domain.events import AgentPresent
from ..domain.inputs import Done, Input, Lost, Prepared, Refused, Seen
from ..ports import AgentLegs, Endpoint, Engaged, Journal, Pbx
from .fitness import demand_fit
from .record import Record, close, sure_intent
from .registry import Registry

log = structlog.get_logger(__name__)

Errand = Prepare | Engage | SwitchTo | Verify | GiveBack | ClosePatch
"""The commands that need somebody else; `Wait` needs only a clock."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds."""

    renew: float = 1.0
    """Between two renewals of the PBX's dead-man (5 s)."""
    unfit: float = 2.0
    """A leg that has been unfit for so long leaves the call."""
    give_back: float = 1.0
    """For the PBX's confirmation of one try to give back."""
    record: float = 0.1
    """How long a giving back waits for its record before it goes to the reserve."""
    speak: float = 0.3
    """The same before speaking: a caller in distress must not wait for a disk."""
    retry: float = 0.5
    """Before something unconfirmed is tried again."""
    settle: float = 0.5
    """How long the reason of an end waits for a better one: the PBX reports the agent's end before the caller's."""
    leave: float = 3.0
    """How long those who wait for an end wait."""
    answer: float = 15.0
    """How long who asks for a mode waits: more than a PBX may take to confirm it, and to be asked what came of it."""


class Hands:
    """Carries out the commands of one engagement. Nothing it does raises: what failed is an answer."""

    def __init__(
        self,
        pbx: Pbx,
        legs: AgentLegs,
        registry: Registry,
        call: Call,
        engagement: Engagement,
        record: Record,
        closed: asyncio.Event,
        timing: Timing,
    ) -> None:
        self.patch: PatchId | None = None
        self.error: TakeoverError | None = None
        """Why the last wish failed, for whoever asked."""
        self._pbx = pbx
        self._legs = legs
        self._registry = registry
        self._call = call
        self._id = engagement.id
        self._leg = engagement.leg
        self._name = engagement.agent_name
        self._record = record
        self._closed = closed
        self._timing = timing
        self._endpoint: Endpoint | None = None
        self._channel = ""

    async def carry_out(self, command: Errand, mode: Mode) -> Input:
        """Does it, in a call that is in `mode` now, and returns the answer for the machine."""
        try:
            return await self._perform(command, mode)
        except TakeoverError as error:
            return self._failed(command, error)
        except TimeoutError:
            return Lost(command.seq)
        except Exception:  # whatever an adapter throws: unknown effect, so the machine verifies or gives back
            log.exception("engagement.command-fault", engagement=self._id, command=type(command).__name__)
            return Lost(command.seq, "fault")

    async def renew(self, mode: Mode) -> bool:
        """Feeds the PBX's dead-man; false when the PBX says that there is nobody to feed."""
        try:
            async with asyncio.timeout(self._timing.renew):
                await self._pbx.renew(self._engaged(mode))
        except ChannelGone:
            return False
        except (TakeoverError, TimeoutError) as error:  # the PBX's dead-man is the judge
            log.debug("engagement.not-renewed", engagement=self._id, why=str(error))
        except Exception:  # a broken renewal must not end the engagement: without it the dead-man does, on the PBX
            log.exception("engagement.renewal-fault", engagement=self._id)
        return True

    async def unhold(self) -> None:
        """Takes the agent's leg off hold."""
        try:
            await self._legs.set_leg(self._leg, hold=False)
        except TakeoverError as error:  # the leg is gone, and its hold with it
            log.info("engagement.not-unheld", engagement=self._id, why=str(error))

    async def drop(self) -> None:
        """Closes our end of the patch, as the last thing: whether it works or not, there is nothing more to do."""
        try:
            await self._close()
        except TakeoverError as error:  # the worker is gone, and the patch with it
            log.info("engagement.patch-not-closed", engagement=self._id, why=str(error))
        except Exception:  # the PBX's dead-man gives the call back
            log.exception("engagement.patch-not-closed", engagement=self._id)

    async def _perform(self, command: Errand, was: Mode) -> Input:
        match command:
            case Prepare(seq, mode, patch):
                return await self._prepare(seq, mode, patch, was)
            case Engage(_, mode, emergency):
                if self._endpoint is None:
                    raise LegNotReady(self._leg, "no-patch")
                self._fit(mode)
                call = self._registry.call(self._call.id)  # as of now: it may have got another AI meanwhile
                if emergency:
                    await self._record.emergency(mode, None)
                engaged = await self._pbx.engage(call, self._endpoint, mode, self._name)
                self._channel = engaged.channel
            case SwitchTo(_, mode, emergency):
                self._fit(mode)
                if emergency:
                    await self._record.emergency(mode, was)
                self._channel = (await self._pbx.switch(self._engaged(was), mode)).channel
            case Verify(seq):
                return Seen(seq, await self._look())
            case GiveBack(_, why):
                await self._record.leaving(why)
                async with asyncio.timeout(self._timing.give_back):
                    await self._pbx.release(self._engaged(was))
            case ClosePatch():
                await self._close()
            case _:
                assert_never(command)
        return Done(command.seq)

    def _fit(self, mode: Mode) -> None:
        """Once more, in the last moment: a colleague had to be put out before, or the disk was slow."""
        if mode.speaks:
            demand_fit(self._legs, self._leg, mode)

    async def _prepare(self, seq: int, mode: Mode, patch: bool, was: Mode) -> Input:
        """Intent and patch at once: neither has an effect in the call, and both precede the one that has."""
        if not patch:
            recorded = await self._record.intent(mode, was)
        else:
            intent, opened = await asyncio.gather(self._record.intent(mode, None), self._open(), return_exceptions=True)
            if isinstance(opened, BaseException):
                raise opened
            if isinstance(intent, BaseException):
                raise intent
            recorded = intent
        if not recorded:
            self.error = StoreUnavailable("the audit could not be written, and listening needs its record")
        return Prepared(seq, recorded)

    async def _open(self) -> None:
        self._endpoint = await self._legs.open_patch(self._leg, rate=await self._pbx.rate(self._call))
        self.patch = PatchId(self._endpoint.uuid)

    async def _close(self) -> None:
        if self.patch is not None:
            await self._legs.close_patch(self.patch)
        self._closed.set()

    async def _look(self) -> Mode | None:
        snapshot = await self._pbx.snapshot()
        return next((e.mode for e in snapshot.events if isinstance(e, AgentPresent) and e.patch == self.patch), None)

    def _failed(self, command: Errand, error: TakeoverError) -> Input:
        if isinstance(error, AlreadyTaken):
            error = AlreadyTaken(self._call.id, error.speaker or self._rival())
        if not isinstance(command, GiveBack | ClosePatch | Verify):
            self.error = error
        log.info("engagement.refused", engagement=self._id, command=type(command).__name__, why=str(error))
        if isinstance(error, PbxUnavailable | PbxTimeout):
            return Lost(command.seq, error.slug)
        if isinstance(command, GiveBack) and isinstance(error, ChannelGone | CallEnded):
            return Done(command.seq)
        if isinstance(command, SwitchTo) and not isinstance(error, AlreadyTaken | LegNotReady):
            return Lost(command.seq, error.slug)  # only these two say for sure that the old mode holds
        return Refused(command.seq, error.slug)

    def _rival(self) -> str:
        """Who speaks instead of us, as far as we have seen, where the PBX does not tell."""
        others = self._registry.engagements(self._call.id)
        names = [e.agent_name for e in others if e.mode.speaks and e.id != self._id]
        return names[-1] if names else "another service"

    def _engaged(self, mode: Mode) -> Engaged:
        return Engaged(self._call.id, self.patch or PatchId(""), self._channel, mode)


async def release_orphan(pbx: Pbx, journal: Journal, event: AgentPresent, patience: float) -> None:
    """Puts out a patch of ours that no engagement owns: from before a crash, or come after it was given up.

    The record waits `patience` seconds for the store: the AI may be silent until then.
    """
    facts = {"patch": event.patch, "mode": event.mode.value, "why": "orphan"}
    number = await sure_intent(journal, "service", "release", event.call, facts, patience=patience)
    result = "ok"
    try:
        await pbx.release(Engaged(event.call, event.patch, event.channel, event.mode))
    except TakeoverError as error:  # the PBX's dead-man, which nobody feeds, ends it
        result = error.slug
    except Exception:  # an orphan must never take the living with it
        log.exception("engagement.orphan-fault", patch=event.patch, call=event.call)
        result = "fault"
    await close(journal, number, result)
