"""A caller and an AI in a conference with somebody else: the AI is silenced to the caller alone, and nobody else is."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from connector.domain.calls import Mode
from tests.support.freeswitch import FsCall, FsLab, Instance
from tests.support.lab import ROLES
from web.demo.sip import SipCall, SipPhone
from web.demo.voice import Recording, Tone

from .test_who_hears_whom import a_call

pytestmark = pytest.mark.timeout(90)

THIRD_HZ = 2100
TONES = {**ROLES, "third": THIRD_HZ}
LISTEN_S, WITHIN_S = 0.3, 8.0

Table = Mapping[str, set[str]]
WITHOUT_AGENT: Table = {"caller": {"ai", "third"}, "ai": {"caller", "third"}, "third": {"caller", "ai"}}
TABLE: Mapping[Mode, Table] = {
    Mode.MONITOR: {**WITHOUT_AGENT, "agent": {"caller", "ai", "third"}},
    Mode.WHISPER: {  # to the conference: the AI cannot be spoken to alone there
        "caller": {"ai", "third"},
        "ai": {"caller", "third", "agent"},
        "third": {"caller", "ai", "agent"},
        "agent": {"caller", "ai", "third"},
    },
    Mode.BARGE: {
        "caller": {"ai", "third", "agent"},
        "ai": {"caller", "third", "agent"},
        "third": {"caller", "ai", "agent"},
        "agent": {"caller", "ai", "third"},
    },
    Mode.TAKEOVER: {
        "caller": {"third", "agent"},
        "ai": {"caller", "third", "agent"},
        "third": {"caller", "ai", "agent"},
        "agent": {"caller", "third"},
    },
}


@asynccontextmanager
async def third(lab: FsLab, call: FsCall) -> AsyncIterator[SipCall]:
    """Somebody else in the caller's conference, who speaks."""
    came: asyncio.Future[SipCall] = asyncio.get_running_loop().create_future()

    async def rang(leg: SipCall) -> None:
        await leg.answer()
        came.set_result(leg)

    async with SipPhone("third", source=lambda: Tone(THIRD_HZ), on_call=rang) as phone:
        room = f"lab-{call.uniqueid}@lab"
        await lab.api(f"bgapi originate sofia/internal/third@{phone.host}:{phone.port} &conference({room})")
        async with asyncio.timeout(WITHIN_S):
            leg = await came
        yield leg


async def expect(recordings: Mapping[str, Recording], table: Table) -> None:
    """Returns when everybody hears who they should, for a whole window."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        since = time.monotonic()
        await asyncio.sleep(LISTEN_S)
        until = time.monotonic()
        shares = {
            who: {role: recordings[who].trace(hz, since, until).share() for role, hz in TONES.items()} for who in table
        }
        if all(
            share >= 0.8 if role in table[who] else share <= 0.2
            for who, heard in shares.items()
            for role, share in heard.items()
        ):
            return
        if until > deadline:
            raise AssertionError(f"expected {table}, heard {shares}")


async def test_in_every_mode_the_ai_is_silent_to_the_caller_at_most(freeswitch: Instance) -> None:
    async with a_call(freeswitch, "T3") as (lab, pbx, made, call), third(lab, made) as other:
        heard = {"caller": made.caller.recording, "ai": made.ai.recording, "third": other.recording}
        await expect(heard, WITHOUT_AGENT)
        endpoint = lab.patch()
        engaged = await pbx.engage(call, endpoint, Mode.TAKEOVER)
        heard["agent"] = (await lab.agent(endpoint.uuid)).recording
        await expect(heard, TABLE[Mode.TAKEOVER])
        for mode in (Mode.BARGE, Mode.TAKEOVER, Mode.WHISPER, Mode.MONITOR, Mode.TAKEOVER):
            engaged = await pbx.switch(engaged, mode)
            await expect(heard, TABLE[mode])
        await pbx.release(engaged)
        await expect(heard, WITHOUT_AGENT)


async def test_who_comes_and_goes_during_a_takeover_is_heard_and_the_ai_is_not(freeswitch: Instance) -> None:
    """As long as nobody else is there the AI is silenced where it goes out to the caller: so would be all others."""
    async with a_call(freeswitch, "T3") as (lab, pbx, made, call):
        endpoint = lab.patch()
        engaged = await pbx.engage(call, endpoint, Mode.TAKEOVER)
        heard = {"caller": made.caller.recording, "agent": (await lab.agent(endpoint.uuid)).recording}
        await expect(heard, {"caller": {"agent"}, "agent": {"caller"}})
        async with third(lab, made) as other:
            heard |= {"ai": made.ai.recording, "third": other.recording}
            await expect(heard, TABLE[Mode.TAKEOVER])
            await other.hangup()
        await expect(heard, {"caller": {"agent"}, "agent": {"caller"}})
        await pbx.release(engaged)
        await expect(heard, {"caller": {"ai"}, "ai": {"caller"}})
