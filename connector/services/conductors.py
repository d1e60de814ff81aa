"""The engagements of this service: runs them, finds them, tells them, waits for them. What they may do is not decided
here."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence

from ..domain.calls import CallId, EngagementId
from ..domain.errors import EngagementUnknown, NotAllowed
from ..domain.inputs import Input
from ..domain.people import Actor
from .conductor import Conductor
from .reports import Whom


class Conductors:
    """All that have been claimed and not ended yet, in the order they came."""

    def __init__(self, patience: float) -> None:
        """`patience`: how many seconds who waits for an end waits."""
        self._patience = patience
        self._known: dict[EngagementId, Conductor] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def __iter__(self) -> Iterator[Conductor]:
        return iter(self._known.values())

    def __contains__(self, id_: EngagementId) -> bool:
        return id_ in self._known

    async def run(self) -> None:
        """Runs them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    @property
    def running(self) -> bool:
        return self._tasks is not None

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Runs something beside them, until it ends."""
        if self._tasks is None:
            work.close()
            raise RuntimeError("Takeovers.run() is not running")
        self._tasks.create_task(work)

    # Coming

    def claim(self, conductor: Conductor) -> None:
        """From now on it counts."""
        self._known[conductor.engagement.id] = conductor

    def withdraw(self, conductor: Conductor) -> None:
        """A claim that came to nothing."""
        del self._known[conductor.engagement.id]
        conductor.withdraw()

    def start(self, conductor: Conductor) -> None:
        """Runs what was claimed, to its end."""
        self.spawn(self._conduct(conductor))

    async def _conduct(self, conductor: Conductor) -> None:
        try:
            await conductor.run()
        finally:
            self._known.pop(conductor.engagement.id, None)
            conductor.kept.set()

    # Finding

    def find(self, engagement: EngagementId) -> Conductor:
        """Raises `EngagementUnknown`."""
        conductor = self._known.get(engagement)
        if conductor is None or conductor.ended:
            raise EngagementUnknown(engagement)
        return conductor

    def own(self, actor: Actor, engagement: EngagementId) -> Conductor:
        """The same, if it is the actor's; raises `NotAllowed` too."""
        conductor = self.find(engagement)
        if conductor.engagement.agent != actor.id:
            raise NotAllowed("change", "This is another agent's engagement.")
        return conductor

    def of_leg(self, leg: str) -> Conductor | None:
        """The one that the leg is bound to."""
        return next((c for c in self if c.engagement.leg == leg and c.holds_leg), None)

    def of_call(self, call: CallId) -> Sequence[Conductor]:
        return [c for c in self if c.call.id == call]

    def speaks(self, actor: Actor, call: CallId) -> bool:
        """Whether the actor speaks in this call."""
        return any(
            c.engagement.agent == actor.id and c.engagement.mode.speaks and c.holds_leg for c in self.of_call(call)
        )

    # Telling and waiting

    def tell(self, whom: Whom, input_: Input) -> None:
        for conductor in self:
            if whom(conductor):
                conductor.post(input_)

    async def gone(self, conductors: Sequence[Conductor], ended: bool = False) -> bool:
        """Waits (bounded) until they have left; with `ended`, until the PBX has confirmed it."""
        return await self._all(conductor.over if ended else conductor.left for conductor in conductors)

    async def kept(self, actor: Actor, call: CallId) -> bool:
        """Waits (bounded) until it is in the store how the actor's parts in this call have ended."""
        theirs = [c for c in self.of_call(call) if c.engagement.agent == actor.id]
        return await self._all(c.kept for c in theirs if c.leaving or c.ended)

    async def _all(self, events: Iterable[asyncio.Event]) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                for event in events:
                    await event.wait()
        except TimeoutError:
            return False
        return True
