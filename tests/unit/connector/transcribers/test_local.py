"""The local backend, for real: PocketSphinx hears a synthesised voice."""

import multiprocessing

import numpy as np
import pytest

from connector.ports import TranscriptionFailed
from connector.transcribers.local import LocalTranscriber, available
from web.demo import speech


@pytest.mark.timeout(120)
async def test_spoken_words_become_text_and_a_process_that_dies_is_replaced() -> None:
    assert available()
    line = await (await speech.provide(print, 16_000)).say("Hello. Thank you for your patience.")
    sound = np.concatenate((np.zeros(4_000, np.int16), line, np.zeros(4_000, np.int16))).tobytes()
    others = set(multiprocessing.active_children())
    async with LocalTranscriber() as transcriber:
        words = (await transcriber.transcribe(sound, 16_000)).split()
        assert {"hello", "thank", "you", "patience"} & set(words), words
        (process,) = set(multiprocessing.active_children()) - others
        process.kill()
        with pytest.raises(TranscriptionFailed):
            await transcriber.transcribe(sound, 16_000)
        again = (await transcriber.transcribe(sound, 16_000)).split()
        assert again == words
