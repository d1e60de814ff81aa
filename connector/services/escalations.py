"""Requests for a human: who asks in which call, how urgently, until when; and the ladder while nobody comes.

At most one per call. It is over when somebody speaks with the caller, when it is withdrawn, and with the call. It is
kept in the store, so that a restart forgets none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from ..domain.calls import Call, CallId, Phase
from ..domain.errors import NotAllowed, PbxTimeout, PbxUnavailable, StoreUnavailable, TakeoverError
from ..domain.escalation import Escalation, Priority, Step, climbed, joined, less_urgent, next_step
from ..domain.events import Dtmf, HumanAsked, PbxEvent, SnapshotTaken
from ..domain.people import Actor, demand
from ..ports import EscalationKeeper, Journal
from .changes import CallRemoved, CallUpserted, Change, EngagementChanged
from .lone_digit import LoneDigit
from .notices import Notices
from .record import close, sure_intent
from .registry import Registry

log = structlog.get_logger(__name__)

LADDER_ACTOR = "service"
DIALPLAN, CALLER = "dialplan", "caller"
CALLER_REASON = "The caller pressed {digit}."
RECORD_S = 0.3
"""How long a step waits for its record before that goes to the reserve: a slow disk must not leave a caller alone."""
CLAIMED_S = 1.0
"""How long the ladder stands still while somebody is about to speak with the caller."""
STOP_S = 2.0
"""For the last writing when the service stops."""
RETRY_S = (2.0, 5.0, 10.0)
"""Before a transfer that failed is tried again. A PBX that is away is asked again and again, as long as the call goes
on there; one that refuses is not."""

Transfer = Callable[[Call, str], Awaitable[None]]
Claimed = Callable[[CallId], bool]
Clock = Callable[[], datetime]


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about requests for a human."""

    ladder: Sequence[Step] = ()
    deadline_s: float | None = None
    """For requests that name none."""
    caller_digit: str = ""
    """The digit with which a caller asks for a human; empty: none."""
    ceilings: Mapping[str, Priority] = field(default_factory=dict)
    """By an AI's name: the most urgent that its token may ask for."""
    grace_s: float = 10.0
    """After a restart no step is taken for so long: panels need a moment to come back."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the ladder works with."""

    journal: Journal
    keeper: EscalationKeeper
    notices: Notices
    transfer: Transfer
    claimed: Claimed
    """Whether an agent of ours speaks with the caller or has asked to: one who listens and is about to speak is still
    shown as listening."""


