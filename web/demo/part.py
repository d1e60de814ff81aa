"""One side of a demo call: a mouth, an ear, and the manners to speak in turn."""

import asyncio
import time
from collections import deque
from typing import Protocol

from .ear import Ear
from .measure import Frame
from .mouth import Mouth
from .tones import Samples
from .voice import Recording

HEARD_FRAMES = 200  # 4 s of 20 ms: what the measurement looks back on


class Speech(Protocol):
    """Text to samples at 8 kHz."""

    async def say(self, text: str, voice: str) -> Samples: ...


class Part:
    """Hears what its leg receives and says lines when the other side has stopped."""

    def __init__(self, speech: Speech, voice: str, mouth: Mouth) -> None:
        self.mouth, self.heard = mouth, deque[Frame](maxlen=HEARD_FRAMES)
        self._speech, self._voice = speech, voice
        self._ear = Ear()
        self._turn = asyncio.Event()
        self._yields_until = 0.0

    def hear(self, at: float, samples: Samples) -> None:
        """Takes a frame of 20 ms at 8 kHz that arrived at `at`."""
        self.heard.append((at, samples))
        match self._ear.hear(samples):
            case "began":
                self._turn.clear()
            case "stopped" if at >= self._yields_until:
                self._turn.set()

    async def say(self, text: str) -> bool:
        """Says a line to its end; False when it was hushed. What was heard before it counts as answered."""
        line = await self._speech.say(text, self._voice)
        self._turn.clear()
        return await self.mouth.say(line)

    async def wait_turn(self, patience_s: float) -> bool:
        """True as soon as the other side has spoken and stopped; False when it said nothing for `patience_s`."""
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    await self._turn.wait()
                    self._turn.clear()
                    return True
            except TimeoutError:
                if not self._ear.speaking and not self._turn.is_set():  # it may have come in the same moment
                    return False

    def give_way(self, seconds: float) -> None:
        """Somebody else is about to speak: what was said so far is not ours to answer."""
        self._turn.clear()
        self._yields_until = time.monotonic() + seconds

    def prompt(self) -> None:
        """Makes it this side's turn, unless the other side is in mid-sentence: then its stop will do so."""
        if not self._ear.speaking:
            self._turn.set()


class Heard(Recording):
    """What a leg received, handed to a part instead of being kept."""

    def __init__(self, rate: int, part: Part) -> None:
        super().__init__(rate)
        self._part = part

    def add(self, at: float, samples: Samples) -> None:
        self._part.hear(at, samples)
