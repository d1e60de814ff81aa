"""A conversation of an AI and a caller, and what becomes of it when a person takes over: pure turn-taking.

The two sides hear each other through the PBX only. Each asks this object what to say when *its own ear* found
that the other side stopped, so an agent's voice takes the AI's place by itself.
"""

from dataclasses import dataclass
from typing import Literal

from . import script as lines
from .script import Script

ASK_HUMAN_AFTER_S = 60.0
ASK_AGAIN_S = 30.0


@dataclass(frozen=True)
class Say:
    """One line. `then` is what follows it: nothing, an escalation, or the end of the call."""

    text: str
    then: Literal["", "ask-human", "hang-up"] = ""


NOTHING = Say("")


class Conversation:
    """One call. Times are seconds on any one clock."""

    def __init__(self, script: Script, began: float) -> None:
        self.script = script
        self._began = began
        self._at = -1  # exchange whose question was asked last
        self._answered = True  # whether the caller has answered it
        self._asked_human: float | None = None
        self._to_human = 0
        self.human = ""
        """Name of the agent who talks to the caller; empty while the AI does."""
        self._back = ""  # what the AI says first on return
        self._coached: list[str] = []  # what a colleague wants said
        self._reply = ""  # what the caller answers to a question that is none of the script

    @property
    def asked_human(self) -> bool:
        return self._asked_human is not None

    def ai_turn(self, now: float) -> Say | None:
        """The caller has stopped: the AI's next line, or None while a person speaks for it."""
        if self.human:
            return None
        if self._back:
            text, self._back = self._back, ""
            return self._next(text, again=not self._answered)
        if self._coached:
            text, self._coached = " ".join(self._coached), []
            return self._next(text, again=not self._answered)
        if self._wants_human(now):
            first = self._asked_human is None
            self._asked_human = now
            if first:
                self._reply = lines.GLADLY
                return Say(lines.ASK_HUMAN, "ask-human")
            return self._next(lines.STILL_ASKING)
        return self._next()

    def ai_nudge(self) -> Say | None:
        """Nobody has said a word for long: the AI asks whether the caller is there."""
        return None if self.human else self._next(lines.STILL_THERE, again=True)

    def caller_turn(self) -> Say | None:
        """The voice in the caller's ear has stopped: the caller's answer, None when it was the goodbye.

        The answer is empty where the AI only drew breath in a line that is answered already.
        """
        if self.human:
            said = self.script.to_human
            line = said[min(self._to_human, len(said) - 1)]
            self._to_human += 1
            return Say(line)
        if self._at < 0:
            return Say(lines.HELLO_AGAIN)
        if self._reply:
            reply, self._reply = self._reply, ""
            return Say(reply)
        if self._answered:
            return NOTHING
        self._answered = True
        answer = self.script.exchanges[self._at].caller
        return Say(answer) if answer else None

    def caller_nudge(self) -> Say:
        """Nobody has said a word for long: the caller asks."""
        return Say(lines.HELLO_AGAIN)

    def taken(self, agent: str) -> None:
        """A person speaks to the caller from now on; the AI only listens."""
        self.human, self._to_human = agent or "A colleague", 0
        self._asked_human = self._asked_human if self._asked_human is None else float("inf")

    def returned(self, note: str) -> None:
        """The AI has the call back: its next line begins with the note. Does nothing while it has it anyway."""
        if self.human:
            self._back = lines.back_with(self.human, note)
            self.human = ""

    def coached(self, text: str) -> None:
        """A colleague has written to the AI: it says so when it is its turn next."""
        self._coached.append(lines.coached_with(text))

    def _wants_human(self, now: float) -> bool:
        if not self.script.asks_human_for:
            return False
        if self._asked_human is None:
            return now - self._began >= ASK_HUMAN_AFTER_S
        return now - self._asked_human >= ASK_AGAIN_S

    def _next(self, first: str = "", *, again: bool = False) -> Say:
        """The AI's line, after `first`: the script's next one, or its last one again."""
        if not again or self._at < 0:
            self._at = min(self._at + 1, len(self.script.exchanges) - 1)
        self._answered, self._reply = False, ""
        exchange = self.script.exchanges[self._at]
        return Say(f"{first} {exchange.ai}".strip(), "" if exchange.caller else "hang-up")
