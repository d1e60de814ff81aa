"""A lab on a FreeSWITCH of our own, like `lab`: a caller's phone, a SIP AI and bare SIP agents, each with its tone."""

import asyncio
import os
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from connector.freeswitch.client import Address, Connection
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.freeswitch.resync import rows
from web.demo import freeswitch as demo
from web.demo.freeswitchconfig import FreeSwitchConfig
from web.demo.sip import SipCall, SipPhone
from web.demo.tones import AGENT_HZ, CALLER_HZ
from web.demo.voice import Tone

from .adapter import Patch
from .lab import SETTLE_S
from .peers import Leg, SipAi

RULE = ("bot", r"sofia/internal/ai-")


def home() -> Path | None:
    """The installation prefix, if `FREESWITCH_HOME` names one."""
    named = os.environ.get("FREESWITCH_HOME", "")
    return Path(named) if named and (Path(named) / "bin" / "freeswitch").is_file() else None


LAB_DIALPLAN = """
<context name="incoming">
  <extension name="ai"><condition field="destination_number" expression="^ai$">
    <action application="set" data="hangup_after_bridge=true"/>
    <action application="set" data="takeover_queue=sales"/>
    <action application="set" data="lab_key=${sip_h_X-Lab-Key}"/>
    <action application="execute_extension" data="${sip_h_X-Lab-Hook}"/>
    <action application="bridge" data="sofia/internal/ai-${sip_h_X-Lab-Key}@${sip_h_X-Lab-Ai}"/>
  </condition></extension>
  <extension name="place"><condition field="destination_number" expression="^support$">
    <action application="answer"/><action application="playback" data="tone_stream://%(10000,0,1200);loops=-1"/>
  </condition></extension>
</context>
"""
CONFIG = FreeSwitchConfig(LAB_DIALPLAN)


class Instance(demo.Instance):
    """One running FreeSWITCH with the lab's dialplan, for tests of any event loop: `with Instance(prefix) as pbx`."""

    def __init__(self, prefix: Path, config: FreeSwitchConfig = CONFIG) -> None:
        super().__init__(demo.Installation("", prefix / "bin" / "freeswitch"), config)

    @property
    def address(self) -> Address:
        return Address(self.ports.host, self.ports.esl, self.password)

    def __enter__(self) -> Self:
        return asyncio.run(self.__aenter__())

    def __exit__(self, *_: object) -> None:
        asyncio.run(self.__aexit__())


@dataclass(eq=False)
class FsCall:
    """A call as both sides see it."""

    caller: SipCall
    ai: Leg
    uniqueid: str

    async def hangup(self) -> None:
        await self.caller.hangup()


class FsLab:
    """FreeSWITCH, a caller's phone, a SIP AI, and an agent's SIP phone that answers every patch."""

    def __init__(self, pbx: Instance) -> None:
        self.pbx = pbx
        self.link = Connection("lab", pbx.address, lambda _: None)
        self.ai = SipAi()
        self.phone = SipPhone("caller", source=lambda: Tone(CALLER_HZ))
        self.agents: dict[str, SipCall] = {}
        self.agent_phone = SipPhone("agent", source=lambda: Tone(AGENT_HZ), on_call=self._rang)
        self._came = asyncio.Condition()
        self._stack = AsyncExitStack()

    async def _rang(self, call: SipCall) -> None:
        await call.answer()
        async with self._came:
            self.agents[call.called] = call
            self._came.notify_all()

    async def __aenter__(self) -> Self:
        for part in (self.ai, self.phone, self.agent_phone, self.link):
            await self._stack.enter_async_context(part)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def api(self, command: str) -> str:
        """What the lab's own ESL connection is answered."""
        return (await self.link.api(command))[0]

    async def channels(self) -> list[str]:
        """Ids of the channels that exist."""
        return [row["uuid"] for row in rows(await self.api("show channels as json"))]

    def settings(self, **other: object) -> FreeSwitchSettings:
        given: dict[str, object] = {
            "secret": self.pbx.password,
            "port": self.pbx.ports.esl,
            "ais": (RULE,),
            "destinations": {"support": "incoming,support"},
            "deadman_s": 30.0,
            "media_timeout_ms": 5000,  # the phones live in this process, which a busy machine may hold up for a second
        }
        return FreeSwitchSettings(**{**given, **other})  # type: ignore[arg-type]  # any of its fields

    def service(self, instance: str = "node-1", **other: object) -> FreeSwitchPbx:
        return FreeSwitchPbx("main", self.settings(**other), instance)

    def patch(self) -> Patch:
        """A fresh patch to the lab's agents."""
        return Patch(self.agent_phone.host, 0, str(uuid.uuid4()), sip_port=self.agent_phone.port)

    async def agent(self, patch: str) -> SipCall:
        """The agent's end of a patch, when it is up."""
        async with asyncio.timeout(5), self._came:
            await self._came.wait_for(lambda: patch in self.agents)
            return self.agents[patch]

    async def call(self, *, hook: bool = True, settle: float = SETTLE_S) -> FsCall:
        """A caller in conversation with the AI."""
        key = str(uuid.uuid4())
        headers = {
            "X-Lab-Key": key,
            "X-Lab-Ai": f"{self.ai.phone.host}:{self.ai.phone.port}",
            "X-Lab-Hook": "register XML takeover" if hook else "none XML incoming",
        }
        caller = await self.phone.call(f"sip:ai@127.0.0.1:{self.pbx.ports.sip}", headers=headers)
        ai = await self.ai.leg(f"ai-{key}")
        uniqueid = await self._uniqueid(key)
        await asyncio.sleep(settle)
        return FsCall(caller, ai, uniqueid)

    async def _uniqueid(self, key: str) -> str:
        async with asyncio.timeout(5):
            while True:
                for channel in await self.channels():
                    if await self.api(f"uuid_getvar {channel} lab_key") == key:
                        return channel
                await asyncio.sleep(0.02)

    async def no_channels(self, within: float = 5) -> None:
        """Returns when the PBX has no channel left; AssertionError with their ids after `within` seconds."""
        deadline = time.monotonic() + within
        while channels := await self.channels():
            if time.monotonic() > deadline:
                raise AssertionError(f"channels left on the PBX: {channels}")
            await asyncio.sleep(0.05)


NEEDED = "FREESWITCH_HOME names no FreeSWITCH: everything that needs a real one was SKIPPED"
