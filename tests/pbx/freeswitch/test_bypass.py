"""Calls whose media does not pass through FreeSWITCH: whatever led to it, nobody is offered what nobody would hear."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from connector.domain.calls import Call
from connector.domain.events import CallChanged
from connector.freeswitch.facts import BYPASSED
from tests.contract.under_test import followed
from tests.support.freeswitch import CONFIG, NEEDED, FsLab, Instance, home
from tests.support.lab import expect
from web.demo.sip import SipCall

pytestmark = pytest.mark.timeout(90)

WITHIN_S = 10.0
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


def is_refused(call: Call) -> bool:
    """Whether no mode is possible, with the reason."""
    return {(choice.possible, choice.why) for choice in call.modes} == {(False, BYPASSED)}


@pytest.mark.parametrize("variable", VARIABLES)
async def test_no_mode_is_offered_and_the_reason_is_told(past: Instance, variable: str) -> None:
    async with FsLab(past) as lab, followed(lab.service()) as follower:
        caller = await called(lab, variable, hook="none")
        await follower.event(CallChanged, lambda e: is_refused(e.call))
        async with followed(lab.service("node-2")) as another:  # and to who comes later
            async with asyncio.timeout(WITHIN_S):
                while not any(map(is_refused, another.live().values())):  # noqa: ASYNC110 - PBX's tables are late
                    await asyncio.sleep(0.05)
        await caller.hangup()
        await lab.no_channels()


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
