"""`takeover doctor --call` on a real Asterisk: it proves a site that works, and names what a broken one lacks."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from connector.domain.events import CallChanged
from tests.support.adapter import watched
from tests.support.lab import Lab
from web.commands.doctor import doctor
from web.commands.outcome import Outcome
from web.demo.asterisk import Installation
from web.demo.pbxconfig import modules_conf
from web.settings import Settings


async def called(lab: Lab, **more: Any) -> Outcome:
    """In a thread with a loop of its own, as on the command line."""
    tree = {"pbx": {"main": {"kind": "asterisk", **lab.service_settings(lab.pbx.ami.port), **more}}}
    return await asyncio.to_thread(doctor, Settings.model_validate(tree), call=True)


def facts(outcome: Outcome) -> Mapping[str, Any]:
    found: Mapping[str, Any] = outcome.facts["pbx"]["main"]
    return found


async def test_a_site_that_works_is_proven_and_timed_and_no_panel_shows_it(own_lab: Lab) -> None:
    async with watched(own_lab) as service:  # its rules fit every AudioSocket
        outcome = await called(own_lab)
        await own_lab.no_channels()
        assert not any(isinstance(event, CallChanged) for event in service.events)
    assert outcome.code == 0, outcome.lines
    times = facts(outcome)["call"]["times_ms"]
    assert set(times) == {"ai_silent", "agent_heard", "ai_back"}
    assert None not in times.values()
    assert "everybody heard whom they should" in outcome.lines[1]


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
        outcome = await called(lab)
        await lab.no_channels()
    assert outcome.code == 1
    [fault] = facts(outcome)["faults"]
    assert fault["field"] == "pbx.main"
    assert what in fault["remedy"]
    assert remedy in fault["remedy"]
