"""The voices of the demo: the synthesiser for free text, and recorded sentences where Asterisk's sounds have them."""

from pathlib import Path

import numpy as np

from . import speech
from .speech import Speech
from .tones import Samples

RECORDED = {
    "One moment, please.": "one-moment-please",
    "Goodbye.": "vm-goodbye",
}
"""Sentences at the end of an AI's line that are spoken by a person's recorded voice."""
BREATH_S = 0.25


class Voices:
    """`Part`'s speech: 8 kHz samples of a line."""

    def __init__(self, synthesiser: Speech, sounds: Path) -> None:
        self._synthesiser, self._sounds = synthesiser, sounds

    async def say(self, text: str, voice: str) -> Samples:
        """Raises NotProvided when the synthesiser fails."""
        rest, sound = self._split(text) if voice == "ai" else (text, "")
        spoken = await self._synthesiser.say(rest, voice)
        if not sound:
            return spoken
        breath = np.zeros(round(BREATH_S * self._synthesiser.rate), np.int16)
        return np.concatenate((spoken, breath, speech.recorded(self._sounds, sound, self._synthesiser.rate)))

    def _split(self, text: str) -> tuple[str, str]:
        """The line without the sentence at its end that is recorded, and its name; "" if none is."""
        for sentence, name in RECORDED.items():
            if text.endswith(sentence) and (self._sounds / f"{name}.wav").is_file():
                return text.removesuffix(sentence).rstrip(), name
        return text, ""
