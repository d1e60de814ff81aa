"""Calls whose media would not pass through FreeSWITCH."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from connector.domain.events import CallChanged
from tests.contract.under_test import followed
from tests.support.freeswitch import CONFIG, NEEDED, FsLab, Instance, home
from tests.support.lab import expect
from web.demo.sip import SipCall

pytestmark = pytest.mark.timeout(90)

VARIABLES = ("bypass_media", "bypass_media_after_bridge", "proxy_media")
DIALPLAN = """
<context name="past"><extension name="past"><condition field="destination_number" expression="^past$">
  <action application="set" data="${sip_h_X-Past}=true"/>
  <action application="execute_extension" data="${sip_h_X-Hook} XML takeover"/>
  <action application="bridge" data="sofia/internal/ai-past@${sip_h_X-Lab-Ai}"/>
</condition></extension></context>
"""


@pytest.fixture(scope="module")
def past() -> Iterator[Instance]:
    """A FreeSWITCH whose callers may ask for media that goes past it; skips where none is installed."""
    prefix = home()
    if prefix is None:
        pytest.skip(NEEDED)
    with Instance(prefix, replace(CONFIG, dialplan=DIALPLAN + CONFIG.dialplan, context="past")) as instance:
        yield instance


@pytest.mark.parametrize("variable", VARIABLES)
async def test_the_hook_keeps_the_media_in_freeswitch(past: Instance, variable: str) -> None:
    async with FsLab(past) as lab, followed(lab.service()) as follower:
        caller = await called(lab, variable, hook="register")
        told = await follower.event(CallChanged, lambda e: all(choice.possible for choice in e.call.modes))
        ai = await lab.ai.leg("ai-past")
        await expect(caller.recording, {"ai"})
        await expect(ai.recording, {"caller"})
        assert follower.live()[told.call.id].modes == told.call.modes
        assert caller.reinvites == 0
        await caller.hangup()
        await lab.no_channels()


async def called(lab: FsLab, variable: str, hook: str) -> SipCall:
    """A caller whose dialplan sets this variable before its bridge, and then calls this extension of ours."""
    headers = {"X-Past": variable, "X-Hook": hook, "X-Lab-Ai": f"{lab.ai.phone.host}:{lab.ai.phone.port}"}
    return await lab.phone.call(f"sip:past@127.0.0.1:{lab.pbx.ports.sip}", headers=headers)
