"""`takeover doctor --call` on a real FreeSWITCH: it proves one that works, and leaves nothing behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from connector.domain.events import CallChanged
from tests.contract.under_test import followed
from tests.support.doctor import called, killed_in_its_takeover, proven
from tests.support.freeswitch import FsLab, Instance


@pytest_asyncio.fixture
async def lab(freeswitch: Instance) -> AsyncIterator[FsLab]:
    async with FsLab(freeswitch) as lab:
        yield lab
        await lab.api("hupall")
        await lab.no_channels()


def given(lab: FsLab) -> dict[str, object]:
    """The lab's FreeSWITCH, as in the settings."""
    return lab.service_settings(lab.pbx.ports.esl)


async def test_a_site_that_works_is_proven_and_timed_and_no_panel_shows_it(lab: FsLab) -> None:
    async with followed(lab.service(ais=[("any", "")])) as service:  # this rule fits every channel
        outcome, facts = await called(given(lab))
        await lab.no_channels()
        assert not any(isinstance(event, CallChanged) for event in service.events)
    assert proven(outcome, facts)


async def test_nothing_is_left_of_the_call_when_the_doctor_is_killed(lab: FsLab, tmp_path: Path) -> None:
    await killed_in_its_takeover(lab, given(lab), tmp_path)


async def test_where_nobody_could_take_over_no_call_is_made(lab: FsLab) -> None:
    outcome, facts = await called({**given(lab), "sip_profile": "none"})
    assert outcome.code == 1
    assert "call" not in facts
    assert outcome.lines[-1] == "  test call: not made, as nobody could take it over; mend the above first"
