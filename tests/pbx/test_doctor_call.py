"""`takeover doctor --call` on a real Asterisk: it proves a site that works, and names what a broken one lacks."""

from pathlib import Path

import pytest

from connector.domain.events import CallChanged
from tests.support.adapter import watched
from tests.support.doctor import called, killed_in_its_takeover, proven
from tests.support.lab import Lab
from web.demo.asterisk import Installation
from web.demo.pbxconfig import modules_conf


def given(lab: Lab) -> dict[str, object]:
    """The lab's Asterisk, as in the settings."""
    return lab.service_settings(lab.pbx.ami.port)


async def test_a_site_that_works_is_proven_and_timed_and_no_panel_shows_it(own_lab: Lab) -> None:
    async with watched(own_lab) as service:  # its rules fit every AudioSocket
        outcome, facts = await called(given(own_lab))
        await own_lab.no_channels()
        assert not any(isinstance(event, CallChanged) for event in service.events)
    assert proven(outcome, facts)
    assert set(facts["call"]["times_ms"]) == {"ai_silent", "agent_heard", "ai_back"}


async def test_nothing_is_left_of_the_call_when_the_doctor_is_killed(own_lab: Lab, tmp_path: Path) -> None:
    await killed_in_its_takeover(own_lab, given(own_lab), tmp_path)


async def test_a_right_that_is_missing_is_named(own_lab: Lab) -> None:
    accounts = own_lab.pbx.home / "etc" / "manager.conf"
    accounts.write_text(accounts.read_text().replace("write=originate,call", "write=call"))
    await own_lab.pbx.command("manager reload")
    outcome, facts = await called(given(own_lab))
    assert outcome.code == 1
    [fault] = facts["faults"]
    assert "the test call was refused" in fault["remedy"]
    assert "write=originate,call,reporting" in fault["remedy"]


def without(installation: Installation, module: str) -> dict[str, str]:
    """The configuration of an Asterisk that lacks a module, whose name has .so."""
    available = [path.name for path in installation.modules.glob("*.so")]
    assert module in available
    return {"modules.conf": modules_conf([name for name in available if name != module])}


@pytest.mark.parametrize(
    ("module", "what", "remedy"),
    [
        ("res_mutestream.so", "in the takeover the caller heard the AI", "module load res_mutestream.so"),
        ("app_bridgeaddchan.so", "takeover", "module load app_bridgeaddchan.so"),  # refused, or not heard
        ("chan_audiosocket.so", "Asterisk did not connect the test call's caller", "load chan_audiosocket"),
    ],
)
async def test_a_module_that_is_missing_is_named(
    installation: Installation, module: str, what: str, remedy: str
) -> None:
    async with Lab(installation, extra=without(installation, module)) as lab:
        outcome, facts = await called(given(lab))
        await lab.no_channels()
    assert outcome.code == 1
    [fault] = facts["faults"]
    assert fault["field"] == "pbx.main"
    assert what in fault["remedy"]
    assert remedy in fault["remedy"]
