"""Runs one engagement: feeds the takeover machine, carries out its commands, tells everybody what came of it."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never

import structlog

from ..domain import takeover
from ..domain.calls import Call, Engagement, Mode, PatchId, Phase
from ..domain.errors import (
    AlreadyTaken,
    CallEnded,
    ChannelGone,
    LegNotReady,
    PbxTimeout,
    PbxUnavailable,
    StoreUnavailable,
    TakeoverError,
    VerbRefused,
)
from ..domain.events import AgentPresent
from ..domain.people import Actor
from ..domain.takeover import (
    CallerLeft,
    Change,
    ClosePatch,
    Command,
    Done,
    Due,
    Engage,
    GiveBack,
    Input,
    Leave,
    Lost,
    Prepare,
    Prepared,
    Refused,
    Seen,
    SwitchTo,
    Verify,
    Wait,
)
from ..ports import AgentLegs, Endpoint, Engaged, EngagementKeeper, Journal, Pbx
from .notices import Notices
from .record import Record
from .registry import Registry

log = structlog.get_logger(__name__)

LISTENER_UNFIT = frozenset({"no-such-leg", "worker-late"})
"""What makes a leg unfit even for listening, where no microphone is needed."""


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
    retry: float = 0.5
    """Before something unconfirmed is tried again."""
    settle: float = 0.15
    """How long the reason of an end waits for a better one: the PBX reports the agent's end before the caller's."""
    leave: float = 3.0
    """How long those who wait for an end wait."""


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
        self.patch: PatchId | None = None
        self.note = ""
        self.outcome = ""
        self.left = asyncio.Event()
        """The agent is out; or at least our end of the patch is closed, so that the PBX puts the agent out."""
        self.over = asyncio.Event()
        """The engagement has ended: the agent is out for sure."""
        self.record = Record(parts.journal, actor, call, engagement, parts.timing.record)
        self._parts = parts
        self._state, self._first = takeover.begin(engagement.mode)
        self._mailbox: asyncio.Queue[Input] = asyncio.Queue()
        self._asked_mode: Mode | None = engagement.mode
        self._answer: asyncio.Future[Engagement] = asyncio.get_running_loop().create_future()
        self._taken = True
        self._error: TakeoverError | None = None
        self._endpoint: Endpoint | None = None
        self._channel = ""
        self._spoken: Mode | None = None
        self._since = engagement.since
        self._asked_at = engagement.since
        self._caller_left = asyncio.Event()
        self._caller_why = takeover.CALLER_HANGUP

    # What others see and say

    @property
    def holds_floor(self) -> bool:
        """Whether nobody else may speak in this call; counts what has been asked for."""
        return takeover.holds_floor(self._state) or (
            self._asked_mode is not None and self._asked_mode.speaks and not self.ended
        )

    @property
    def ended(self) -> bool:
        return self._state.phase is Phase.ENDED

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

    def claim(self, mode: Mode) -> None:
        """The agent is about to want another mode: holds the floor for it from now on."""
        self._asked_mode = mode
        self._asked_at = datetime.now(UTC)
        self._taken = False
        self._error = None
        self._answer = asyncio.get_running_loop().create_future()

    def unclaim(self) -> None:
        """The wish was withdrawn before it was asked for."""
        self._asked_mode = None

    def ask(self, mode: Mode) -> None:
        """Asks for the mode that was claimed; `answered` tells what came of it."""
        self.post(Change(mode))

    async def answered(self) -> Engagement:
        """What came of the last wish: the engagement in the mode asked for, or the error."""
        return await asyncio.shield(self._answer)

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

    async def _carry_out(self, command: Prepare | Engage | SwitchTo | Verify | GiveBack | ClosePatch) -> None:
        try:
            answer = await self._perform(command)
        except TakeoverError as error:
            answer = self._failed(command, error)
        except TimeoutError:
            answer = Lost(command.seq)
        except Exception:  # whatever an adapter throws: unknown effect, so the machine verifies or gives back
            log.exception("engagement.command-fault", engagement=self.engagement.id, command=type(command).__name__)
            answer = Lost(command.seq, "fault")
        self.post(answer)

    async def _perform(self, command: Prepare | Engage | SwitchTo | Verify | GiveBack | ClosePatch) -> Input:
        match command:
            case Prepare(seq, mode, patch):
                return await self._prepare(seq, mode, patch)
            case Engage(seq, mode, emergency):
                if emergency:
                    self.record.emergency(mode, None)
                if self._endpoint is None:
                    raise LegNotReady(self.engagement.leg, "no-patch")
                engaged = await self.pbx.engage(self.call, self._endpoint, mode)
                self._channel = engaged.channel
            case SwitchTo(seq, mode, emergency):
                if emergency:
                    self.record.emergency(mode, self._state.mode)
                self._channel = (await self.pbx.switch(self._engaged(), mode)).channel
            case Verify(seq):
                return Seen(seq, await self._look())
            case GiveBack(seq, why):
                await self.record.leaving(why)
                async with asyncio.timeout(self._parts.timing.give_back):
                    await self.pbx.release(self._engaged())
            case ClosePatch(seq):
                await self._close()
            case _:
                assert_never(command)
        return Done(command.seq)

    async def _prepare(self, seq: int, mode: Mode, patch: bool) -> Input:
        """Intent and patch at once: neither has an effect in the call, and both precede the one that has."""
        if not patch:
            recorded = await self.record.intent(mode, self._state.mode)
        else:
            intent, opened = await asyncio.gather(self.record.intent(mode, None), self._open(), return_exceptions=True)
            if isinstance(opened, BaseException):
                raise opened
            if isinstance(intent, BaseException):
                raise intent
            recorded = intent
        if not recorded:
            self._error = StoreUnavailable("the audit could not be written, and listening needs its record")
        return Prepared(seq, recorded)

    async def _open(self) -> None:
        endpoint = await self._parts.legs.open_patch(self.engagement.leg)
        self._endpoint, self.patch = endpoint, PatchId(endpoint.uuid)
        if self.ended:
            await self._close()

    async def _close(self) -> None:
        if self.patch is not None:
            await self._parts.legs.close_patch(self.patch)
        self.left.set()

    async def _look(self) -> Mode | None:
        snapshot = await self.pbx.snapshot()
        return next((e.mode for e in snapshot.events if isinstance(e, AgentPresent) and e.patch == self.patch), None)

    def _failed(self, command: Command, error: TakeoverError) -> Input:
        if isinstance(error, AlreadyTaken):
            error = AlreadyTaken(self.call.id, self._rival())
        if not isinstance(command, GiveBack | ClosePatch | Verify):
            self._error = error
        log.info("engagement.refused", engagement=self.engagement.id, command=type(command).__name__, why=str(error))
        if isinstance(error, PbxUnavailable | PbxTimeout):
            return Lost(command.seq, error.slug)
        if isinstance(command, GiveBack) and isinstance(error, ChannelGone | CallEnded):
            return Done(command.seq)
        if isinstance(command, SwitchTo) and not isinstance(error, AlreadyTaken):
            return Lost(command.seq, error.slug)  # only "somebody speaks" says for sure that the old mode holds
        return Refused(command.seq, error.slug)

    def _rival(self) -> str:
        """Who speaks instead of us: the PBX knows only the channel."""
        others = self._parts.registry.engagements(self.call.id)
        names = [e.agent_name for e in others if e.mode.speaks and e.id != self.engagement.id]
        return names[-1] if names else "another service"

    # Telling

    def _tell(self, tasks: asyncio.TaskGroup) -> None:
        state = self._state
        shown_mode = state.wanted if state.phase is Phase.CONNECTING else state.mode
        changed = self._show(replace(self.engagement, mode=shown_mode, phase=state.phase))
        if state.phase is Phase.ENDED:
            if state.why != takeover.AGENT_GONE:
                self._parts.registry.disengaged(self.engagement.id, state.why)
            self.left.set()
            self.over.set()
        self._answer_wish(tasks)
        self._notify()
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
        if wish is None or not self._taken or phase in (Phase.CONNECTING, Phase.SWITCHING):
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
        if self._error is not None:
            return self._error
        if self._caller_left.is_set():
            return CallEnded(self.call.id)
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

    async def _keep(self, ended: str | None = None) -> None:
        try:
            await self._parts.keeper.put(self.engagement, ended, self.note, self.outcome)
        except StoreUnavailable as error:
            log.warning("engagement.not-kept", engagement=self.engagement.id, why=error.why)

    # The end

    async def _finish(self) -> None:
        why = self._state.why
        try:
            await self._close()
        except TakeoverError as error:  # the worker is gone, and the patch with it
            log.info("engagement.patch-not-closed", engagement=self.engagement.id, why=str(error))
        if why == takeover.AGENT_GONE:
            why = await self._better_reason(why)
            self._parts.registry.disengaged(self.engagement.id, why)
        await self.record.ended(why)
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
        try:
            await self._close()
        except Exception:  # nothing is left to try: the PBX's dead-man gives the call back
            log.exception("engagement.patch-not-closed", engagement=self.engagement.id)
        self._parts.registry.disengaged(self.engagement.id, "fault")

    # The dead-man

    async def _renew(self) -> None:
        timing = self._parts.timing
        unfit = 0
        while True:
            await asyncio.sleep(timing.renew)
            if self._state.phase not in (Phase.ACTIVE, Phase.SWITCHING):
                continue
            reason = self._unfit()
            if reason is None:
                unfit = 0
                await self._guarded(self._renew_once())
                continue
            unfit += 1
            if (unfit - 1) * timing.renew >= timing.unfit:
                self.post(Leave(reason))

    async def _renew_once(self) -> None:
        try:
            async with asyncio.timeout(self._parts.timing.renew):
                await self.pbx.renew(self._engaged())
        except ChannelGone:
            self.post(Leave(takeover.AGENT_GONE))
        except (TakeoverError, TimeoutError) as error:  # the PBX's dead-man is the judge
            log.debug("engagement.not-renewed", engagement=self.engagement.id, why=str(error))

    def _unfit(self) -> str | None:
        """Why the leg is unfit for the mode, None when it is fit."""
        legs, leg = self._parts.legs, self.engagement.leg
        if self._state.mode.speaks or self._state.wanted.speaks:
            return None if legs.alive(leg) else legs.not_alive_reason(leg) or "no-microphone"
        reason = legs.not_alive_reason(leg)
        return reason if reason in LISTENER_UNFIT else None

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception:  # a broken renewal must not end the engagement: without it the dead-man does, on the PBX
            log.exception("engagement.renewal-fault", engagement=self.engagement.id)

    def _engaged(self) -> Engaged:
        return Engaged(self.call.id, self.patch or PatchId(""), self._channel, self._state.mode)
