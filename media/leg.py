"""An agent's leg: what is between the browser (`peer.Peer`) and the patch into the PBX, one tick at a time.

`collect` takes the microphone's next 20 ms, `deliver` sends what the voice chain made of them. The tick is the clock
towards both sides: the PBX gets silence rather than nothing, and the browser too, as its buffer grows to hundreds
of milliseconds over a stream that pauses (measured).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from . import rtp, sdp
from .audiosocket import PatchCounts
from .echo import EchoWatch
from .frame import SAMPLES, SILENCE, TICK, Frame
from .hold import Music, comfort_noise
from .jitter import JitterBuffer, Kind
from .level import mean_squares
from .messages import Facts
from .peer import Connect, Network, Peer
from .pipeline import Voice
from .resample import Doubler, Halver, halved

PRESENT = 0.3
"Seconds without microphone RTP after which the microphone counts as gone."
NOISE_AFTER = 0.5
"... after which the caller hears comfort noise."
GIVE_UP = 2.0
"... after which the patch is closed and the PBX gives the call back to the AI."
SETTLED = 1.0
"Seconds after which a patch is over its beginning."
APART = 0.2
"Seconds that sound said in one call may still be under way when the next one begins."

_QUIET = 10 ** (-50 / 10)
_STEP = 960
"RTP clock per tick."


class Patch(Protocol):
    """A way into the PBX that is open: `audiosocket.Patch`, `sippatch.SipPatch`."""

    id: str
    accepted: float
    counts: PatchCounts

    @property
    def halver(self) -> Halver | None:
        """What 20 ms of 16 kHz must go through before `send`; None where the PBX takes them as they are."""

    def send(self, sound: Frame) -> None:
        """20 ms at the PBX's rate."""

    def receive(self) -> Frame:
        """20 ms: 320 samples, or 160 of 8 kHz; `SILENCE` itself where there is nothing."""

    def close(self) -> None: ...


