"""The demo's conversations: turn-taking, voices and ears, without any PBX."""

import asyncio
import time

import numpy as np
import pytest

from web.demo import script, tones
from web.demo.ai_platform import Platform
from web.demo.brain import ASK_AGAIN_S, ASK_HUMAN_AFTER_S, Conversation
from web.demo.ear import Ear
from web.demo.mouth import Mouth
from web.demo.part import Part
from web.demo.script import SCRIPTS, Script, back_with
from web.demo.talk import Talk, asked_at
from web.demo.tones import Samples

FRAME = 160


def _speech(seconds: float) -> Samples:
    """Something with a voice's harmonics and rhythm, which webrtcvad takes for speech."""
    t = np.arange(round(seconds * 8000)) / 8000
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 15))
    return (voice * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)) * 4000).astype(np.int16)


def _noise(seconds: float, rms: float) -> Samples:
    return np.random.default_rng(1).normal(0, rms, round(seconds * 8000)).astype(np.int16)


def _frames(samples: Samples) -> list[Samples]:
    return [samples[at : at + FRAME] for at in range(0, len(samples) - FRAME + 1, FRAME)]


@pytest.mark.parametrize("errand", SCRIPTS, ids=lambda one: one.key)
def test_a_script_is_talked_through_to_its_goodbye(errand: Script) -> None:
    talk = Conversation(errand, began=0)
    lines = []
    while True:
        said = talk.ai_turn(now=1)
        assert said is not None
        lines.append(said.text)
        answer = talk.caller_turn()
        if answer is None:
            break
        lines.append(answer.text)
    assert lines == [text for exchange in errand.exchanges for text in (exchange.ai, exchange.caller) if text]
    assert said.then == "hang-up"


def test_the_ai_follows_a_coach_and_goes_on_where_it_was() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.ai_turn(1)
    talk.caller_turn()
    talk.coached("Tell her that the parcel is in the next street.")
    said = talk.ai_turn(2)
    assert said is not None
    assert said.text == (f"I have just heard that the parcel is in the next street. {script.DELIVERY.exchanges[1].ai}")
    talk.caller_turn()
    following = talk.ai_turn(3)
    assert following is not None
    assert following.text == script.DELIVERY.exchanges[2].ai


def test_coaching_in_a_takeover_waits_for_the_return() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.ai_turn(1)
    talk.caller_turn()
    talk.taken("Anna")
    talk.coached("the refund is approved")
    assert talk.ai_turn(2) is None
    talk.returned("")
    talk.caller_turn()
    first, second = talk.ai_turn(3), talk.ai_turn(4)
    assert first is not None
    assert second is not None
    assert script.BACK in first.text
    assert "the refund is approved" in second.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tell him the card is blocked!", "I have just heard that the card is blocked."),
        ("The driver  comes at nine", "I have just heard that the driver comes at nine."),
        ("DHL has it", "I have just heard that DHL has it."),
    ],
)
def test_a_coachs_words_become_a_sentence(words: str, said: str) -> None:
    assert script.coached_with(words) == said


def test_a_breath_in_a_line_that_is_answered_already_is_not_answered_again() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.ai_turn(1)
    first, second = talk.caller_turn(), talk.caller_turn()
    assert first is not None
    assert first.text == script.DELIVERY.exchanges[0].caller
    assert second is not None
    assert second.text == ""


def test_while_a_person_speaks_the_ai_is_silent_and_the_caller_answers_the_person() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.ai_turn(1)
    talk.taken("Anna")
    assert talk.ai_turn(2) is None
    assert talk.ai_nudge() is None
    answers = [talk.caller_turn() for _ in range(7)]
    last = script.DELIVERY.to_human[-1]
    assert [one.text for one in answers if one] == [*script.DELIVERY.to_human, last, last]


def test_on_return_the_ai_passes_the_note_on_and_asks_the_open_question_again() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.ai_turn(1)
    talk.taken("Anna")
    talk.returned("The refund is approved.")
    said = talk.ai_turn(3)
    assert said is not None
    assert said.text.startswith("This is the automatic assistant again. Anna told me that the refund is approved.")
    assert said.text.endswith(script.DELIVERY.exchanges[0].ai)


