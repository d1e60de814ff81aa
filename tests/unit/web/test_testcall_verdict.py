"""What a test call's sound is worth: who heard whom, how soon, and what is said of what is not as it should be."""

from collections.abc import Mapping

import numpy as np
import pytest

from web.commands.testcall.verdict import TONES, Ears, Kind, Moments, Shares, Times, faults, heard, refused, times
from web.demo import tones
from web.demo.voice import FRAME_S, Recording

AT = Moments(began=100.0, asked=101.0, engaged=101.05, gave_back=103.0, returned=103.05, ended=104.5)
QUICK = Times(ai_silent=5.0, agent_heard=25.0, ai_back=15.0)
Spans = Mapping[str, tuple[tuple[float, float], ...]]
"""Speaker -> when he is heard."""
HERE = ((0.0, 1e9),)
CALLER: Spans = {"ai": ((0.0, 101.01), (103.02, 1e9)), "agent": ((101.03, 103.0),)}
AI: Spans = {"caller": HERE, "agent": ((101.03, 103.0),)}
AGENT: Spans = {"caller": ((101.03, 103.0),)}


def recording(spans: Spans, rate: int = 8000) -> Recording:
    """The sound of all who speak at a time, in frames of 20 ms."""
    made, size = Recording(rate), round(rate * FRAME_S)
    for number in range(round((AT.ended - AT.began) / FRAME_S)):
        at = AT.began + number * FRAME_S
        frame = np.zeros(size, np.int16)
        for speaker, when in spans.items():
            if any(since <= at < until for since, until in when):
                frame += tones.tone(TONES[speaker], size, rate, start=number * size)
        made.add(at, frame)
    return made


def judged(caller: Spans = CALLER, ai: Spans = AI, agent: Spans = AGENT) -> tuple[Shares, Times]:
    ears = Ears(recording(caller), recording(ai), recording(agent, 48_000))
    shares = heard(ears, AT)
    return shares, times(ears, AT, shares)


def test_a_takeover_as_it_should_be_has_its_times_and_no_fault() -> None:
    shares, measured = judged()
    assert (measured.ai_silent, measured.agent_heard, measured.ai_back) == pytest.approx((20, 40, 20), abs=20)
    assert faults("asterisk", shares, measured) == []


WRONG: Mapping[str, tuple[Mapping[str, Spans], str, str, str]] = {
    # what is heard otherwise, what is said, and a word of the remedy for each PBX
    "no sound at all": (
        {"caller": {}, "ai": {}, "agent": {}},
        "before the takeover the caller did not hear the AI, the AI did not hear the caller",
        "chan_audiosocket",
        "rtp-ip",
    ),
    "the AI is not muted": (
        {"caller": {**CALLER, "ai": HERE}, "agent": {**AGENT, "ai": HERE}},
        "in the takeover the caller heard the AI, the agent heard the AI",
        "res_mutestream",
        "uuid_audio",
    ),
    "the agent does not come": (
        {"caller": {"ai": HERE}, "ai": {"caller": HERE}, "agent": {}},
        "in the takeover the caller did not hear the agent",
        "app_bridgeaddchan",
        "eavesdrop",
    ),
    "the AI is deaf": (
        {"ai": {"caller": ((0.0, 101.0), (103.0, 1e9))}},
        "in the takeover the AI did not hear the caller, the AI did not hear the agent",
        "bridge_softmix",
        "takeover.xml",
    ),
    "the AI stays muted": (
        {"caller": {**CALLER, "ai": ((0.0, 101.0),)}},
        "after the giving back the caller did not hear the AI",
        "[takeover-gone]",
        "api_hangup_hook",
    ),
    "the agent stays": (
        {"caller": {**CALLER, "agent": ((101.03, 1e9),)}, "ai": {**AI, "agent": ((101.03, 1e9),)}},
        "after the giving back the caller heard the agent, the AI heard the agent",
        "agent's leg is not gone",
        "agent's leg is not gone",
    ),
}


@pytest.mark.parametrize("kind", ["asterisk", "freeswitch"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_once_with_a_remedy_of_that_pbx(case: str, kind: Kind) -> None:
    otherwise, what, *remedies = WRONG[case]
    [wrong] = faults(kind, *judged(**otherwise))
    assert wrong.what == what
    assert remedies[kind == "freeswitch"] in wrong.remedy


def test_a_voice_that_breaks_off_is_told_with_its_share() -> None:
    broken: Spans = {**CALLER, "agent": ((101.03, 102.0),)}
    [wrong] = faults("asterisk", *judged(broken))
    assert wrong.what == "in the takeover the caller did not hear the agent (for 36% of the time)"


def test_what_never_happened_has_no_time() -> None:
    assert judged({**CALLER, "ai": HERE})[1].ai_silent is None
    assert judged({"ai": HERE})[1].agent_heard is None
    assert judged({**CALLER, "ai": ((0.0, 101.0),)})[1].ai_back is None


def test_a_slow_switch_is_a_fault() -> None:
    shares, _ = judged()
    [wrong] = faults("freeswitch", shares, Times(5.0, 3100.0, 10.0))
    assert wrong.what == "the agent was heard only after 3100 ms"
    assert faults("freeswitch", shares, QUICK) == []


def test_a_refusal_is_told_like_an_agent_who_does_not_come() -> None:
    assert "app_bridgeaddchan" in refused("asterisk", "agent-gone").remedy
