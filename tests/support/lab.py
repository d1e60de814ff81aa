"""The lab: one Asterisk with our dialplan, a caller's phone, an AI of each topology, and a bare agent.

Tones: caller 400 Hz, AI 900 Hz, agent 1500 Hz. All times are `time.monotonic()`.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from web.demo.ami import AmiMessage
from web.demo.asterisk import Installation, Instance
from web.demo.audiosocket import AudioSocketLeg, AudioSocketServer
from web.demo.pbxconfig import Endpoint, PbxConfig
from web.demo.rtp import PCMU, Codec, Report
from web.demo.sip import SipCall, SipPhone
from web.demo.tones import AGENT_HZ, AI_HZ, CALLER_HZ, Trace, either
from web.demo.voice import Recording, Tone

from .peers import Ais, Leg

Topology = Literal["T1", "T2", "T4"]
TOPOLOGIES: tuple[Topology, ...] = ("T1", "T2", "T4")
ROLES = {"caller": CALLER_HZ, "ai": AI_HZ, "agent": AGENT_HZ}
SETTLE_S = 0.3
ENDINGS = ({"options": "b(ai-mark^s^1)"}, {"options": "gb(ai-mark^s^1)"})
"""Options of Dial: at the AI's end the caller's dialplan ends too, or goes on."""
_AGENTS = "takeover-agent"  # the context that every agent's channel is in

# The lab's phone says in headers what it wishes, so that one dialplan serves every test.
DIALPLAN = """
[incoming]
exten => ai,1,Set(LAB_KEY=${PJSIP_HEADER(read,X-Lab-Key)})
 same => n,Set(LAB_DIAL=${PJSIP_HEADER(read,X-Lab-Dial)})
 same => n,Set(LAB_OPTIONS=${PJSIP_HEADER(read,X-Lab-Options)})
 same => n,Set(TK_AI_DIAL=${PJSIP_HEADER(read,X-Lab-Redial)})
 same => n,Set(LAB_HOOK=${PJSIP_HEADER(read,X-Lab-Hook)})
 same => n,UserEvent(LabCall,Key: ${LAB_KEY})
 same => n,ExecIf($["${LAB_HOOK}"!=""]?Gosub(takeover,register,1(${LAB_HOOK})))
 same => n,Dial(${LAB_DIAL},30,${LAB_OPTIONS})
 same => n,UserEvent(LabAfterDial,Key: ${LAB_KEY},Status: ${DIALSTATUS})
 same => n,Hangup()

[lab-destination]
exten => s,1,UserEvent(LabDestination,Uid: ${UNIQUEID})
 same => n,Playtones(1500)
 same => n,Wait(60)
