"""The inside of a worker: its legs, its port for the PBX, and the tick that drives them. No process matters here."""

import asyncio
import base64
import gc
import itertools
import logging
import time
from collections.abc import Callable

from . import audiosocket, pipeline, sdp
from .captions import Heard, Tap
from .frame import Frame
from .leg import Leg, Patch, deliver
from .messages import (
    Intruder,
    LegDown,
    LegState,
    LegUp,
    MediaSettings,
    PatchDown,
    PatchUp,
    Quality,
    Report,
    Utterance,
)
from .pacer import GATHERED, PHASES, Due, Lateness, Pacer
from .peer import Connect, Network, Peer
from .sip import SipServer

log = logging.getLogger(__name__)

_TICKS_PER_SECOND = 50
_EARLY = 0.0015
_SWEEP = 10.0
"""Seconds after a leg's end that what is left of it is collected (2 ms with 64 legs). A worker makes so little garbage
that the collector hardly ever comes by itself, and 20 KB for each leg that had ended stayed (measured)."""
_MANY = 12
"""Patches from which on legs gather in every second phase, where the voice chain has them in larger batches. Each then
waits up to 5 ms longer for its turn, so the few who leave the core idle stay spread."""
_CROWDED, _UNEVEN = 24, 4
"""Legs of one phase from which on it may not have so many more than the other: chance alone made 56 and 44 of a
hundred, and with ticks of 8.5 and 6.5 ms instead of twice 7.5 the next is late at the least hold-up (measured)."""


class Refusal(Exception):
    """A command that cannot be done; the text is the reason, for the one who asked."""


