"""The takeover machine by example; that it is right everywhere is `test_takeover_reachability`'s business."""

import pytest

from connector.domain import commands as c
from connector.domain import inputs as i
from connector.domain.calls import Mode, Phase
from connector.domain.takeover import Doing, State, begin, holds_floor, step


def run(state: State, *inputs: i.Input) -> tuple[State, list[c.Command]]:
    """Feeds inputs one after the other; returns the last state and all commands."""
    commands: list[c.Command] = []
    for input_ in inputs:
        state, more = step(state, input_)
        commands += more
    return state, commands


def active(mode: Mode) -> State:
    state, _ = begin(mode)
    state, _ = run(state, i.Prepared(1, recorded=True), i.Done(2))
    assert (state.phase, state.mode) == (Phase.ACTIVE, mode)
    return state


def test_a_takeover_and_a_return() -> None:
    state, commands = begin(Mode.TAKEOVER)
    assert commands == (c.Prepare(1, Mode.TAKEOVER, patch=True),)
    assert not state.ai_muted
    state, commands = step(state, i.Prepared(1, recorded=True))
    assert commands == (c.Engage(2, Mode.TAKEOVER, emergency=False),)
    assert state.ai_muted, "pessimistic: from the moment the mute is asked for"
    state, _ = step(state, i.Done(2))
    assert state.phase is Phase.ACTIVE
    state, commands = step(state, i.Leave("released"))
    assert commands == (c.GiveBack(3, "released"),)
    assert (state.phase, state.ai_muted) == (Phase.RELEASING, True)
    state, commands = step(state, i.Done(3))
    assert (state.phase, state.ai_muted, state.why, commands) == (Phase.ENDED, False, "released", ())


def test_answers_to_old_numbers_are_ignored() -> None:
    state = active(Mode.TAKEOVER)
    for stale in (i.Refused(1), i.Lost(1), i.Refused(2 - 1), i.Done(1), i.Due(1), i.Seen(1, None)):
        assert step(state, stale) == (state, ())


def test_an_ended_engagement_takes_nothing_any_more() -> None:
    state, _ = run(active(Mode.BARGE), i.CallerLeft())
    assert state.phase is Phase.ENDED
    for late in (i.Done(2), i.Leave("released"), i.Change(Mode.TAKEOVER), i.Seen(None, Mode.BARGE), i.AgentLeft()):
        assert step(state, late) == (state, ())


@pytest.mark.parametrize("mode", [Mode.MONITOR, Mode.WHISPER])
def test_listening_without_a_record_does_not_begin(mode: Mode) -> None:
    state, commands = run(begin(mode)[0], i.Prepared(1, recorded=False))
    assert (state.phase, state.why, commands) == (Phase.ENDED, "store-unavailable", [])


@pytest.mark.parametrize("mode", [Mode.BARGE, Mode.TAKEOVER])
def test_speaking_without_the_store_begins_with_an_emergency_record(mode: Mode) -> None:
    _, commands = run(begin(mode)[0], i.Prepared(1, recorded=False))
    assert commands == [c.Engage(2, mode, emergency=True)]


def test_to_listen_again_gives_the_ai_back_and_so_needs_no_store() -> None:
    state, commands = run(active(Mode.TAKEOVER), i.Change(Mode.MONITOR), i.Prepared(3, recorded=False))
    assert commands == [c.Prepare(3, Mode.MONITOR, patch=False), c.SwitchTo(4, Mode.MONITOR, emergency=True)]
    assert holds_floor(state), "until the PBX has confirmed"
    state, _ = step(state, i.Done(4))
    assert not holds_floor(state)


def test_between_listening_modes_nothing_happens_without_a_record() -> None:
    state, commands = run(active(Mode.MONITOR), i.Change(Mode.WHISPER), i.Prepared(3, recorded=False))
    assert (state.phase, state.mode) == (Phase.ACTIVE, Mode.MONITOR)
    assert commands == [c.Prepare(3, Mode.WHISPER, patch=False)]


def test_a_refused_switch_leaves_the_old_mode() -> None:
    state, _ = run(active(Mode.MONITOR), i.Change(Mode.TAKEOVER), i.Prepared(3, recorded=True))
    assert state.ai_muted
    state, commands = step(state, i.Refused(4))
    assert (state.phase, state.mode, state.ai_muted, commands) == (Phase.ACTIVE, Mode.MONITOR, False, ())


def test_a_switch_without_an_answer_is_verified() -> None:
    state, commands = run(active(Mode.TAKEOVER), i.Change(Mode.BARGE), i.Prepared(3, recorded=True), i.Lost(4))
    assert commands[-1] == c.Verify(5)
    assert state.ai_muted
    for truth in (Mode.TAKEOVER, Mode.BARGE):
        settled, _ = step(state, i.Seen(5, truth))
        assert (settled.phase, settled.mode, settled.ai_muted) == (Phase.ACTIVE, truth, truth is Mode.TAKEOVER)
    gone, commands_then = step(state, i.Seen(5, None))
    assert (gone.phase, gone.why) == (Phase.RELEASING, "unseen")
    assert commands_then == (c.GiveBack(6, "unseen"),)


