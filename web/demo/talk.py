"""One demo call between a caller and an AI that talk, and what its caller hears when a person takes over."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from .ai_platform import Platform
from .brain import Conversation, Say
from .measure import Observer, Switch
from .mouth import Mouth
from .part import Heard, Part, Speech
from .script import Script
from .sip import SipCall
from .voice import Recording, Source

AI_PATIENCE_S = 7.0
CALLER_PATIENCE_S = 12.0  # longer than the AI's, so that they do not ask each other at once
PARTIAL_S = 0.6
RETURN_S = 1.5  # within it the AI speaks again


class Leg(Protocol):
    """The AI's end of a call, however it is attached."""

    source: Source
    recording: Recording

    @property
    def ref(self) -> str: ...
    @property
    def ended(self) -> asyncio.Event: ...


class Play(Protocol):
    """What happens in one call, from the scene's view."""

    call: str
    """The call's id in Takeover, as soon as the platform was told."""

    def caller_on(self, call: SipCall) -> None: ...
    def ai_on(self, leg: Leg) -> None: ...
    def told(self, event: Mapping[str, Any]) -> None: ...
    def lost(self) -> None: ...
    async def run(self) -> None: ...


class Talk:
    """A conversation that follows a script, measures what its caller hears, and reports to Takeover."""

    def __init__(self, script: Script, platform: Platform, speech: Speech) -> None:
        self.call = ""
        self.conversation = Conversation(script, time.monotonic())
        self._platform = platform
        self._caller = Part(speech, script.caller_voice, Mouth(noise_rms=0))
        self._ai = Part(speech, script.ai_voice, Mouth())
        self._turns = 0
        self._barged = False
        self._ai_here = asyncio.Event()
        self._observer = Observer(self._caller.heard, self._ai.mouth.sent, self._measured)

    def caller_on(self, call: SipCall) -> None:
        call.media.source = self._caller.mouth
        call.media.recording = Heard(call.media.codec.rate, self._caller)

    def ai_on(self, leg: Leg) -> None:
        leg.source = self._ai.mouth
        leg.recording = Heard(8000, self._ai)
        self._ai_here.set()

    async def run(self) -> None:
        """Talks until the conversation is over; cancelled when somebody hangs up."""
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(self._play_ai()), tasks.create_task(self._observer.run())]
            await self._play_caller()
            for task in others:
                task.cancel()

    # ---- what Takeover tells the AI ----

    def told(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "takeover.started" if event.get("mode") == "takeover":
                self._taken(str(event.get("agent", "")))
                if not self._barged and (since := asked_at(event)) is not None:
                    self._observer.switched(since)
                self._barged = False
            case "takeover.started":
                self._barged = True  # the caller hears the agent already: a takeover from here is no new voice
                self._returned("")
            case "takeover.ended":
                self._barged = False
                self._returned(str(event.get("note", "")))
            case "coach":
                self.conversation.coached(str(event.get("text", "")))
            case "call":
                self._compare(event["call"].get("engagements", []))

    def lost(self) -> None:
        """Nobody tells the AI any more who speaks. Silence would be the worse mistake: it goes on, and where it is
        muted nobody hears it."""
        self._returned("")

    def _compare(self, engagements: list[Mapping[str, Any]]) -> None:
        """What was missed while nobody told us."""
        speakers = [one for one in engagements if one.get("mode") == "takeover" and one.get("phase") == "active"]
        if speakers and not self.conversation.human:
            self._taken(str(speakers[0].get("agent_name", "")))
        elif not speakers and self.conversation.human:
            self._returned("")

    def _taken(self, agent: str) -> None:
        self.conversation.taken(agent)
        self._ai.mouth.hush()

    def _measured(self, switch: Switch) -> None:
        if self.call:
            self._platform.measured(self.call, switch.heard_ms, switch.gap_ms)

    def _returned(self, note: str) -> None:
        if self.conversation.human:
            self.conversation.returned(note)
            self._caller.give_way(RETURN_S)
            self._ai.prompt()

    # ---- the two sides ----

    async def _play_ai(self) -> None:
        await self._ai_here.wait()
        turn = self.conversation.ai_turn(time.monotonic())
        while True:
            if turn:
                await self._speak(self._ai, "ai", turn)
            if await self._ai.wait_turn(AI_PATIENCE_S):
                turn = self.conversation.ai_turn(time.monotonic())
            else:
                turn = self.conversation.ai_nudge()

    async def _play_caller(self) -> None:
        while True:
            if await self._caller.wait_turn(CALLER_PATIENCE_S):
                turn = self.conversation.caller_turn()
            else:
                turn = self.conversation.caller_nudge()
            if turn is None:
                return  # that was the goodbye
            if turn.text:
                await self._speak(self._caller, "caller", turn)

    async def _speak(self, part: Part, speaker: str, say: Say) -> None:
        """Says a line while its transcript grows with it, as a recogniser's would."""
        self._turns += 1
        turn, at = str(self._turns), datetime.now(UTC).isoformat()
        async with asyncio.TaskGroup() as tasks:
            growing = tasks.create_task(self._grow(part, speaker, say.text, turn, at))
            whole = await part.say(say.text)
            growing.cancel()
        text = say.text if whole else _spoken(say.text, part.mouth.said)
        if text:
            self._post(turn, speaker, text, at, final=True)
        if whole and say.then == "ask-human" and self.call:
            self._platform.ask_human(self.call, self.conversation.script.asks_human_for)

    async def _grow(self, part: Part, speaker: str, whole: str, turn: str, at: str) -> None:
        while True:
            await asyncio.sleep(PARTIAL_S)
            if part.mouth.speaks and (text := _spoken(whole, part.mouth.said)):
                self._post(turn, speaker, text, at, final=False)

    def _post(self, turn: str, speaker: str, text: str, at: str, *, final: bool) -> None:
        if self.call:
            self._platform.turn(self.call, turn, speaker, text, at, final=final)


def asked_at(event: Mapping[str, Any]) -> float | None:
    """When the service received the request that a `takeover.started` is about, on the monotonic clock that the
    audio is timed by; None for other events and modes. Both clocks are this machine's."""
    if event.get("type") != "takeover.started" or event.get("mode") != "takeover" or "asked_at" not in event:
        return None
    ago = datetime.now(UTC) - datetime.fromisoformat(str(event["asked_at"]))
    return time.monotonic() - ago / timedelta(seconds=1)


def _spoken(text: str, part: float) -> str:
    """The first `part` of a line, in whole words."""
    words = text.split()
    return " ".join(words[: round(len(words) * part)])
