"""Runs one engagement: feeds the takeover machine, carries out its commands, tells everybody what came of it."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from ..domain import reasons, takeover
from ..domain.calls import Call, Engagement, Mode, PatchId, Phase
from ..domain.commands import Command, Prepare, Wait
from ..domain.errors import (
    CallEnded,
    CallUnknown,
    NotAllowed,
    PbxTimeout,
    StoreUnavailable,
    TakeoverError,
    VerbRefused,
)
from ..domain.inputs import CallerLeft, Change, Due, Input, Leave
from ..domain.people import Actor, may
from ..ports import AgentLegs, EngagementKeeper, Journal, Pbx
from .fitness import unfit
from .hands import Errand, Hands, Timing
from .notices import Notices
from .record import Record
from .registry import Registry

log = structlog.get_logger(__name__)

FAULT = "fault"
KEEP_AGAIN_S = (1.0, 10.0, 60.0)
"""Before an end that the store did not take is written again: without it the agent is taken to be still in the call,
and after a restart the AI is told of the end once more. Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What every conductor works with."""

    registry: Registry
    legs: AgentLegs
    journal: Journal
    keeper: EngagementKeeper
    notices: Notices
    timing: Timing


class Conductor:
    """One engagement from its claim to its end. `post` and `ask` are synchronous; `run` is its one task."""

    def __init__(self, parts: Parts, pbx: Pbx, call: Call, actor: Actor, engagement: Engagement) -> None:
        self.call = call
        self.pbx = pbx
        self.engagement = engagement
        self.note = ""
        self.outcome = ""
        self.left = asyncio.Event()
        """The agent is out; or at least our end of the patch is closed, so that the PBX puts the agent out."""
        self.over = asyncio.Event()
        """The engagement has ended: the agent is out for sure."""
        self.kept = asyncio.Event()
        """The end is in the store, or will never be: there is nothing more to come."""
        self.record = Record(
            parts.journal,
            actor,
            call,
            engagement,
            patience=parts.timing.record,
            speaking_patience=parts.timing.speak,
        )
        self._parts = parts
        self._actor = actor
        self._state, self._first = takeover.begin(engagement.mode)
        self._mailbox: asyncio.Queue[Input] = asyncio.Queue()
        self._asked_mode: Mode | None = engagement.mode
        self._answer: asyncio.Future[Engagement] = asyncio.get_running_loop().create_future()
        self._taken = True
        self._hands = Hands(pbx, parts.legs, parts.registry, call, engagement, self.record, self.left, parts.timing)
        self._spoken: Mode | None = None
        self._since = engagement.since
        self._asked_at = engagement.since
        self._caller_left = asyncio.Event()
        self._caller_why = reasons.CALLER_HANGUP

    # What others see and say

    @property
    def call_now(self) -> Call:
        """The call as it is: since the engagement began it may have gone to another queue."""
        try:
            return self._parts.registry.call(self.call.id)
        except (CallEnded, CallUnknown):
            return self.call

    @property
    def holds_floor(self) -> bool:
        """Whether nobody else may speak in this call; counts what has been asked for."""
        return takeover.holds_floor(self._state) or (
            self._asked_mode is not None and self._asked_mode.speaks and not self.ended
        )

    @property
    def patch(self) -> PatchId | None:
        return self._hands.patch

    @property
    def ended(self) -> bool:
        return self._state.phase is Phase.ENDED

    @property
    def leaving(self) -> bool:
        """On its way out: whoever asked has been answered, and nothing can keep it in the call."""
        return self._state.phase is Phase.RELEASING

    @property
    def settled(self) -> bool:
        """In the call with nothing under way: may be asked for another mode."""
        return self._state.phase is Phase.ACTIVE and self._asked_mode is None

    @property
    def ai_present(self) -> bool:
        return self._state.ai_present

    @property
    def holds_leg(self) -> bool:
        """Whether the agent's leg is still bound to this engagement."""
        return not (self.ended or self.left.is_set())

    def post(self, input_: Input) -> None:
        """Something happened."""
        if isinstance(input_, CallerLeft):
            self._caller_left.set()
            self._caller_why = input_.why
        self._mailbox.put_nowait(input_)

    def reconsider(self) -> None:
        """Puts the agent out who only listens in a call that has gone to a queue or tenant that is not theirs. Who
        speaks, or is being brought in to, stays: the caller would be left in the middle of a sentence."""
        if takeover.holds_floor(self._state):
            return
        if not may(self._actor, self._state.mode.value, self.call_now):
            self.post(Leave(reasons.NOT_YOURS))

    def claim(self, mode: Mode) -> None:
        """The agent is about to want another mode: holds the floor for it from now on."""
        self._asked_mode = mode
        self._asked_at = datetime.now(UTC)
        self._taken = False
        self._hands.error = None
        self._answer = asyncio.get_running_loop().create_future()

    def unclaim(self) -> None:
        """The wish was withdrawn before it was asked for."""
        self._asked_mode = None

    def withdraw(self) -> None:
        """The same for all of the engagement, before `run`: nobody need wait for its end."""
        self.unclaim()
        self.left.set()
        self.over.set()

    def ask(self, mode: Mode) -> None:
        """Asks for the mode that was claimed; `answered` tells what came of it."""
        self.post(Change(mode))

    async def answered(self) -> Engagement:
        """What came of the last wish: the engagement in the mode asked for, or the error; also when nobody can tell,
        and then the wish may yet come true."""
        seconds = self._parts.timing.answer
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            raise self._hands.error or PbxTimeout(self.pbx.name, "change", seconds) from None

    def hold(self, on: bool) -> None:
        """Shows that the agent has put the call on hold, or not."""
        self._show(replace(self.engagement, hold=on))

    # Its one task

    async def run(self) -> None:
        """Runs to the end of the engagement. Its failure is its own: the patch is closed and nobody else suffers."""
        try:
            async with asyncio.TaskGroup() as tasks:
                renewal = tasks.create_task(self._renew())
                self._show(self.engagement, force=True)
                self._start(tasks, self._first)
                while not self.ended:
                    input_ = await self._mailbox.get()
                    self._state, commands = takeover.step(self._state, input_)
                    self._start(tasks, commands)
                    self._taken = self._taken or isinstance(input_, Change)
                    self._tell(tasks)
                renewal.cancel()
                await self._finish()
        except* Exception as group:  # a fault of ours must end here: siblings go on, the PBX un-mutes
            log.exception("engagement.fault", engagement=self.engagement.id, call=self.call.id, exc_info=group)
            await self._fail()

    def _start(self, tasks: asyncio.TaskGroup, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if isinstance(command, Wait):
                later = asyncio.get_running_loop().call_later
                later(self._parts.timing.retry, self.post, Due(command.seq))
            else:
                tasks.create_task(self._carry_out(command))

    async def _carry_out(self, command: Errand) -> None:
        answer = await self._hands.carry_out(command, self._state.mode)
        if self.ended and isinstance(command, Prepare):
            await self._hands.drop()  # the patch came too late
        self.post(answer)

    # Telling

    def _tell(self, tasks: asyncio.TaskGroup) -> None:
        state = self._state
        shown_mode = state.wanted if state.phase is Phase.CONNECTING else state.mode
        hold = self.engagement.hold
        if hold and state.phase is Phase.ACTIVE and not state.mode.speaks:  # who listens wants to hear
            hold = False
            tasks.create_task(self._hands.unhold())
        changed = self._show(replace(self.engagement, mode=shown_mode, phase=state.phase, hold=hold))
        if state.phase is Phase.ENDED:
            if state.why != reasons.AGENT_GONE:
                self._parts.registry.disengaged(self.engagement.id, state.why)
            self.left.set()
            self.over.set()
        self._answer_wish(tasks)
        self._notify()
        if state.phase is Phase.ACTIVE:
            self.reconsider()
        if changed and state.phase is Phase.ACTIVE:
            tasks.create_task(self._keep())

    def _show(self, engagement: Engagement, force: bool = False) -> bool:
        if engagement == self.engagement and not force:
            return False
        self.engagement = engagement
        if engagement.phase is not Phase.ENDED:  # the end is told with its reason, by `_finish`
            self._parts.registry.engaged(engagement)
        return True

    def _answer_wish(self, tasks: asyncio.TaskGroup) -> None:
        phase, wish = self._state.phase, self._asked_mode
        if wish is None or phase in (Phase.CONNECTING, Phase.SWITCHING):
            return
        if not self._taken and phase is not Phase.ENDED:  # after the end nobody takes a wish any more
            return
        self._asked_mode = None
        if phase is Phase.ACTIVE:
            won = self._state.mode is wish
            tasks.create_task(self.record.outcome("ok" if won else self._refusal(wish).slug))
        else:
            won = False
        if self._answer.done():
            return
        if won:
            self._answer.set_result(self.engagement)
        else:
            self._answer.set_exception(self._refusal(wish))
            self._answer.exception()  # whoever asked may have gone: then nobody misses the answer

    def _refusal(self, wish: Mode) -> TakeoverError:
        if self._hands.error is not None:
            return self._hands.error
        if self._caller_left.is_set():
            return CallEnded(self.call.id)
        if self._state.why == reasons.NOT_YOURS:
            return NotAllowed(wish.value, "The call has gone to a queue or tenant that is not yours.")
        why = self._state.why or "the call changed meanwhile"
        return VerbRefused(self.pbx.name, wish.value, why)

    def _notify(self) -> None:
        """Tells the AI when a human begins to speak, in which mode, and when it may speak again."""
        state, notices = self._state, self._parts.notices
        if state.phase is Phase.ACTIVE and state.mode.speaks:
            if self._spoken is None:
                self._since = datetime.now(UTC)
            if self._spoken is not state.mode:
                notices.started(self.call, self.engagement, self._asked_at)
            self._spoken = state.mode
        elif self._spoken is not None and state.phase in (Phase.ACTIVE, Phase.ENDED):
            self._spoken = None
            notices.ended(self.call, self.engagement, self._since, self.note, self.outcome)

    async def _keep(self, ended: str | None = None) -> bool:
        try:
            instance, ai = self._parts.registry.instance, self.call.ai
            await self._parts.keeper.put(self.engagement, ended, self.note, self.outcome, instance=instance, ai=ai)
        except StoreUnavailable as error:
            log.warning("engagement.not-kept", engagement=self.engagement.id, why=error.why)
            return False
        return True

    # The end

    async def _finish(self) -> None:
        why = self._state.why
        await self._hands.drop()
        if why in (reasons.AGENT_GONE, reasons.AI_FALLBACK):  # a caller who hangs up takes AI and agent along first
            why = await self._better_reason(why)
            self._parts.registry.disengaged(self.engagement.id, why)
        await self.record.ended(why)
        for pause in KEEP_AGAIN_S:
            if await self._keep(why):
                return
            await asyncio.sleep(pause)
        await self._keep(why)

    async def _better_reason(self, why: str) -> str:
        try:
            async with asyncio.timeout(self._parts.timing.settle):
                await self._caller_left.wait()
        except TimeoutError:
            return why
        return self._caller_why

    async def _fail(self) -> None:
        self._state = replace(self._state, phase=Phase.ENDED)
        self.left.set()
        self.over.set()
        if not self._answer.done():
            self._answer.set_exception(VerbRefused(self.pbx.name, "engage", "an internal fault"))
            self._answer.exception()
        await self._hands.drop()
        self._parts.registry.disengaged(self.engagement.id, FAULT)
        try:
            self._notify()  # an AI that was told of a human waits to be told of the end
            await self.record.ended(FAULT)
            await self._keep(FAULT)
        except Exception:  # what is broken may be this; the patch is closed, and that is what counts
            log.exception("engagement.end-not-told", engagement=self.engagement.id, call=self.call.id)

    # The dead-man

    async def _renew(self) -> None:
        """Feeds the PBX's dead-man while the leg is fit; a leg that stays unfit leaves."""
        timing = self._parts.timing
        unfit = 0
        while True:
            await asyncio.sleep(timing.renew)
            if self._state.phase not in (Phase.ACTIVE, Phase.SWITCHING):
                continue
            reason = self._unfit()
            if reason is None:
                unfit = 0
                if not await self._hands.renew(self._state.mode):
                    self.post(Leave(reasons.AGENT_GONE))
                continue
            unfit += 1
            if (unfit - 1) * timing.renew >= timing.unfit:
                self.post(Leave(reason))

    def _unfit(self) -> str | None:
        """Why the leg is unfit for the mode, None when it is fit."""
        return unfit(self._parts.legs, self.engagement.leg, self._state.mode, self._state.wanted)
