"""A lab on a FreeSWITCH of our own, like `lab`: a caller's phone, a SIP AI and bare SIP agents, each with its tone."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from connector.freeswitch.client import Address, Connection
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.freeswitch.resync import rows
from connector.freeswitch.wire import Message
from web.demo import freeswitch as demo
from web.demo.freeswitchconfig import FreeSwitchConfig
from web.demo.rtp import L16, PCMU, Codec
from web.demo.sip import SipCall, SipPhone
from web.demo.tones import AGENT_HZ, CALLER_HZ
from web.demo.voice import Tone

from .adapter import Patch
from .exchange import FALLBACK_HZ
from .freeswitch_ais import VOICE, SocketAi, TapAi
from .lab import SETTLE_S
from .peers import Leg, SipAi

Topology = Literal["T1", "T2", "T3", "T4"]
TOPOLOGIES: tuple[Topology, ...] = ("T1", "T2", "T3", "T4")
WIDE = replace(L16, payload_type=102)
"""As FreeSWITCH numbers the first codec that has no number of its own."""
RULE = ("bot", r"sofia/internal/ai-")
RULES = (RULE, ("bug-bot", r"^media-bug/displace"), ("socket-bot", r"^socket/"))
CALLED_S = 30.0
"""For a caller to come into the dialplan: 20 at once on a crowded machine took over 5 s."""


def home() -> Path | None:
    """The installation prefix, if `FREESWITCH_HOME` names one."""
    named = os.environ.get("FREESWITCH_HOME", "")
    return Path(named) if named and (Path(named) / "bin" / "freeswitch").is_file() else None


# The lab's phone says in headers what it wishes, so that one dialplan serves every test.
_COMMON = """
    <action application="set" data="hangup_after_bridge=${sip_h_X-Lab-Ends}"/>
    <action application="set" data="takeover_queue=sales"/>
    <action application="set" data="lab_key=${sip_h_X-Lab-Key}"/>
    <action application="set" data="rtp_manual_rtp_bugs=${sip_h_X-Lab-Rtp}"/>
    <action application="set" data="takeover_ai_dial=${sip_h_X-Lab-Redial}"/>
    <action application="set" data="takeover_fallback_to=${sip_h_X-Lab-Fallback}"/>"""
_EARS = """
    <action application="set" data="send_silence_when_idle=-1"/>
    <action application="set" data="RECORD_READ_ONLY=true"/>
    <action application="set" data="record_sample_rate=8000"/>
    <action application="set" data="enable_file_write_buffering=false"/>
    <action application="record_session" data="${sip_h_X-Lab-Ears}"/>"""
_AI = "[absolute_codec_string=PCMU]sofia/internal/ai-${sip_h_X-Lab-Key}@${sip_h_X-Lab-Ai}"
LAB_DIALPLAN = f"""
<context name="incoming">
  <extension name="dialled"><condition field="destination_number" expression="^T1$">{_COMMON}
    <action application="execute_extension" data="${{sip_h_X-Lab-Hook}}"/>
    <action application="bridge" data="{_AI}"/>
  </condition></extension>
  <extension name="bug"><condition field="destination_number" expression="^T2$">{_COMMON}
    <action application="answer"/>{_EARS}
    <action application="displace_session" data="{VOICE} m"/>
    <action application="execute_extension" data="${{sip_h_X-Lab-Hook}}"/>
    <action application="park"/>
  </condition></extension>
  <extension name="conference"><condition field="destination_number" expression="^T3$">{_COMMON}
    <action application="answer"/>
    <action application="execute_extension" data="${{sip_h_X-Lab-Hook}}"/>
    <action application="set" data="conference_member_flags=endconf"/>
    <action application="conference_set_auto_outcall" data="{_AI}"/>
    <action application="conference" data="lab-${{uuid}}@lab"/>
  </condition></extension>
  <extension name="socket"><condition field="destination_number" expression="^T4$">{_COMMON}
    <action application="answer"/>{_EARS}
    <action application="execute_extension" data="${{sip_h_X-Lab-Hook}}"/>
    <action application="socket" data="${{sip_h_X-Lab-Ai}} async full"/>
    <action application="execute_extension" data="ai_left XML takeover"/>
  </condition></extension>
  <extension name="place"><condition field="destination_number" expression="^support$">
    <action application="answer"/><action application="playback" data="tone_stream://%(10000,0,1200);loops=-1"/>
  </condition></extension>
  <extension name="fallback"><condition field="destination_number" expression="^fallback$">
    <action application="answer"/><action application="playback" data="tone_stream://%(10000,0,{FALLBACK_HZ});loops=-1"/>
  </condition></extension>
