"""What a call to the site's own number is worth, where nobody knows what the AI will say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from web.commands.testcall.hearing import Course, judged, rule_for, spoken
from web.demo import tones
from web.demo.voice import FRAME_S, Recording

AT = Course(greeted=True, asked=101.0, engaged=101.05, gave_back=104.0, returned=104.05, back=104.6, ended=105.0)
BEGAN = 100.0
Part = tuple[float | None, float, float]
"""A tone's Hz, or None for a voice; from when to when."""
CALLER: Sequence[Part] = ((None, 0, 101.02), (tones.AGENT_HZ, 101.03, 104.0), (None, 104.6, 1e9))
AGENT: Sequence[Part] = ((tones.CALLER_HZ, 101.03, 104.0),)


def recording(parts: Sequence[Part], rate: int = 8000) -> Recording:
    made, size, noise = Recording(rate), round(rate * FRAME_S), np.random.default_rng(1)
    for number in range(round((AT.ended - BEGAN) / FRAME_S)):
        at = BEGAN + number * FRAME_S
        frame = np.zeros(size, np.int16)
        for hz, since, until in parts:
            if since <= at < until:
                voice = noise.normal(0, 3000, size).astype(np.int16)
                frame += voice if hz is None else tones.tone(hz, size, rate, start=number * size)
        made.add(at, frame)
    return made


def faults(
    caller: Sequence[Part] = CALLER, agent: Sequence[Part] = AGENT, at: Course = AT, ended: str = ""
) -> list[str]:
    wrong, _, _ = judged("asterisk", recording(caller), recording(agent, 48_000), at, ended)
    return [one.what for one in wrong]


def test_a_site_that_works_has_its_times_and_no_fault() -> None:
    wrong, measured, heard = judged("asterisk", recording(CALLER), recording(AGENT, 48_000), AT, "")
    assert wrong == []
    assert measured.agent_heard == pytest.approx(40, abs=20)
    assert measured.ai_back == pytest.approx(600)
    assert heard["takeover"]["caller"] == {"agent": 1.0, "ai": 0.0}


@pytest.mark.parametrize(
    ("otherwise", "said"),
    [
        ({"caller": ((None, 0, 1e9),)}, ["in the takeover the caller did not hear the agent"]),
        ({"agent": ()}, ["in the takeover the agent did not hear the caller"]),
        (
            {"caller": (*CALLER, (None, 102, 103)), "agent": (*AGENT, (None, 102, 103))},
            ["in the takeover the caller and the agent heard more than the other's voice"],
        ),
        (
            {"caller": (*CALLER, (tones.AI_HZ, 101, 104)), "agent": (*AGENT, (tones.AI_HZ, 101, 104))},
            ["in the takeover the caller and the agent heard more than the other's voice"],
        ),
        (
            {"caller": (*CALLER, (tones.AGENT_HZ, 104.0, 1e9))},
            ["after the giving back the caller heard the agent"],
        ),
        ({"at": replace(AT, back=None)}, ["the AI was not heard within 1 s of the giving back"]),
        (
            {"at": replace(AT, greeted=False, back=None)},
            ["the AI said nothing, so whether it is muted and comes back is not proven"],
        ),
        (
            {"ended": "it ended (Normal Clearing)"},
            ["the call was over before the test was: it ended (Normal Clearing)"],
        ),
    ],
)
def test_what_is_wrong_is_said(otherwise: dict[str, object], said: list[str]) -> None:
    assert faults(**otherwise) == said  # type: ignore[arg-type]  # whichever of its arguments


def test_a_click_is_no_voice() -> None:
    click: Part = (None, 100.5, 100.52)
    assert spoken(recording([click]).trace(tones.AGENT_HZ, measure=tones.others)) is None
    assert spoken(recording(CALLER).trace(tones.AGENT_HZ, measure=tones.others)) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("channel", "rule"),
    [
        ("PJSIP/bot-0000002a", "^PJSIP/bot"),
        ("Local/9@ai-00000001;1", "^Local/9@ai"),
        ("sofia/internal/ai-1@10.0.0.9:5060", "^sofia/internal/ai-1"),
        ("AudioSocket/10.0.0.9:4000-5e", r"^AudioSocket/10\.0\.0\.9"),
    ],
)
def test_the_rule_that_is_proposed_fits_others_of_the_kind(channel: str, rule: str) -> None:
    assert rule_for(channel) == rule
