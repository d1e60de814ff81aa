"""`takeover doctor --call NUMBER` on a real FreeSWITCH: a call through the site's own dialplan."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.support.doctor import called
from tests.support.freeswitch import CONFIG, LAB_DIALPLAN, NEEDED, FsLab, Instance, home
from web.commands.testcall.number import Number

KEY = str(uuid.uuid4())
SITE = f"""
<context name="carrier">
  <extension name="ai"><condition field="destination_number" expression="^100$">
    <action application="answer"/>
    <action application="bridge" data="[absolute_codec_string=PCMU]sofia/internal/ai-{KEY}@${{site_ai}}"/>
  </condition></extension>
</context>
"""


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[FsLab]:
    """A FreeSWITCH with a dialplan like a call center's."""
    prefix = home()
    if prefix is None:
        pytest.skip(NEEDED)
    config = replace(CONFIG, dialplan=LAB_DIALPLAN + SITE)
    async with Instance(prefix, config) as instance, FsLab(instance) as lab:
        await lab.api(f"global_setvar site_ai={lab.ai.phone.host}:{lab.ai.phone.port}")
        yield lab


async def test_a_number_leads_to_an_ai_that_is_taken_over_and_comes_back(lab: FsLab) -> None:
    outcome, facts = await called(lab.service_settings(lab.pbx.ports.esl), Number("100", "carrier"))
    await lab.no_channels()
    assert facts["faults"] == [], outcome.lines
    assert facts["call"]["reached"].startswith("bot (sofia/internal/ai-")
    assert None not in (facts["call"]["times_ms"]["agent_heard"], facts["call"]["times_ms"]["ai_back"])


async def test_what_keeps_an_ai_from_being_taken_over_is_named(lab: FsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.commands.testcall.dialled.REACHED_S", 4.0)
    settings = lab.service_settings(lab.pbx.ports.esl)
    wrong = {**settings, "ais": [{"name": "bot", "match": "^sofia/internal/robot"}]}
    for number, given, words in (
        ("999", settings, ("was over before it reached an AI", "NO_ROUTE_DESTINATION", "name carrier")),
        ("100", wrong, (f"sofia/internal/ai-{KEY}", "(answered)", "'^sofia/internal/robot'", "'^sofia/internal/ai-")),
    ):
        outcome, facts = await called(given, Number(number, "carrier"))
        await lab.no_channels()
        assert outcome.code == 1
        [fault] = facts["faults"]
        for word in words:
            assert word in fault["remedy"]
