"""The words for calls."""

from datetime import UTC, datetime

import pytest

from connector.domain.calls import Ai, Call, Channels, Mode, ModeChoice, Party, Topology, call_id


def test_who_speaks_and_who_listens() -> None:
    assert {mode for mode in Mode if mode.speaks} == {Mode.BARGE, Mode.TAKEOVER}


def test_a_call_id_names_pbx_and_channel() -> None:
    assert call_id("main", "1700000000.12") == "main~1700000000.12"


@pytest.mark.parametrize("mode", Mode)
def test_a_mode_that_no_adapter_named_is_impossible(mode: Mode) -> None:
    named = ModeChoice(Mode.BARGE, possible=True)
    call = Call(
        call_id("main", "1"),
        "main",
        Channels("c", "1"),
        Party(),
        Ai("bot"),
        datetime.now(UTC),
        Topology.DIALLED,
        (named,),
    )
    choice = call.choice(mode)
    assert choice.possible is (mode is Mode.BARGE)
    assert choice is named or choice.why