def test_after_an_answer_the_ai_goes_on_with_the_next_question() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.ai_turn(1)
    talk.caller_turn()
    talk.taken("Anna")
    talk.returned("")
    said = talk.ai_turn(3)
    assert said is not None
    assert said.text == f"{script.BACK} {script.DELIVERY.exchanges[1].ai}"


def test_a_return_that_nobody_took_changes_nothing() -> None:
    talk = Conversation(script.DELIVERY, began=0)
    talk.returned("x")
    said = talk.ai_turn(1)
    assert said is not None
    assert said.text == script.DELIVERY.exchanges[0].ai


def test_a_human_is_asked_for_once_after_a_minute_and_mentioned_again() -> None:
    talk = Conversation(script.CLAIM, began=0)
    first = talk.ai_turn(1)
    asked = talk.ai_turn(ASK_HUMAN_AFTER_S)
    reply = talk.caller_turn()
    after = talk.ai_turn(ASK_HUMAN_AFTER_S + 1)
    again = talk.ai_turn(ASK_HUMAN_AFTER_S + ASK_AGAIN_S)
    assert [one.then for one in (first, asked, after, again) if one] == ["", "ask-human", "", ""]
    assert asked is not None
    assert asked.text == script.ASK_HUMAN
    assert reply is not None
    assert reply.text == script.GLADLY
    assert again is not None
    assert again.text.startswith(script.STILL_ASKING)
    talk.taken("Anna")
    talk.returned("")
    later = talk.ai_turn(ASK_HUMAN_AFTER_S + 10 * ASK_AGAIN_S)
    assert later is not None
    assert script.STILL_ASKING not in later.text


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("The refund is approved.", "Anna told me that the refund is approved."),
        ("  she will\n call back ", "Anna told me that she will call back."),
        ("Weber gets the parcel!", "Anna told me that Weber gets the parcel."),
        ("DHL was late", "Anna told me that DHL was late."),
        ("", ""),
        (" . ", ""),
    ],
)
def test_a_note_becomes_one_sentence(note: str, sentence: str) -> None:
    assert back_with("Anna", note) == f"{script.BACK} {sentence}".strip()


def test_an_ear_hears_a_sentence_begin_and_stop_but_no_pause_within_it_and_no_noise() -> None:
    ear = Ear()
    sound = np.concatenate(
        [_noise(1, 40), _speech(1.0), _noise(0.4, 40), _speech(1.0), _noise(1.5, 40), tones.tone(50, 400, 8000)]
    )
    heard = [(index * 0.02, told) for index, frame in enumerate(_frames(sound)) if (told := ear.hear(frame))]
    assert [told for _, told in heard] == ["began", "stopped"]
    assert 1.0 < heard[0][0] < 1.3
    assert 3.9 < heard[1][0] < 4.6


async def test_a_mouth_says_a_line_to_its_end_and_remembers_what_it_sent() -> None:
    mouth = Mouth(noise_rms=0)
    line = _speech(0.1)
    saying = asyncio.create_task(mouth.say(line))
    await asyncio.sleep(0)
    taken = [mouth.take(FRAME, 8000) for _ in range(6)]
    assert await saying
    assert np.array_equal(np.concatenate(taken)[: len(line)], line)
    assert not np.any(np.concatenate(taken)[len(line) :])
    assert len(mouth.sent) == 6
    assert mouth.said == 1


async def test_a_hushed_mouth_is_silent_at_once_and_tells_how_far_it_came() -> None:
    mouth = Mouth(noise_rms=0)
    saying = asyncio.create_task(mouth.say(_speech(1.0)))
    await asyncio.sleep(0)
    for _ in range(25):
        mouth.take(FRAME, 8000)
    assert mouth.said == pytest.approx(0.5)
    mouth.hush()
    assert not await saying
    assert not np.any(mouth.take(FRAME, 8000))