class Leg:
    """All state of one browser; the patch comes and goes."""

    def __init__(self, leg: str, offer: sdp.Offer, network: Network, connect: Connect, *, suppression: bool) -> None:
        self.id = leg
        self.number = 0
        "In the order of opening."
        self._network = network
        self._connect = connect
        self.peer = self.connect(offer)
        "The connection in use."
        self.connections = [self.peer]
        "Those that stand or are being made; the leg lives as long as one of them."
        self.voice = Voice(enabled=suppression)
        self.patch: Patch | None = None
        self.on_first_frame: Callable[[], None] | None = None
        self.tap: Callable[[Frame, Frame], None] | None = None
        "Gets what the PBX was sent and what came from it (16 kHz), where captions are on."
        self.muted = False
        self.hold = False
        self.signal = True
        self.failed = False
        "What came from its browser could not be handled: it goes."
        self._jitter = JitterBuffer()
        self._music = Music()
        self._wider = Doubler()
        self._echo = EchoWatch()
        self._pending = SILENCE[:0]
        self._silent_ticks = 1_000_000
        self._tick = -1
        self._clock = 0
        self._detached = -APART
        self._ssrc: int | None = None
        self._lost_before = (0, 0)
        self._underruns = 0
        self._noise = 0

    def connect(self, offer: sdp.Offer) -> Peer:
        """A connection of the same browser, whose packets count once it is in use."""

        def packet(packet: rtp.Rtp, now: float) -> None:
            if self.peer is peer:
                self._packet(packet, now)

        peer = self._connect(offer, self._network, packet)
        return peer

    def use(self, peer: Peer) -> None:
        """This connection stands: sound goes through it from now on, whatever the leg is doing."""
        self.peer = peer

    @property
    def ready(self) -> float | None:
        """See `JitterBuffer.ready`."""
        return self._jitter.ready

    # Ticks without a packet, not seconds: if this process was held up, the packets are still in the socket.

    @property
    def microphone(self) -> bool:
        return self._silent_ticks * TICK < PRESENT

    @property
    def verdict(self) -> str | None:
        """Why the patch must be closed, if it must."""
        silent = self._silent_ticks * TICK
        if silent >= GIVE_UP:
            return "no-microphone"
        if not self.signal and silent >= PRESENT:
            return "signal-lost"
        return None

    def attach(self, patch: Patch, on_first_frame: Callable[[], None], now: float) -> None:
        """From now on the PBX hears this microphone, from the present moment on: the frame that is just being played.

        An empty buffer would hold up the agent's first sound by 20 to 40 ms and a fresh decoder would fade it in
        (measured). Only right after another call the flow begins anew, as its last words may still be under way.
        """
        self.peer.read()  # what is found at the first tick must have come after the click
        self.patch = patch
        self.on_first_frame = on_first_frame
        if now - self._detached < APART:
            self._flush()
        else:
            self._jitter.catch_up(now)

    def detach(self, now: float) -> None:
        """Nothing of this call may be heard in the next."""
        self.peer.read()
        self.patch = None
        self.on_first_frame = None
        self.tap = None
        self._detached = now
        self._flush()

    def collect(self, now: float) -> Frame | None:
        """The microphone's next 20 ms; None if there is no stream."""
        self.peer.read()
        self._silent_ticks += 1
        while len(self._pending) < SAMPLES:
            sound = self._next(now)
            if sound is None:
                self._pending = SILENCE[:0]
                return None
            if not len(self._pending) and len(sound) == SAMPLES:
                return sound
            self._pending = np.concatenate((self._pending, sound)) if len(self._pending) else sound
        frame, self._pending = self._pending[:SAMPLES], self._pending[SAMPLES:]
        return frame

    def outgoing(self, frame: Frame | None, tick: int) -> Frame:
        """What the PBX is to hear, 16 kHz; `frame`: what the voice chain made of the collected one."""
        if self.hold:
            return self._music.frame()
        if self.muted:
            return SILENCE
        if frame is not None:
            return frame
        if self._silent_ticks * TICK >= NOISE_AFTER:
            self._noise += 1
            return comfort_noise(tick)
        self._underruns += 1
        return SILENCE

    def exchange(self, outgoing: Frame, sound: Frame) -> Frame:
        """20 ms to the PBX and 20 ms from it, which the browser is to hear; `sound` is `outgoing` at the PBX's rate."""
        if self.patch is None:
            return SILENCE
        self.patch.send(sound)
        said = self.patch.receive()
        if self.tap is not None:
            self.tap(SILENCE if self.hold else outgoing, said if len(said) == SAMPLES else self._wider(said))
        if self.on_first_frame is not None:
            self.on_first_frame()
            self.on_first_frame = None
        return SILENCE if self.hold else said

    def play(self, heard: Frame, power: float, tick: int, *, spoke: bool) -> None:
        """20 ms to the browser, and their power; `spoke`: in this tick there was a frame of the microphone."""
        # Time left out counts; a leg that moved to an earlier phase has the same tick twice, and still two frames.
        self._clock += _STEP * max(1, tick - self._tick)
        self._tick = tick
        self._echo.add(power, self.voice.before.last if spoke and not self.muted else 0.0)
        if self.peer.up:
            self.peer.send(heard, self._clock)

    def may_wait(self, now: float) -> bool:
        """Whether nobody hears it if its next turn comes 10 ms late: the agent is in no call, or silent in one."""
        patch = self.patch
        return patch is None or not (self.voice.speaking or self.hold or now - patch.accepted < SETTLED)

    def wait(self, tick: int) -> None:
        """Its next turn comes late, in the tick after this one: what the browser hears goes on where it was."""
        self._tick = tick

    def facts(self) -> Facts:
        """The last second; reading starts a new one. Sends the RTCP report that belongs to it."""
        if self.peer.up:
            self.peer.report()
        reception, patch, counts = self.peer.reception, self.patch, self._jitter.counts
        return Facts(
            connected=self.peer.up,
            level_in=round(self.voice.before.read(), 1),
            level_out=round(self.voice.after.read(), 1),
            speaking=self.voice.speaking and self.microphone,
            muted=self.muted,
            lost=self._lost(reception),
            lost_at_browser=round(self.peer.lost_at_browser, 4),
            jitter_ms=round(reception.jitter_ms, 1) if reception else 0.0,
            buffer_ms=round(self._jitter.delay_ms, 1),
            rtt_ms=None if self.peer.rtt is None else round(self.peer.rtt * 1000, 1),
            packets_in=reception.received if reception else 0,
            packets_out=self.peer.packets_out,
            recovered=counts.recovered,
            concealed=counts.concealed,
            patch_sent=patch.counts.sent if patch else 0,
            patch_received=patch.counts.received if patch else 0,
            patch_unsent=patch.counts.unsent if patch else 0,
            echo=self._echo.returning,
            microphone=self.microphone,
            played=counts.played,
            stretched=counts.stretched,
            shrunk=counts.shrunk,
            late=counts.late,
            underruns=self._underruns,
            noise=self._noise,
            target_ms=round(self._jitter.target_ms, 1),
        )

    def _lost(self, reception: rtp.Reception | None) -> float:
        if reception is None:
            return 0.0
        expected, lost = reception.expected - self._lost_before[0], reception.lost - self._lost_before[1]
        self._lost_before = (reception.expected, reception.lost)
        return round(max(0, lost) / expected, 4) if expected > 0 else 0.0

    def _packet(self, packet: rtp.Rtp, now: float) -> None:
        if packet.ssrc != self._ssrc:
            self._ssrc = packet.ssrc
            self._jitter.clear()
            self.peer.decoder.reset()
            self._lost_before = (0, 0)
        self._silent_ticks = 0
        if length := self.peer.decoder.length(packet.payload):
            self._jitter.push(packet.timestamp, packet.payload, now, length)

    def _next(self, now: float) -> Frame | None:
        # The frame before this one, as the voice chain has measured it: to sum it up again costs 2 us.
        kind, payload, length = self._jitter.pop(now, quiet=self.voice.before.last < _QUIET)
        samples = length // 3
        if kind is Kind.PLAY:
            return self.peer.decoder.decode(payload)
        if kind is Kind.RECOVER:
            return self.peer.decoder.recover(payload, samples)
        return self.peer.decoder.conceal(samples) if kind is Kind.CONCEAL else None

    def _flush(self) -> None:
        self._jitter.drain()
        self._pending = SILENCE[:0]
        self.peer.decoder.reset()
        self.voice.flush()