class Escalations:
    """Kept beside the registry. `ask` and `withdraw` are synchronous; `run` is what climbs, records and keeps."""

    def __init__(self, registry: Registry, means: Means, policy: Policy, clock: Clock = now) -> None:
        self._registry = registry
        self._means = means
        self._policy = policy
        self._clock = clock
        self._open: dict[CallId, Escalation] = {}
        self._calls: dict[CallId, Call] = {}  # of the open ones, as last shown
        self._kept: dict[CallId, Escalation] = {}  # from before a restart; their PBX has not reported yet
        self._timers: dict[CallId, asyncio.TimerHandle] = {}
        self._changed: set[CallId] = set()  # what the store has not been told
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._digit = LoneDigit(policy.caller_digit, self._pressed, self._taken) if policy.caller_digit else None
        registry.listen(self._heard)
        registry.watch(self._seen)

    def of(self, call: CallId) -> Escalation | None:
        """The call's open request."""
        return self._open.get(call)

    def ask(
        self, actor: Actor, call: CallId, reason: str, priority: Priority, deadline_s: float | None = None
    ) -> Escalation:
        """Asks; beside an open request it can only make that one more urgent.

        What an AI asks for above its ceiling counts as the ceiling; the answer says what became of it.
        Raises `CallUnknown`, `CallEnded`, `NotAllowed`.
        """
        demand(actor, "escalate", self._registry.call(call))
        if actor.role == "ai":
            priority = less_urgent(priority, self._policy.ceilings.get(actor.ai, priority))
        return self._raise(call, reason, priority, actor.name, deadline_s)

    def withdraw(self, actor: Actor, call: CallId) -> bool:
        """Takes the request back; false when there was none. An AI can only take back its own. Raises as `ask`."""
        demand(actor, "escalate", self._registry.call(call))
        known = self._open.get(call)
        if known is not None and actor.role == "ai" and known.by != actor.name:
            raise NotAllowed("escalate", f"{known.by} asked for a human; you cannot take that back.")
        return self._end(call, "escalation.withdrawn", {"by": actor.name})

    async def restore(self) -> None:
        """Reads the requests that were open when the service stopped; each is open again when its call is seen."""
        try:
            self._kept = {one.call: one for one in await self._means.keeper.open()}
        except StoreUnavailable as error:
            log.warning("escalations.not-restored", why=error.why)

    async def run(self) -> None:
        """Climbs, records and keeps, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._keep()
            finally:
                self._tasks = None
                for timer in self._timers.values():
                    timer.cancel()

    # Opening and ending

    def _raise(
        self, call: CallId, reason: str, priority: Priority, by: str, deadline_s: float | None = None
    ) -> Escalation:
        at = self._clock()
        wait = deadline_s if deadline_s is not None else self._policy.deadline_s
        deadline = at + timedelta(seconds=wait) if wait is not None else None
        new = Escalation(call, reason, priority, by, at, at, deadline)
        known = self._open.get(call)
        made = joined(known, replace(new, deadline=deadline if deadline_s is not None else None)) if known else new
        if made != known:
            self._show(made)
            if known is None or made.priority != known.priority:
                self._means.notices.escalation(self._registry.call(call), "escalation.raised", made)
        return made

    def _show(self, escalation: Escalation, not_before: datetime | None = None) -> None:
        call = escalation.call
        found = self._registry.call(call)
        self._open[call], self._calls[call] = escalation, found
        self._tell_store(call)
        self._plan(call, not_before)
        self._registry.publish(lambda rev: CallUpserted(rev, found))

    def _end(self, call: CallId, kind: str, more: Mapping[str, object]) -> bool:
        timer = self._timers.pop(call, None)
        if timer is not None:
            timer.cancel()
        escalation = self._open.pop(call, None)
        found = self._calls.pop(call, None)
        if escalation is None or found is None:
            return False
        self._tell_store(call)
        if self._live(call):
            live = self._registry.call(call)
            self._registry.publish(lambda rev: CallUpserted(rev, live))
        self._means.notices.escalation(found, kind, escalation, more)
        return True

    # What happens in the call

    def _heard(self, event: PbxEvent) -> None:
        match event:
            case HumanAsked(call, reason, priority) if self._live(call):
                self._raise(call, reason, priority, DIALPLAN)
                self._note(DIALPLAN, call, priority)
            case Dtmf(call, "caller", digit) if self._digit is not None and self._live(call):
                self._digit.heard(call, digit)
            case SnapshotTaken(pbx):
                self._reopen(pbx)

    def _live(self, call: CallId) -> bool:
        return any(one.id == call for one in self._registry.calls())

    def _pressed(self, call: CallId) -> None:
        if self._live(call):
            self._raise(call, CALLER_REASON.format(digit=self._policy.caller_digit), "normal", CALLER)
            self._note(CALLER, call, "normal")

    def _taken(self, call: CallId) -> bool:
        """Whether somebody speaks with the caller, or is about to."""
        shown = any(one.mode.speaks and one.phase is not Phase.ENDED for one in self._registry.engagements(call))
        return shown or self._means.claimed(call)

    def _reopen(self, pbx: str) -> None:
        for call in [call for call in self._kept if call.partition("~")[0] == pbx]:
            escalation = self._kept.pop(call)
            if self._live(call) and call not in self._open:
                log.info("escalation.reopened", call=call)
                self._show(self._resumed(escalation), self._clock() + timedelta(seconds=self._policy.grace_s))
            elif call not in self._open:
                self._tell_store(call)

    def _resumed(self, escalation: Escalation) -> Escalation:
        """A caller who is still here was not transferred: the stop came between the step and its effect."""
        last = escalation.step - 1
        undone = 0 <= last < len(self._policy.ladder) and self._policy.ladder[last].transfer
        return replace(escalation, step=last) if undone else escalation

    def _seen(self, change: Change) -> None:
        if isinstance(change, CallRemoved):
            if self._digit is not None:
                self._digit.forget(change.call_id)
            self._end_soon(change.call_id, "escalation.ended", {"why": change.why})
        elif isinstance(change, EngagementChanged):
            engagement = change.engagement
            if engagement.mode.speaks and engagement.phase is Phase.ACTIVE:
                self._end_soon(engagement.call, "escalation.answered", {"agent": engagement.agent_name})

    def _end_soon(self, call: CallId, kind: str, more: Mapping[str, object]) -> None:
        """A change is not published while another one is."""
        if call in self._open:
            asyncio.get_running_loop().call_soon(self._end, call, kind, more)

    # The ladder

    def _plan(self, call: CallId, not_before: datetime | None = None) -> None:
        """Sets the clock for the next step."""
        timer = self._timers.pop(call, None)
        if timer is not None:
            timer.cancel()
        following = next_step(self._policy.ladder, self._open[call])
        if following is None:
            return
        index, at = following
        wait = (max(at, not_before or at) - self._clock()).total_seconds()
        loop = asyncio.get_running_loop()
        self._timers[call] = loop.call_at(loop.time() + max(wait, 0.0), self._due, call, index)

    def _due(self, call: CallId, index: int) -> None:
        del self._timers[call]
        if self._taken(call):  # the claim may still fail
            self._plan(call, self._clock() + timedelta(seconds=CLAIMED_S))
        else:
            self._spawn(self._climb(self._open[call], index))

    async def _climb(self, escalation: Escalation, index: int) -> None:
        call, step = escalation.call, self._policy.ladder[index]
        facts = {"step": str(index + 1)}
        facts |= {"priority": step.priority} if step.priority else {}
        facts |= {"notify": ",".join(step.notify)} if step.notify else {}
        facts |= {"to": step.transfer} if step.transfer else {}
        number = await self._intent(LADDER_ACTOR, "escalation-step", call, facts)
        result = await self._take(escalation, index, step)
        await close(self._means.journal, number, result)

    async def _take(self, escalation: Escalation, index: int, step: Step) -> str:
        """Takes one step; says what came of it."""
        call = escalation.call
        known = self._same(escalation)
        if known is None or known.step > index or not self._live(call):
            return "over"
        made = climbed(known, index, step, self._clock())
        self._show(made)
        found = self._registry.call(call)
        self._means.notices.escalation(found, "escalation.step", made, {"transfer": step.transfer}, step.notify)
        return await self._send_on(made, step.transfer) if step.transfer else "ok"

    def _same(self, escalation: Escalation) -> Escalation | None:
        """The request as it is now; nothing when it is over, also when there is another one since."""
        now = self._open.get(escalation.call)
        return now if now is not None and now.since == escalation.since else None

    async def _send_on(self, escalation: Escalation, destination: str) -> str:
        """Sends the caller to the fallback, unless somebody comes; tried again while the PBX fails."""
        call, result, tries = escalation.call, "fault", 0
        while self._same(escalation) is not None:
            if self._taken(call):
                await asyncio.sleep(CLAIMED_S)  # the claim may still fail
                continue
            away = False
            try:
                await self._means.transfer(self._registry.call(call), destination)
                return "ok"
            except TakeoverError as error:
                log.warning("escalation.not-transferred", call=call, to=destination, why=str(error))
                result, away = error.slug, isinstance(error, PbxUnavailable | PbxTimeout)
            except Exception:  # whatever an adapter throws: it must not end the ladders of all other callers
                log.exception("escalation.transfer-fault", call=call, to=destination)
                result = "fault"
            if tries >= len(RETRY_S) and not away:
                return result
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
        return "answered"

    # The audit and the store

    def _note(self, actor: str, call: CallId, priority: Priority) -> None:
        """Puts a request on record that no actor of ours made."""

        async def note() -> None:
            number = await self._intent(actor, "escalate", call, {"priority": priority})
            await close(self._means.journal, number, "ok")

        self._spawn(note())

    async def _intent(self, actor: str, act: str, call: CallId, facts: dict[str, str]) -> int:
        return await sure_intent(self._means.journal, actor, act, call, facts, patience=RECORD_S)

    def _tell_store(self, call: CallId) -> None:
        self._changed.add(call)
        self._wake.set()

    async def _keep(self) -> None:
        """Writes until cancelled, and then what is left: a stop must forget as little as a crash."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            writing = asyncio.ensure_future(self._write())
            try:
                await asyncio.shield(writing)
            finally:
                await asyncio.wait([writing], timeout=STOP_S)
                writing.cancel()  # a disk that hangs must not hold up the stop

    async def _write(self) -> None:
        """One writer: what changes meanwhile is written as it is then."""
        keeper = self._means.keeper
        while self._changed:
            call = self._changed.pop()
            escalation = self._open.get(call)
            try:
                await (keeper.put(escalation) if escalation is not None else keeper.remove(call))
            except StoreUnavailable as error:  # it is open all the same; only a restart would forget it
                log.warning("escalation.not-kept", call=call, why=error.why)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._tasks is None:  # stopping: the request is kept, and climbs on after the restart
            work.close()
            return
        self._tasks.create_task(work)
