"""A call in which caller and AI send one steady tone each, so that who hears whom can be counted."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from . import tones
from .ai_platform import Platform
from .measure import AFTER_S, Frame, Observer, Switch
from .rtp import Report
from .sip import SipCall
from .talk import Leg, asked_at
from .tones import Samples
from .voice import Recording, Tone


class RememberedTone(Tone):
    """A tone that remembers what it sent when."""

    def __init__(self, hz: float) -> None:
        super().__init__(hz)
        self.sent: deque[Frame] = deque(maxlen=200)

    def take(self, count: int, rate: int) -> Samples:
        piece = super().take(count, rate)
        self.sent.append((time.monotonic(), piece))
        return piece


class ToneCall:
    """In the place of a `Talk`. What everybody received is kept whole, and so are the events of the AI."""

    def __init__(self, platform: Platform) -> None:
        self.call = ""
        self.events: list[Mapping[str, Any]] = []
        self.ready = asyncio.Event()
        """Caller and AI are there, and Takeover has told the AI so."""
        self.given_back = asyncio.Event()
        self.found_again = asyncio.Event()
        """Takeover, started anew, has told the AI of the call a second time."""
        self.measured: Switch | None = None
        self.caller: SipCall | None = None
        self.heard_by_ai = Recording(8000)
        self._platform = platform
        self._tone = RememberedTone(tones.AI_HZ)
        self._ai_here = False
        self._observer: Observer | None = None

    @property
    def heard_by_caller(self) -> Recording:
        if self.caller is None:
            raise RuntimeError("the caller has not got through yet")
        return self.caller.media.recording

    @property
    def note(self) -> str:
        """What the agent left for the AI with the last return."""
        return next((str(one["note"]) for one in reversed(self.events) if one.get("type") == "takeover.ended"), "")

    def report(self, since: float, until: float) -> Report:
        """The state of the caller's stream."""
        if self.caller is None:
            raise RuntimeError("the caller has not got through yet")
        return self.caller.media.report(since, until)

    def caller_on(self, call: SipCall) -> None:
        call.media.source = Tone(tones.CALLER_HZ)
        self.caller = call
        self._look()

    def ai_on(self, leg: Leg) -> None:
        leg.source = self._tone
        leg.recording = self.heard_by_ai
        self._ai_here = True
        self._look()

    def told(self, event: Mapping[str, Any]) -> None:
        if event.get("type") == "call" and any(one.get("type") == "call" for one in self.events):
            self.found_again.set()
        self.events.append(event)
        since = asked_at(event)
        if since is not None and self._observer:
            self._observer.switched(since)
        if event.get("type") == "takeover.ended":
            self.given_back.set()
        self._look()

    def lost(self) -> None:
        """Tones go on."""

    async def run(self) -> None:
        """Measures until somebody hangs up."""
        self._observer = Observer(
            self.heard_by_caller.frames, self._tone.sent, self._measured, speaks_within=AFTER_S
        )  # a tone is never silent
        await self._observer.run()

    def _measured(self, switch: Switch) -> None:
        self.measured = switch
        self._platform.measured(self.call, switch.heard_ms, switch.gap_ms)

    def _look(self) -> None:
        if self.call and self.caller and self._ai_here:
            self.ready.set()