def deliver(legs: Sequence[Leg], frames: Sequence[Frame | None], tick: int) -> None:
    """Sends 20 ms each way for all legs of a tick; `frames`: what the voice chain made of those they collected."""
    outgoing = [
        SILENCE if leg.patch is None else leg.outgoing(frame, tick) for leg, frame in zip(legs, frames, strict=True)
    ]
    sounds = outgoing[:]
    narrow = [(at, halver) for at, leg in enumerate(legs) if leg.patch is not None and (halver := leg.patch.halver)]
    if narrow:
        halves = halved([halver for _, halver in narrow], [outgoing[at] for at, _ in narrow])
        for (at, _), half in zip(narrow, halves, strict=True):
            sounds[at] = half
    # First all patches: the PBX need not wait until the sound for all browsers is encoded.
    heard = [leg.exchange(out, sound) for leg, out, sound in zip(legs, outgoing, sounds, strict=True)]
    # Where nothing is played nothing can come back as an echo, and the sum is saved.
    loud = [at for at, said in enumerate(heard) if said is not SILENCE]
    powers = dict(zip(loud, mean_squares([heard[at] for at in loud]), strict=True))
    for at, leg in enumerate(legs):
        leg.play(heard[at], powers.get(at, 0.0), tick, spoke=frames[at] is not None)