"""


@dataclass(eq=False)
class LabCall:
    """A call as all three sides see it."""

    key: str  # a uuid: of the AudioSocket, user part of the SIP AI's URI, query of the WebSocket
    topology: Topology
    caller: SipCall
    ai: Leg
    uniqueid: str  # of the caller's channel
    channel: str  # the caller's, full name
    ai_channel: str

    async def hangup(self) -> None:
        await self.caller.hangup()

    @property
    def rtp(self) -> "Rtp":
        return Rtp(self.caller)


@dataclass(frozen=True)
class Rtp:
    """What happened to the RTP the caller received."""

    call: SipCall

    def report(self, since: float, until: float) -> Report:
        return self.call.media.report(since, until)


@dataclass
class Lab:
    """An async context manager; every call and leg ends with it."""

    installation: Installation
    codec: Codec = PCMU
    codec_name: str = "ulaw"
    globals: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)  # AMI users with the service's rights besides `takeover`
    direct_media: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)  # more Asterisk configuration files
    dialplan: str = ""  # more dialplan
    topologies: Sequence[Topology] = field(default=TOPOLOGIES, init=False)
    endings: Sequence[Mapping[str, Any]] = field(default=ENDINGS, init=False)
    redials: Mapping[str, Any] = field(default_factory=lambda: {"redial": "T1"}, init=False)

    def __post_init__(self) -> None:
        self.ais = Ais(self.codec)
        self.phone = SipPhone("caller", codec=self.codec, source=lambda: Tone(CALLER_HZ))
        self.agents = AudioSocketServer(lambda: Tone(AGENT_HZ))
        self.events: list[AmiMessage] = []  # everything AMI said to the administrator since the start
        self._stack = AsyncExitStack()
        self._waiting: list[tuple[str, dict[str, str], asyncio.Future[AmiMessage]]] = []

    async def __aenter__(self) -> Self:
        for part in (self.ais, self.phone, self.agents):
            await self._stack.enter_async_context(part)
        config = PbxConfig(
            dialplan=DIALPLAN + self.dialplan,
            endpoints=(
                Endpoint("caller", codecs=self.codec_name, direct_media=self.direct_media),
                Endpoint("ai", codecs=self.codec_name, direct_media=self.direct_media, contact=self.ais.sip.phone.uri),
            ),
            websocket_clients={"ai": self.ais.websocket.uri},
            globals=self.globals,
            users=self.users,
            extra=self.extra,
        )
        self.pbx = await self._stack.enter_async_context(Instance(self.installation, config))
        self.watch()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def watch(self) -> None:
        """Listens to AMI; again after `pbx.restart()`."""
        self.pbx.link.listen(self._heard)

    # ---- calls ----

    async def call(
        self,
        topology: Topology = "T1",
        *,
        ai_hook: bool = True,
        hook: str = "default,sales,,",
        options: str = "gb(ai-mark^s^1)",
        redial: Topology | None = None,
        settle: float = SETTLE_S,
    ) -> LabCall:
        """A caller in conversation with an AI; returns when both are up and hear each other (`settle` seconds).

        `hook` are the register hook's arguments: tenant, queue, ai_ref, recording. `redial` names the AI that
        `takeover-fallback` dials once more.
        """
        key = str(uuid.uuid4())
        peer = self.ais.of(topology)
        begun = self.event("UserEvent", UserEvent="LabCall", Key=key)
        headers = {
            "X-Lab-Key": key,
            "X-Lab-Dial": peer.dial(key),
            "X-Lab-Options": options,
            "X-Lab-Hook": hook if ai_hook else "",
            "X-Lab-Redial": self.ais.of(redial).dial(key) if redial else "",
        }
        mark = len(self.events)
        caller = await self.phone.call(f"sip:ai@{self.pbx.ports.host}:{self.pbx.ports.sip}", headers=headers)
        ai = await peer.leg(key)
        event = await begun
        uniqueid = event.get("Uniqueid")
        dialled = await self.event("DialBegin", since=mark, Uniqueid=uniqueid)
        await asyncio.sleep(settle)
        return LabCall(key, topology, caller, ai, uniqueid, event.get("Channel"), dialled.get("DestChannel"))

    async def join(self, call: LabCall, mode: str = "takeover", *, deadman: float = 60) -> "LabAgent":
        """Originates a bare agent leg into a call, without any of the service; returns when it is connected."""
        identity = str(uuid.uuid4())
        started = time.monotonic()
        await self.pbx.link.action(
            "Originate",
            {
                "TK_CALLER": call.channel,
                "TK_AI": call.ai_channel,
                "TK_UID": call.uniqueid,
                "TK_INSTANCE": "lab",
                "TK_DEADMAN": str(deadman),
            },
            Channel=self.agents.dial_string(identity),
            Context="takeover-agent",
            Exten=mode,
            Priority="1",
            Async="true",
            Timeout="5000",
        )
        leg = await self.agents.leg(identity)
        return LabAgent(self, leg, f"AudioSocket/{self.agents.host}:{self.agents.port}-{identity}", started)

    def event(self, name: str, /, *, since: int | None = None, **fields: str) -> asyncio.Future[AmiMessage]:
        """The next AMI event with this name and these headers; bounded: TimeoutError after 5 s.

        With `since`, an earlier length of `events`, one that has come since then counts too.
        """
        future: asyncio.Future[AmiMessage] = asyncio.get_running_loop().create_future()
        past = [] if since is None else self.events[since:]
        met = next((message for message in past if _fits(message, name, fields)), None)
        if met:
            future.set_result(met)
        else:
            self._waiting.append((name, fields, future))
        return asyncio.ensure_future(_bounded(future, f"no {name} with {fields}"))

    def _heard(self, message: AmiMessage) -> None:
        if not message.event:
            return
        self.events.append(message)
        for entry in list(self._waiting):
            name, fields, future = entry
            if future.done():
                self._waiting.remove(entry)
            elif _fits(message, name, fields):
                self._waiting.remove(entry)
                future.set_result(message)

    # ---- as an exchange ----

    @property
    def control(self) -> tuple[str, int]:
        """Where AMI is."""
        return self.pbx.ami.host, self.pbx.ami.port

    def service_settings(self, port: int) -> dict[str, Any]:
        """This Asterisk in the service's settings, AMI behind a forwarder."""
        ami = self.pbx.ami
        return {"host": "127.0.0.1", "port": port, "username": ami.user, "secret": ami.secret}

    async def channels(self) -> list[str]:
        """Full names of the channels that exist."""
        return await self.pbx.channels()

    async def agent_channels(self) -> list[str]:
        """Names of the agents' channels that the PBX has."""
        return [row[0] for row in await self._rows() if row[1] == _AGENTS]

    async def callers(self) -> set[str]:
        """Ids of the callers' channels that the PBX has."""
        return {row[-1] for row in await self._rows() if row[0].startswith("PJSIP/caller-")}

    async def restart(self) -> None:
        """Asterisk is killed and started again."""
        await self.pbx.restart()
        self.watch()

    def hangups(self, since: float) -> list[float]:
        """When channels ended, as AMI said it."""
        return [event.at for event in self.events if event.event == "Hangup" and event.at >= since]

    async def _rows(self) -> list[list[str]]:
        return [row.split("!") for row in await self.pbx.command("core show channels concise") if "!" in row]

    async def no_channels(self, within: float = 5) -> None:
        """Returns when the PBX has no channel left; AssertionError with their names after `within` seconds."""
        deadline = time.monotonic() + within
        while channels := await self.pbx.channels():
            if time.monotonic() > deadline:
                raise AssertionError(f"channels left on the PBX: {channels}")
            await asyncio.sleep(0.05)