class Engine:
    """Everything runs on one event loop. `tell` gets the events; it must not block."""

    def __init__(
        self, settings: MediaSettings, connect: Connect, tell: Callable[[Report], None], tasks: asyncio.TaskGroup
    ) -> None:
        self.lateness = Lateness()
        self.worst = 0.0
        "Seconds of the latest tick since somebody set this to 0."
        self._settings = settings
        self._network = Network.of(settings)
        self._connect = connect
        self._tell = tell
        self._tasks = tasks
        self._legs: dict[str, Leg] = {}
        self._serving: dict[Peer, asyncio.Task[None]] = {}
        self._phases: list[list[Leg]] = [[] for _ in range(PHASES)]
        self._patches: dict[str, Leg] = {}
        self._taps: dict[str, Tap] = {}
        self._states: dict[str, tuple[bool, bool]] = {}
        self._numbers = itertools.count()
        self._sweeping: asyncio.TimerHandle | None = None
        self._server = audiosocket.Server(self, frozenset(settings.pbx_addresses))
        self._sip = SipServer(self, self._server) if settings.sip else None
        self._pacer = Pacer(time.monotonic())

    @property
    def sip_port(self) -> int:
        """Where the PBX calls by SIP; 0 where it does not."""
        return self._sip.port if self._sip is not None else 0

    @property
    def skipped(self) -> int:
        return self._pacer.skipped

    async def start(self) -> int:
        """Listens for the PBX; returns the port."""
        await self._server.start(self._settings.audiosocket_host)
        if self._sip is not None:
            await self._sip.start(self._settings.audiosocket_host)
        return self._server.port

    async def tick(self) -> None:
        """Runs for ever; raises what a tick raised."""
        self._pacer = Pacer(time.monotonic())
        self._failed = asyncio.get_running_loop().create_future()
        self._sleep()
        try:
            await self._failed
        finally:
            self._timer.cancel()

    def _sleep(self) -> None:
        # A timer of the loop, not a task that sleeps: that is two turns of the loop less for each tick.
        # Phases without a leg are not woken for: a wake costs more than an empty tick.
        self._wake = self._pacer.wake([phase for phase, legs in enumerate(self._phases) if legs])
        delay = max(0.0, self._wake - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._awake)

    def _awake(self) -> None:
        now = time.monotonic()
        late = max(0.0, now - self._wake)
        self.lateness.add(now, late)
        self.worst = max(self.worst, late)
        # uvloop counts in milliseconds and wakes up to one too early. To sleep again for the rest took five wakes for
        # each tick, and 30 ms of CPU per second (measured); a tick that early harms nobody.
        self._run_due(max(now, self._wake) if self._wake - now <= _EARLY else now)
        self._sleep()

    def _run_due(self, now: float) -> None:
        try:
            for due in self._pacer.due(now):
                self._run(due, now)
        except Exception as fault:  # noqa: BLE001  handed to `tick`, which ends the worker: a leg without it is mute
            if not self._failed.done():
                self._failed.set_exception(fault)

    async def open_leg(self, leg: str, offer: str) -> str:
        """Our SDP answer; raises Refusal.

        For a leg that exists it is a new connection of the same browser, after its network has changed: leg and
        patch stay, and it takes the place of the old connection when it stands. If it never does, nothing changes.
        """
        try:
            parsed = sdp.parse(offer)
        except sdp.BadOffer as fault:
            raise Refusal(str(fault)) from None
        entry = self._legs.get(leg)
        if entry is None:
            entry = Leg(leg, parsed, self._network, self._connect, suppression=self._settings.suppression)
            entry.number = next(self._numbers)
            answer = await self._answer(entry.peer)
            self._legs[leg] = entry
            min((self._phases[phase] for phase in GATHERED), key=len).append(entry)
            self._start(entry, entry.peer)
            return answer
        await self._retire(entry, but=entry.peer)
        peer = entry.connect(parsed)
        answer = await self._answer(peer)
        if self._legs.get(leg) is not entry:
            await peer.close()
            raise Refusal("no-such-leg")
        entry.connections.append(peer)
        self._start(entry, peer)
        return answer

    async def close_leg(self, leg: str) -> None:
        """Idempotent; returns when the leg is gone."""
        if entry := self._legs.get(leg):
            await self._retire(entry, but=None)

    def set_leg(self, leg: str, *, muted: bool | None, suppression: bool | None, hold: bool | None) -> None:
        """None leaves a switch as it is; raises Refusal."""
        entry = self._leg(leg)
        if muted is not None:
            entry.muted = muted
        if hold is not None:
            entry.hold = hold
        if suppression is not None:
            entry.voice.enabled = suppression
            entry.voice.flush()

    def signal(self, leg: str, *, present: bool) -> None:
        if entry := self._legs.get(leg):
            entry.signal = present

    def open_patch(self, leg: str, patch: str, rate: int) -> None:
        """Expect the PBX's call; raises Refusal."""
        entry = self._leg(leg)
        if rate not in audiosocket.AUDIO:
            raise Refusal(f"rate {rate} Hz: only {' and '.join(map(str, audiosocket.AUDIO))} exist")
        if not entry.peer.up:
            raise Refusal("connecting")
        if entry in self._patches.values():
            raise Refusal("already-patched")
        self._patches[patch] = entry
        self._server.expect(patch, rate)

    def close_patch(self, patch: str, why: str = "closed") -> None:
        """Idempotent. The PBX sees its socket close and gives the call back."""
        entry = self._patches.pop(patch, None)
        if entry is None:
            return
        self._server.forget(patch)
        opened = entry.patch
        if tap := self._taps.pop(patch, None):
            self._tell_heard(entry.id, patch, tap.end())
        entry.hold = False
        entry.detach(time.monotonic())
        if opened is not None:
            opened.close()
        self._tell(PatchDown(entry.id, patch, why))

    # audiosocket.Listener and sip.Listener

    def patch_opened(self, patch: Patch) -> None:
        entry = self._patches[patch.id]

        def first_frame() -> None:
            self._tell(PatchUp(entry.id, patch.id, patch.accepted, time.monotonic()))

        # A slot that has passed must not be the patch's first: one frame too many stays in the PBX as delay.
        self._run_due(patch.accepted)
        entry.attach(patch, first_frame, patch.accepted)
        if self._settings.captions:
            self._listen(entry, patch.id)
        self._align(entry, patch.accepted)

    def _listen(self, leg: Leg, patch: str) -> None:
        tap = self._taps[patch] = Tap()
        leg.tap = lambda sent, got: self._tell_heard(leg.id, patch, tap.take(sent, got, time.monotonic()))

    def _tell_heard(self, leg: str, patch: str, found: list[Heard]) -> None:
        for one in found:
            self._tell(Utterance(leg, patch, one.side, one.began, base64.b64encode(one.sound).decode()))

    def patch_closed(self, patch: Patch, why: str) -> None:
        self.close_patch(patch.id, why)

    def patch_expired(self, patch: str) -> None:
        self.close_patch(patch, "no-call")

    def intruder(self, peer: str, shown: str, why: str) -> None:
        self._tell(Intruder(peer, shown, why))

    def _leg(self, leg: str) -> Leg:
        if entry := self._legs.get(leg):
            return entry
        raise Refusal("no-such-leg")

    @staticmethod
    async def _answer(peer: Peer) -> str:
        try:
            return await peer.answer()
        except OSError as fault:
            await peer.close()
            raise Refusal(f"no port for the browser: {fault}") from None

    def _start(self, leg: Leg, peer: Peer) -> None:
        self._serving[peer] = self._tasks.create_task(self._serve(leg, peer), name=f"leg {leg.id}")

    async def _retire(self, leg: Leg, *, but: Peer | None) -> None:
        old = [self._serving[peer] for peer in leg.connections if peer is not but]
        for task in old:
            task.cancel()
        if old:
            await asyncio.wait(old)

    def _stands(self, leg: Leg, peer: Peer) -> None:
        leg.use(peer)
        for other in leg.connections:
            if other is not peer:
                self._serving[other].cancel()
        self._tell(LegUp(leg.id))

    async def _serve(self, leg: Leg, peer: Peer) -> None:
        why = "closed"
        try:
            why = await peer.serve(lambda: self._stands(leg, peer))
        except Exception:  # one browser must not end the others; it is logged and its leg is reported down
            log.exception("leg %s failed", leg.id)
            why = "internal-error"
        finally:
            leg.connections.remove(peer)
            del self._serving[peer]
            if not leg.connections:
                self._drop(leg, why)

    def _align(self, leg: Leg, opened: float) -> None:
        """Choose the leg's phase anew for its patch: see `Pacer.join`."""
        for phase in self._phases:
            if leg in phase:
                phase.remove(leg)
        phases = GATHERED if self._many else range(PHASES)
        self._phases[self._pacer.join(opened, leg.ready or opened, phases)].append(leg)
        # Its turn may come before the moment that is slept for.
        self._timer.cancel()
        self._sleep()

    @property
    def _many(self) -> bool:
        return len(self._patches) >= _MANY

    def _drop(self, leg: Leg, why: str) -> None:
        for patch in [patch for patch, entry in self._patches.items() if entry is leg]:
            self.close_patch(patch, "leg-down")
        for phase in self._phases:
            if leg in phase:
                phase.remove(leg)
        del self._legs[leg.id]
        self._states.pop(leg.id, None)
        self._tell(LegDown(leg.id, "internal-error" if leg.failed else why))
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        gc.collect()

    def _run(self, due: Due, now: float) -> None:
        legs = self._phases[due.phase][:]
        frames = [self._collected(leg, now) for leg in legs]
        heard = [(at, frame) for at, frame in enumerate(frames) if frame is not None]
        cleaned = pipeline.process([legs[at].voice for at, _ in heard], [frame for _, frame in heard])
        for (at, _), frame in zip(heard, cleaned, strict=True):
            frames[at] = frame
        deliver(legs, frames, due.tick)
        for leg in legs:
            self._watch(leg, due.tick)
        if self._many and due.phase not in GATHERED:
            # Their next turn comes after 15 ms instead of 20: sooner than it must, which no one hears.
            self._phases[due.phase - 1] += self._phases[due.phase]
            self._phases[due.phase].clear()
        elif self._many:
            self._level(due, now)

    def _collected(self, leg: Leg, now: float) -> Frame | None:
        """Here is handled what a browser has sent: whatever it may do to its own leg, the others of the tick go on."""
        try:
            return None if leg.failed else leg.collect(now)
        except Exception:  # none is known; the leg is reported down, and what came of it is in the log
            log.exception("leg %s failed", leg.id)
            leg.failed = True
            for peer in leg.connections:
                self._serving[peer].cancel()
            return None

    def _level(self, due: Due, now: float) -> None:
        """One leg of the other phase joins this one, which has just ticked, if it has far fewer."""
        here, there = self._phases[due.phase], self._phases[(due.phase + PHASES // 2) % PHASES]
        uneven = len(there) >= _CROWDED and len(there) - len(here) > _UNEVEN
        if uneven and (leg := next((leg for leg in there if leg.may_wait(now)), None)):
            there.remove(leg)
            here.append(leg)
            leg.wait(due.tick)

    def _watch(self, leg: Leg, tick: int) -> None:
        state = leg.peer.up, leg.microphone
        if self._states.get(leg.id) != state:
            self._states[leg.id] = state
            self._tell(LegState(leg.id, *state))
        if leg.patch is not None and (why := leg.verdict):
            self.close_patch(leg.patch.id, why)
        # Spread evenly over the second, as each costs as much as two legs: left to chance some ticks have four.
        if (tick + leg.number) % _TICKS_PER_SECOND == 0:
            self._tell(Quality(leg.id, leg.facts()))
