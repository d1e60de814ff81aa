"""The one writer of live calls: takes what the PBXs report, keeps what is true now, tells who watches.

Nothing here is stored: after a restart or a reconnection the PBX's snapshot tells the truth.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never

import structlog

from ..domain.calls import Call, CallId, Engagement, EngagementId, Mode, PatchId, Phase, Role
from ..domain.errors import CallEnded, CallUnknown
from ..domain.events import (
    AgentGone,
    AgentPresent,
    AgentRefused,
    AiGone,
    CallChanged,
    CallGone,
    Dtmf,
    FellBack,
    HumanAsked,
    PbxDown,
    PbxEvent,
    PbxUp,
    SnapshotTaken,
    Talking,
)
from ..ports import Pbx
from .changes import (
    CallRemoved,
    CallUpserted,
    Change,
    DtmfSeen,
    EngagementChanged,
    PbxChanged,
    PbxState,
    TalkingChanged,
)

log = structlog.get_logger(__name__)

REMEMBER_ENDED_S = 600.0
"""For how long the id of an ended call is told from one that never was."""

NOTE_AI_GONE = "ai-gone"
NOTE_HUMAN_ASKED = "human-asked"
WHY_AI_GONE = "The AI has left this call."

OnChange = Callable[[Change], None]
OnEvent = Callable[[PbxEvent], None]


class Registry:
    """Live calls, the engagements in them and the state of the PBXs. All methods are synchronous.

    `instance` names this service towards the PBXs: patches of other instances are shown as engagements of
    their agent, or of "another service" where the PBX does not tell the name. They hold the floor, but cannot be
    changed from here.
    """

    def __init__(self, pbxs: Iterable[str], instance: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rev = 0
        self.instance = instance
        self._clock = clock
        self._pbxs = {name: PbxState(name, up=False, why="connecting") for name in pbxs}
        self._calls: dict[CallId, Call] = {}
        self._notes: dict[CallId, tuple[str, ...]] = {}
        self._talking: dict[CallId, dict[Role, bool]] = {}
        self._ended: dict[CallId, tuple[float, dict[str, str]]] = {}
        self._engagements: dict[EngagementId, Engagement] = {}
        self._foreign: dict[PatchId, EngagementId] = {}
        self._watchers: list[OnChange] = []
        self._listeners: list[OnEvent] = []

    # What is true now

    def call(self, id_: CallId) -> Call:
        """The live call; raises `CallEnded` for ten minutes after its end, then and otherwise `CallUnknown`."""
        call = self._calls.get(id_)
        if call is not None:
            return call
        self._forget()
        raise CallEnded(id_) if id_ in self._ended else CallUnknown(id_)

    def whose(self, id_: CallId) -> dict[str, str]:
        """Tenant and queue of a call, live or ended not more than ten minutes ago; else nothing."""
        call = self._calls.get(id_)
        return _whose(call) if call is not None else dict(self._ended.get(id_, (0.0, {}))[1])

    def calls(self) -> Sequence[Call]:
        """All live calls, oldest first."""
        return sorted(self._calls.values(), key=lambda call: (call.started_at, call.id))

    def engagements(self, call: CallId | None = None) -> Sequence[Engagement]:
        """Everybody who is in a call (or in any), in the order they came; other services' agents too."""
        return [e for e in self._engagements.values() if call is None or e.call == call]

    def talking(self, call: CallId) -> Mapping[Role, bool]:
        """Who speaks right now, as far as the PBX detects it."""
        return self._talking.get(call, {})

    def pbxs(self) -> Sequence[PbxState]:
        """The state of every configured PBX."""
        return list(self._pbxs.values())

    # Who is told

    def watch(self, on_change: OnChange) -> Callable[[], None]:
        """`on_change` is called at once with every change and must only enqueue. Returns what ends that."""
        self._watchers.append(on_change)
        return lambda: self._watchers.remove(on_change) if on_change in self._watchers else None

    def listen(self, on_event: OnEvent) -> None:
        """`on_event` is called with every PBX event after it has been applied; it must only enqueue."""
        self._listeners.append(on_event)

    def publish(self, make: Callable[[int], Change]) -> None:
        """A change made elsewhere: `make` gets its revision."""
        self.rev += 1
        change = make(self.rev)
        for watcher in tuple(self._watchers):
            try:
                watcher(change)
            except Exception:  # one broken watcher must not stop the exchange for all others
                log.exception("registry.watcher-failed", change=type(change).__name__)

    # What changes it

    def engaged(self, engagement: Engagement) -> None:
        """An engagement of this service began or changed."""
        self._engagements[engagement.id] = engagement
        self.publish(lambda rev: EngagementChanged(rev, engagement))

    def disengaged(self, id_: EngagementId, why: str) -> None:
        """An engagement is over. Unknown ids are ignored."""
        engagement = self._engagements.pop(id_, None)
        if engagement is not None:
            ended = replace(engagement, phase=Phase.ENDED)
            self.publish(lambda rev: EngagementChanged(rev, ended, why))

    def apply(self, event: PbxEvent) -> None:
        """Takes one event of a PBX, in the order the PBX reported them."""
        self._take(event)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # it would end the service, and with it every engagement; the others must still hear
                log.exception("registry.listener-failed", heard=type(event).__name__)

    def _take(self, event: PbxEvent) -> None:
        match event:
            case PbxUp(pbx, version):
                self._set_pbx(PbxState(pbx, up=True, version=version))
            case PbxDown(pbx, why):
                version = self._pbxs[pbx].version if pbx in self._pbxs else ""
                self._set_pbx(PbxState(pbx, up=False, why=why, version=version))
            case SnapshotTaken(pbx, events):
                self._reconcile(pbx, events)
            case CallChanged(call):
                self._changed(call)
            case CallGone(call_id, why):
                self._remove(call_id, why)
            case AiGone(call_id):
                self._note(call_id, NOTE_AI_GONE)
            case FellBack(call_id):
                self._note(call_id, NOTE_AI_GONE)
                self._drop_foreign_of(call_id, "ai-fallback", speakers=True)  # who listens may go on
            case AgentPresent():
                self._present(event)
            case AgentGone(_, patch, why):
                self._drop_foreign(patch, why)
            case AgentRefused():
                pass  # concerns its own engagement only, through the answer of the verb
            case Talking(call_id, role, on):
                self._talk(call_id, role, on)
            case Dtmf(call_id, role, digit):
                if call_id in self._calls:
                    self.publish(lambda rev: DtmfSeen(rev, call_id, role, digit))
            case HumanAsked(call_id):
                self._note(call_id, NOTE_HUMAN_ASKED)
            case _:
                assert_never(event)

    def _reconcile(self, pbx: str, events: Iterable[CallChanged | AgentPresent]) -> None:
        """The snapshot is all there is: what we have beyond it has ended unseen."""
        seen_calls: set[CallId] = set()
        seen_patches: set[PatchId] = set()
        for event in events:
            match event:
                case CallChanged(call):
                    seen_calls.add(call.id)
                case AgentPresent(patch=patch):
                    seen_patches.add(patch)
                case _:
                    assert_never(event)
            self._take(event)
        for call in [c for c in self._calls.values() if c.pbx == pbx and c.id not in seen_calls]:
            self._remove(call.id, "unseen")
        for patch, id_ in list(self._foreign.items()):
            if self._pbx_of(self._engagements[id_].call) == pbx and patch not in seen_patches:
                self._drop_foreign(patch, "unseen")

    def _changed(self, call: Call) -> None:
        known = self._calls.get(call.id)
        if known is not None and call.channels.ai_id not in ("", known.channels.ai_id):
            self._notes.pop(call.id, None)  # another AI leg: what we noted was about the one before
        self._upsert(call)

    def _upsert(self, call: Call) -> None:
        marked = self._marked(call)
        if self._calls.get(call.id) == marked:
            return
        self._ended.pop(call.id, None)
        self._calls[call.id] = marked
        self.publish(lambda rev: CallUpserted(rev, marked))

    def _marked(self, call: Call) -> Call:
        """The call as the PBX gave it, with what we noted about it."""
        notes = self._notes.get(call.id, ())
        if not notes:
            return call
        modes = call.modes
        if NOTE_AI_GONE in notes:
            modes = tuple(replace(choice, possible=False, how=None, why=WHY_AI_GONE) for choice in call.modes)
        return replace(call, modes=modes, notes=tuple(dict.fromkeys((*call.notes, *notes))))

    def _note(self, call_id: CallId, note: str) -> None:
        call = self._calls.get(call_id)
        if call is not None and note not in call.notes:
            self._notes[call_id] = (*self._notes.get(call_id, ()), note)
            self._upsert(call)

    def _remove(self, call_id: CallId, why: str) -> None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        self._notes.pop(call_id, None)
        self._talking.pop(call_id, None)
        self._forget()
        self._ended[call_id] = (self._clock(), _whose(call))
        self._drop_foreign_of(call_id, "caller-hangup")
        self.publish(lambda rev: CallRemoved(rev, call_id, why))

    def _forget(self) -> None:
        oldest = self._clock() - REMEMBER_ENDED_S
        for call_id, (at, _) in list(self._ended.items()):  # in order of their end
            if at >= oldest:
                break
            del self._ended[call_id]

    def _set_pbx(self, state: PbxState) -> None:
        if self._pbxs.get(state.name) != state:
            self._pbxs[state.name] = state
            self.publish(lambda rev: PbxChanged(rev, state))

    def _talk(self, call_id: CallId, role: Role, on: bool) -> None:
        if call_id not in self._calls:
            return
        talking = self._talking.setdefault(call_id, {})
        if talking.get(role, False) is not on:
            talking[role] = on
            self.publish(lambda rev: TalkingChanged(rev, call_id, role, on))

    # Agents of other services on the same PBX

    def _present(self, event: AgentPresent) -> None:
        if event.instance == self.instance or event.call not in self._calls:
            self._drop_foreign(event.patch, "unseen")  # whatever it was before, it is nobody else's in a known call
            return
        known = self._foreign.get(event.patch)
        id_ = known or EngagementId(event.patch)
        since = self._engagements[id_].since if known else datetime.now(UTC)
        name = event.name or f"another service ({event.instance})"
        self._foreign[event.patch] = id_
        shown = Engagement(id_, event.call, "", name, "", Mode(event.mode), Phase.ACTIVE, since)
        if self._engagements.get(id_) != shown:
            self.engaged(shown)

    def _drop_foreign(self, patch: PatchId, why: str) -> None:
        id_ = self._foreign.pop(patch, None)
        if id_ is not None:
            self.disengaged(id_, why)

    def _drop_foreign_of(self, call_id: CallId, why: str, speakers: bool = False) -> None:
        for patch, id_ in list(self._foreign.items()):
            engagement = self._engagements[id_]
            if engagement.call == call_id and (engagement.mode.speaks or not speakers):
                self._drop_foreign(patch, why)

    @staticmethod
    def _pbx_of(call_id: CallId) -> str:
        return call_id.partition("~")[0]


def _whose(call: Call) -> dict[str, str]:
    return {"tenant": call.tenant, "queue": call.queue}


async def follow(pbx: Pbx, registry: Registry) -> None:
    """Applies what one PBX reports, for ever; runs in the caller's TaskGroup, one task per PBX."""
    async for event in pbx.events():
        registry.apply(event)
    raise RuntimeError(f"PBX {pbx.name!r}: its events ended, which they never should")