def test_giving_back_is_repeated_and_then_the_patch_is_closed() -> None:
    state, commands = run(
        active(Mode.TAKEOVER), i.Leave("released"), i.Refused(3), i.Refused(4), i.Refused(5), i.Done(6), i.Refused(7)
    )
    assert [type(command).__name__ for command in commands] == [
        "GiveBack",
        "GiveBack",
        "GiveBack",
        "ClosePatch",
        "GiveBack",
        "Wait",
    ]
    state, commands = run(state, i.Due(8), i.Done(9))
    assert commands == [c.GiveBack(9, "released")]
    assert state.phase is Phase.ENDED


def test_no_time_is_lost_when_a_giving_back_is_not_answered() -> None:
    _, commands = run(active(Mode.TAKEOVER), i.Leave("released"), i.Lost(3))
    assert commands == [c.GiveBack(3, "released"), c.ClosePatch(4)]


def test_while_the_pbx_is_away_the_patch_is_closed_and_the_rest_follows_later() -> None:
    state, commands = run(active(Mode.TAKEOVER), i.PbxLost(), i.Leave("released"), i.Done(3))
    assert commands == [c.ClosePatch(3)]
    assert (state.phase, state.doing) == (Phase.RELEASING, Doing.NOTHING)
    state, commands = run(state, i.Seen(None, None), i.Done(4))
    assert commands == [c.GiveBack(4, "released")]
    assert state.phase is Phase.ENDED


def test_a_lost_connection_ends_nothing() -> None:
    state, commands = run(active(Mode.TAKEOVER), i.PbxLost(), i.Seen(None, Mode.TAKEOVER))
    assert (state.phase, state.mode, commands) == (Phase.ACTIVE, Mode.TAKEOVER, [])


def test_a_snapshot_that_says_otherwise_is_verified() -> None:
    _, commands = run(active(Mode.TAKEOVER), i.PbxLost(), i.Seen(None, None))
    assert commands == [c.Verify(3)]


def test_to_leave_while_connecting_closes_the_patch_too() -> None:
    state, commands = run(begin(Mode.TAKEOVER)[0], i.Prepared(1, recorded=True), i.Leave("released"))
    assert commands[1:] == [c.ClosePatch(3), c.GiveBack(4, "released")]
    assert step(state, i.Done(2)) == (state, ()), "that the agent came in after all is undone by the giving back"


def test_to_leave_before_the_pbx_was_asked_is_the_end() -> None:
    state, commands = run(begin(Mode.TAKEOVER)[0], i.Leave("released"))
    assert (state.phase, commands) == (Phase.ENDED, [])


def test_without_the_ai_the_agent_goes_on_and_no_mode_changes() -> None:
    state, commands = run(active(Mode.TAKEOVER), i.AiLeft(), i.Change(Mode.BARGE), i.Prepared(3, recorded=True))
    assert (state.phase, state.mode) == (Phase.ACTIVE, Mode.TAKEOVER)
    assert [type(command).__name__ for command in commands] == ["Prepare"]


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ((i.CallerLeft(),), "caller-hangup"),
        ((i.AgentLeft("deadman"),), "deadman"),
        ((i.AgentLeft(),), "agent-gone"),
        ((i.AiLeft(), i.AgentLeft()), "ai-fallback"),
        ((i.PatchLost(), i.CallerLeft()), "caller-hangup"),
        ((i.PatchLost(), i.AgentLeft("deadman")), "deadman"),
        ((i.Leave("no-microphone"), i.AgentLeft()), "no-microphone"),
        ((i.Leave("released"), i.CallerLeft()), "released"),
    ],
)
def test_the_reason_of_the_end_is_the_one_that_explains_most(inputs: tuple[i.Input, ...], why: str) -> None:
    state, _ = run(active(Mode.TAKEOVER), *inputs)
    assert (state.phase, state.why) == (Phase.ENDED, why)


def test_the_pbxs_refusal_comes_before_what_the_media_side_saw_of_it() -> None:
    connecting, _ = run(begin(Mode.TAKEOVER)[0], i.Prepared(1, recorded=True))
    state, commands = run(connecting, i.PatchLost(), i.AgentLeft(), i.Refused(2, "already-taken"))
    assert (state.phase, state.why) == (Phase.RELEASING, "already-taken")
    assert commands == [c.ClosePatch(3), c.GiveBack(4, "already-taken")]
    believed, commands = run(connecting, i.AgentLeft(), i.Done(2))
    assert believed.phase is Phase.SWITCHING
    assert commands == [c.Verify(3)]