async def test_a_mouth_whose_speaker_is_cancelled_falls_silent() -> None:
    mouth = Mouth(noise_rms=0)
    saying = asyncio.create_task(mouth.say(_speech(1.0)))
    await asyncio.sleep(0)
    mouth.take(FRAME, 8000)
    saying.cancel()
    await asyncio.gather(saying, return_exceptions=True)
    assert not np.any(mouth.take(FRAME, 8000))


class _Voice:
    async def say(self, text: str, voice: str) -> Samples:
        return _speech(len(text) / 100)


def _listen(part: Part, sound: Samples) -> None:
    for frame in _frames(sound):
        part.hear(time.monotonic(), frame)


async def test_a_part_takes_its_turn_when_the_other_stops_and_not_before() -> None:
    part = Part(_Voice(), "ai", Mouth())
    turn = asyncio.create_task(part.wait_turn(5))
    _listen(part, _speech(1.0))
    await asyncio.sleep(0.01)
    assert not turn.done()
    _listen(part, _noise(1.5, 30))
    assert await turn


async def test_a_part_loses_patience_with_silence_but_not_with_a_long_speech() -> None:
    part = Part(_Voice(), "ai", Mouth())
    assert not await part.wait_turn(0.01)
    _listen(part, _speech(1.0))
    turn = asyncio.create_task(part.wait_turn(0.01))
    await asyncio.sleep(0.05)
    assert not turn.done()
    _listen(part, _noise(1.5, 30))
    assert await turn


def test_only_the_start_of_a_takeover_tells_when_it_was_asked_for() -> None:
    started = {"type": "takeover.started", "mode": "takeover", "asked_at": "2026-01-01T00:00:00.500000+00:00"}
    moment = asked_at(started)
    assert moment is not None
    assert moment < time.monotonic()
    assert asked_at({**started, "mode": "barge"}) is None
    assert asked_at({"type": "takeover.ended"}) is None


async def test_a_part_that_gives_way_leaves_the_answer_to_somebody_else() -> None:
    part = Part(_Voice(), "caller", Mouth())
    _listen(part, _speech(1.0))
    part.give_way(0.2)
    _listen(part, _noise(1.5, 30))
    assert not await part.wait_turn(0.05)
    await asyncio.sleep(0.2)
    _listen(part, np.concatenate([_speech(1.0), _noise(1.5, 30)]))
    assert await part.wait_turn(1)


def _talk() -> Talk:
    platform = Platform("Ada", "http://localhost:9", "t", print, on_event=lambda _: None, on_lost=lambda: None)
    return Talk(script.DELIVERY, platform, _Voice())


def _started(mode: str) -> dict[str, str]:
    return {"type": "takeover.started", "mode": mode, "agent": "Anna", "asked_at": "2026-01-01T00:00:00+00:00"}


def _engagement(mode: str, phase: str = "active") -> dict[str, object]:
    return {"type": "call", "call": {"engagements": [{"mode": mode, "phase": phase, "agent_name": "Anna"}]}}


async def test_the_ai_is_silent_in_a_takeover_and_speaks_again_after_it_and_in_a_barge() -> None:
    talk = _talk()
    for event, human in (
        (_started("takeover"), "Anna"),
        ({"type": "takeover.ended", "note": "x"}, ""),
        (_started("barge"), ""),
        (_started("takeover"), "Anna"),
        (_started("barge"), ""),
    ):
        talk.told(event)
        assert talk.conversation.human == human


async def test_an_ai_that_is_told_nothing_any_more_speaks_and_learns_the_truth_later() -> None:
    talk = _talk()
    talk.told(_started("takeover"))
    talk.lost()
    assert talk.conversation.human == ""
    talk.told(_engagement("takeover"))
    assert talk.conversation.human == "Anna"
    talk.told(_engagement("monitor"))
    assert talk.conversation.human == ""
    talk.told(_engagement("takeover", "releasing"))
    assert talk.conversation.human == ""