@dataclass
class LabAgent:
    """A bare agent leg."""

    lab: Lab
    leg: AudioSocketLeg
    channel: str
    started: float  # when Originate was sent

    @property
    def recording(self) -> Recording:
        return self.leg.recording

    async def switch(self, mode: str) -> None:
        await self.lab.pbx.link.action(
            "Redirect", Channel=self.channel, Context="takeover-agent", Exten=mode, Priority="1"
        )

    async def leave(self) -> None:
        """As our media worker gives a call back: by closing the socket."""
        self.leg.abort()
        await self.leg.ended.wait()


def _fits(message: AmiMessage, name: str, fields: Mapping[str, str]) -> bool:
    return message.event == name and all(message.get(key) == value for key, value in fields.items())


async def _bounded(future: asyncio.Future[AmiMessage], text: str) -> AmiMessage:
    try:
        async with asyncio.timeout(5):
            return await future
    except TimeoutError:
        raise TimeoutError(text) from None


def heard_by(recording: Recording, since: float, until: float) -> set[str]:
    """Roles whose tone is heard in at least 80 % of the 10 ms windows; RuntimeError if one is neither heard nor not."""
    heard: set[str] = set()
    for role, hz in ROLES.items():
        share = recording.trace(hz, since, until).share()
        if share >= 0.8:
            heard.add(role)
        elif share > 0.2:
            raise RuntimeError(f"{role}'s tone is heard in {share:.0%} of the time: neither there nor away")
    return heard


async def expect(recording: Recording, heard: set[str], within: float = 4.0) -> None:
    """Returns when these parties' tones, and no other's, arrive for a whole window. On a busy machine frames come
    late, so a window is taken again; what is wrong stays wrong, and fails."""
    deadline = time.monotonic() + within
    while True:
        since = time.monotonic()
        await asyncio.sleep(0.3)
        until = time.monotonic()
        try:
            found: object = heard_by(recording, since, until)
        except RuntimeError as unclear:
            found = str(unclear)
        if found == heard:
            return
        if until > deadline:
            raise AssertionError(f"expected {heard}, heard {found}")


def any_tone(recording: Recording, since: float, until: float) -> Trace:
    """The loudest of the three tones in each window: its holes are silence."""
    return either(*(recording.trace(hz, since, until) for hz in ROLES.values()))