</context>
"""
CONFERENCE = """
<configuration name="conference.conf"><profiles><profile name="lab">
 <param name="rate" value="8000"/><param name="interval" value="20"/><param name="energy-level" value="0"/>
 <param name="comfort-noise" value="false"/>
</profile></profiles></configuration>
"""
CONFIG = FreeSwitchConfig(
    LAB_DIALPLAN, modules=("mod_conference", "mod_opus"), codecs="PCMU,PCMA,OPUS", more=CONFERENCE
)


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

    topology: Topology
    caller: SipCall
    ai: Leg
    uniqueid: str

    async def hangup(self) -> None:
        await self.caller.hangup()


class FsLab:
    """FreeSWITCH, a caller's phone, an AI of each topology, and an agent's SIP phone that answers every patch.

    `codec` gives each caller's. `fallback`: a caller who has lost AI and agent is led to a tone, as a site would lead
    him to a queue. `linear`: callers' frames go out as they come, as `dialplan/freeswitch/README.md` advises.
    """

    topologies: Sequence[Topology] = TOPOLOGIES
    endings: Sequence[Mapping[str, Any]] = ({"ends": True}, {"ends": False})
    redials: Mapping[str, Any] = {"redial": True}

    def __init__(
        self,
        pbx: Instance,
        *,
        fallback: bool = False,
        topologies: Sequence[Topology] = TOPOLOGIES,
        codec: Callable[[], Codec] = lambda: PCMU,
        linear: bool = False,
    ) -> None:
        self.pbx = pbx
        self.topologies = topologies
        self.ai = SipAi()
        self.socket_ai = SocketAi()
        self.phone = SipPhone("caller", source=lambda: Tone(CALLER_HZ))
        self.agents: dict[str, SipCall] = {}
        self.agent_phone = SipPhone("agent", codec=WIDE, source=lambda: Tone(AGENT_HZ), on_call=self._rang)
        self._codec, self._fallback, self._linear = codec, fallback, linear
        self._ended: list[float] = []
        self._callers: dict[str, asyncio.Future[str]] = {}
        self._came = asyncio.Condition()
        self.pulse_s = 0.0
        """After so long an agent's phone answers a pulse, as a worker on a busy machine would."""
        self._stack = AsyncExitStack()
        self._linked = AsyncExitStack()

    async def _rang(self, call: SipCall) -> None:
        if call.called.endswith("-pulse"):
            await asyncio.sleep(self.pulse_s)
        await call.answer()
        async with self._came:
            self.agents[call.called] = call
            self._came.notify_all()

    async def __aenter__(self) -> Self:
        for part in (self.ai, self.socket_ai, self.phone, self.agent_phone):
            await self._stack.enter_async_context(part)
        self._stack.push_async_callback(lambda: self._linked.aclose())
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _connect(self) -> None:
        self.link = await self._linked.enter_async_context(Connection("lab", self.pbx.address, self._heard))
        draining = asyncio.create_task(self._drain(self.link), name="lab-events")
        self._linked.push_async_callback(lambda: asyncio.gather(draining, return_exceptions=True))
        self._linked.callback(draining.cancel)
        await self.link.send("event plain CHANNEL_HANGUP_COMPLETE")

    async def _drain(self, link: Connection) -> None:
        async for _ in link.events():
            pass  # `_heard` has seen it

    def _heard(self, message: Message) -> None:
        if message.event == "CHANNEL_HANGUP_COMPLETE":
            self._ended.append(time.monotonic())
        told = self._callers.get(message.variable("lab_key"))
        if told is not None and not told.done():
            told.set_result(message["unique-id"])

    async def api(self, command: str) -> str:
        """What the lab's own ESL connection is answered."""
        return (await self.link.api(command))[0]

    # ---- as an exchange ----

    @property
    def control(self) -> tuple[str, int]:
        """Where ESL is."""
        return self.pbx.ports.host, self.pbx.ports.esl

    def service_settings(self, port: int) -> dict[str, Any]:
        """This FreeSWITCH in the service's settings, ESL behind a forwarder."""
        rules = [{"name": name, "match": match} for name, match in RULES]
        return {"kind": "freeswitch", "host": "127.0.0.1", "port": port, "secret": self.pbx.password, "ais": rules}

    async def channels(self) -> list[str]:
        """Ids of the channels that exist."""
        return [row["uuid"] for row in await self._rows()]

    async def agent_channels(self) -> list[str]:
        """Ids of the agents' channels that the PBX has."""
        return [row["uuid"] for row in await self._rows() if row["application"] == "eavesdrop"]

    async def callers(self) -> set[str]:
        """Ids of the callers' channels that the PBX has."""
        return {row["uuid"] for row in await self._rows() if row["name"].startswith("sofia/internal/caller@")}

    async def restart(self) -> None:
        """FreeSWITCH is killed and started again."""
        await self._linked.aclose()
        self.pbx.kill()
        await self.pbx.start()
        await self._connect()

    def hangups(self, since: float) -> list[float]:
        """When channels ended, as ESL said it."""
        return [at for at in self._ended if at >= since]

    async def _rows(self) -> list[Mapping[str, str]]:
        return list(rows(await self.api("show channels as json")))

    # ---- services, agents, calls ----

    def settings(self, **other: object) -> FreeSwitchSettings:
        given: dict[str, object] = {
            "secret": self.pbx.password,
            "port": self.pbx.ports.esl,
            "ais": RULES,
            "destinations": {"support": "incoming,support"},
            "deadman_s": 30.0,
            "media_timeout_ms": 5000,  # the phones live in this process, which a busy machine may hold up for a second
        }
        return FreeSwitchSettings(**{**given, **other})  # type: ignore[arg-type]  # any of its fields

    def service(self, instance: str = "node-1", **other: object) -> FreeSwitchPbx:
        return FreeSwitchPbx("main", self.settings(**other), instance)

    def patch(self, rate: int = 8000) -> Patch:
        """A fresh patch to the lab's agents."""
        return Patch(self.agent_phone.host, 0, str(uuid.uuid4()), rate, self.agent_phone.port)

    async def agent(self, patch: str) -> SipCall:
        """The agent's end of a patch, when it is up."""
        async with asyncio.timeout(5), self._came:
            await self._came.wait_for(lambda: patch in self.agents)
            return self.agents[patch]

    async def call(
        self,
        topology: Topology = "T1",
        /,
        *,
        hook: bool = True,
        ends: bool = True,
        redial: bool = False,
        settle: float = SETTLE_S,
    ) -> FsCall:
        """A caller in conversation with the AI. `ends`: so does the call when the AI hangs up and nobody took it over.
        `redial`: the fallback dials the AI once more."""
        key = str(uuid.uuid4())
        ears = self.pbx.folder / f"ears-{key}.raw"
        peer = f"{self.ai.phone.host}:{self.ai.phone.port}"
        headers = {
            "X-Lab-Key": key,
            "X-Lab-Ai": f"{self.socket_ai.host}:{self.socket_ai.port}" if topology == "T4" else peer,
            "X-Lab-Ears": str(ears),
            "X-Lab-Hook": "register XML takeover" if hook else "none XML incoming",
            "X-Lab-Ends": "true" if ends else "false",
            "X-Lab-Redial": f"sofia/internal/ai-{key}@{peer}" if redial else "",
            "X-Lab-Fallback": "fallback XML incoming" if self._fallback else "",
            "X-Lab-Rtp": "SEND_LINEAR_TIMESTAMPS" if self._linear else "",
        }
        self.phone.codec = self._codec()
        told = self._callers[key] = asyncio.get_running_loop().create_future()
        caller = await self.phone.call(f"sip:{topology}@127.0.0.1:{self.pbx.ports.sip}", headers=headers)
        async with asyncio.timeout(CALLED_S):
            uniqueid = await told
        del self._callers[key]
        ai = await self._ai(topology, key, uniqueid, ears)
        await asyncio.sleep(settle)
        return FsCall(topology, caller, ai, uniqueid)

    async def _ai(self, topology: Topology, key: str, uniqueid: str, ears: Path) -> Leg:
        if topology in ("T1", "T3"):
            return await self.ai.leg(f"ai-{key}")

        async def stop() -> None:
            await self.link.api(f"uuid_displace {uniqueid} stop {VOICE}", f"uuid_record {uniqueid} stop {ears}")

        leg = TapAi(ears, stop if topology == "T2" else lambda: self.socket_ai.leave(key))
        self._stack.push_async_callback(leg.close)
        return leg

    async def no_channels(self, within: float = 5) -> None:
        """Returns when the PBX has no channel left; AssertionError with their ids after `within` seconds."""
        deadline = time.monotonic() + within
        while channels := await self.channels():
            if time.monotonic() > deadline:
                raise AssertionError(f"channels left on the PBX: {channels}")
            await asyncio.sleep(0.05)


NEEDED = "FREESWITCH_HOME names no FreeSWITCH: everything that needs a real one was SKIPPED"
