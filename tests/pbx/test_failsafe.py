"""Whatever dies, freezes or is cut under a live takeover: no caller is dropped, none stays in silence.

The whole path is real: agents in processes of their own, the service, its workers, Asterisk. The figures are those of
`tests.bench.failsafe`; here the bounds only prove who acted: a kill is noticed by the PBX at once, a frozen part by
the other within 3 s, everything frozen by the PBX's dead-man within 6.
"""

import pytest

from tests.support.faults import ROWS
from tests.support.stack import Stack
from web.demo.asterisk import Installation

CALLS = 3  # one of each topology

BOUND_MS = {
    "kill9_service": 1000,
    "kill9_worker": 1000,
    "kill9_both": 1000,
    "freeze_service": 3500,
    "freeze_worker": 3500,
    "freeze_both": 6500,
    "browser_killed": 3500,
    "agent_network_cut": 3500,
    "ami_cut_2s": 1000,
    "ami_reset_2s": 1000,
    "ami_cut_20s": 6500,
    "second_service": 1000,
    "pbx_restart": 1000,
}
"From the fault to the AI at the caller; for a fault that ends no takeover, from the giving back after it."


@pytest.mark.parametrize("row", ROWS)
async def test_no_caller_is_dropped_or_left_in_silence(row: str, installation: Installation) -> None:
    async with Stack(installation, staff=CALLS, cuttable=row == "agent_network_cut") as stack:
        report = await ROWS[row](stack, CALLS)
    assert report.faults == []
    assert not any(outcome.dropped for outcome in report.outcomes)
    assert report.channels_left == 0
    assert report.registry_equal
    if row in BOUND_MS:
        assert all(one.ai_back_ms is not None and one.ai_back_ms < BOUND_MS[row] for one in report.outcomes)
