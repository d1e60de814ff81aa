"""Captions of the human part of a call: utterances in, turns of the transcript out.

Best effort: they wait in a bounded queue, one at a time, and what comes too late or fails is left out. Nothing else
waits for them.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from ..domain.calls import CallId, Mode, Phase, Role
from ..domain.errors import StoreUnavailable, TakeoverError
from ..domain.transcript import CAPTION, Turn
from ..ports import Transcriber, TranscriptionFailed
from .changes import Change, EngagementChanged
from .registry import Registry
from .transcripts import Transcripts

log = structlog.get_logger(__name__)

WAITING = 50
"""Utterances; the oldest goes first. At 6 s each that is minutes of delay, when nobody reads them as captions."""
REMEMBERED = 1_000
"""Legs whose last engagement is known."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a leg's patch heard: `side` is the agent, or the PBX (in a takeover the caller alone)."""

    leg: str
    side: Literal["agent", "pbx"]
    at: datetime
    sound: bytes
    rate: int

    @property
    def middle(self) -> datetime:
        """What decides whose it is, where the mode changed while it was said."""
        return self.at + timedelta(seconds=len(self.sound) / 4 / self.rate)


@dataclass(frozen=True, slots=True)
class _Said:
    call: CallId
    speaker: Role
    utterance: Utterance


class Captions:
    """`heard` only queues; `run` transcribes until it is cancelled."""

    def __init__(self, registry: Registry, transcripts: Transcripts, transcriber: Transcriber) -> None:
        self._transcripts = transcripts
        self._transcriber = transcriber
        self._speaking: dict[str, tuple[CallId, Mode, datetime]] = {}
        self._waiting: asyncio.Queue[_Said] = asyncio.Queue(WAITING)
        self._number = 0
        self._failing = False
        registry.watch(self._seen)

    def heard(self, utterance: Utterance) -> None:
        """Somebody has said something; left out unless it is a person's word to the other."""
        call, mode, since = self._speaking.get(utterance.leg, (None, Mode.MONITOR, utterance.at))
        if call is None or not mode.speaks or utterance.middle < since:
            return
        if utterance.side == "pbx" and mode is not Mode.TAKEOVER:
            return  # caller and AI together: nobody can tell who it was
        speaker: Role = "agent" if utterance.side == "agent" else "caller"
        if self._waiting.full():
            self._waiting.get_nowait()
            log.warning("captions.overflow")
        self._waiting.put_nowait(_Said(call, speaker, utterance))

    async def run(self) -> None:
        """One after another."""
        while True:
            said = await self._waiting.get()
            try:
                text = await self._transcriber.transcribe(said.utterance.sound, said.utterance.rate)
            except TranscriptionFailed as error:
                if not self._failing:  # once, until it works again
                    log.warning("captions.failed", why=str(error))
                self._failing = True
                continue
            except Exception:  # whatever another's service makes of a transcriber: calls go on without captions
                log.exception("captions.fault")
                continue
            self._failing = False
            if text:
                await self._say(said, text)

    async def _say(self, said: _Said, text: str) -> None:
        self._number += 1
        id_ = f"{CAPTION}{said.utterance.at.astimezone(UTC):%H%M%S}-{self._number}"
        turn = Turn(id_, said.speaker, text[:4_000], said.utterance.at, final=True)
        try:
            await self._transcripts.say(said.call, turn)
        except StoreUnavailable as error:
            log.warning("captions.not-kept", call=said.call, why=error.why)
        except TakeoverError:
            log.debug("captions.too-late", call=said.call)  # the call is over

    def _seen(self, change: Change) -> None:
        """Who speaks where. The last engagement of a leg stays known: its last words come after its end."""
        if not isinstance(change, EngagementChanged) or change.ended is not None:
            return
        engagement = change.engagement
        if engagement.phase is not Phase.ACTIVE or not engagement.leg:
            return
        known = self._speaking.pop(engagement.leg, None)
        same = known is not None and known[:2] == (engagement.call, engagement.mode)
        since = known[2] if known is not None and same else datetime.now(UTC)
        self._speaking[engagement.leg] = (engagement.call, engagement.mode, since)
        while len(self._speaking) > REMEMBERED:
            del self._speaking[next(iter(self._speaking))]
