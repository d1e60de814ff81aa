"""A FreeSWITCH of our own for the tests: from `FREESWITCH_HOME`, with its own configuration, on free ports.

And a lab on it, like `lab`: a caller's phone, a SIP AI and bare SIP agents, each with its tone.
"""

import asyncio
import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from connector.freeswitch.client import Address, Connection
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.freeswitch.resync import rows
from web.demo.sip import SipCall, SipPhone
from web.demo.tones import AGENT_HZ, CALLER_HZ
from web.demo.voice import Tone

from .adapter import Patch
from .lab import SETTLE_S
from .peers import Leg, SipAi

DIALPLAN = Path(__file__).parents[2] / "dialplan" / "freeswitch" / "takeover.xml"
START_S = 30.0
RULE = ("bot", r"sofia/internal/ai-")


def home() -> Path | None:
    """The installation prefix, if `FREESWITCH_HOME` names one."""
    named = os.environ.get("FREESWITCH_HOME", "")
    return Path(named) if named and (Path(named) / "bin" / "freeswitch").is_file() else None


@dataclass(frozen=True)
class Ports:
    esl: int
    sip: int
    rtp: tuple[int, int]


MODULES = (
    "mod_commands",
    "mod_dptools",
    "mod_dialplan_xml",
    "mod_event_socket",
    "mod_hash",
    "mod_logfile",
    "mod_sndfile",
    "mod_sofia",
    "mod_tone_stream",
)
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


def _configuration(ports: Ports, password: str, folder: Path) -> str:
    modules = "".join(f'<load module="{name}"/>' for name in MODULES)
    return f"""<?xml version="1.0"?>
<document type="freeswitch/xml">
<section name="configuration">
<configuration name="modules.conf"><modules>{modules}</modules></configuration>
<configuration name="switch.conf"><settings>
 <param name="loglevel" value="debug"/><param name="max-sessions" value="500"/>
 <param name="sessions-per-second" value="500"/>
 <param name="rtp-start-port" value="{ports.rtp[0]}"/><param name="rtp-end-port" value="{ports.rtp[1]}"/>
</settings></configuration>
<configuration name="logfile.conf"><profiles><profile name="default">
 <settings><param name="logfile" value="{folder}/freeswitch.log"/></settings>
 <mappings><map name="all" value="debug,info,notice,warning,err,crit,alert"/></mappings></profile></profiles>
</configuration>
<configuration name="acl.conf"><network-lists><list name="lab" default="deny">
 <node type="allow" cidr="127.0.0.1/32"/></list></network-lists></configuration>
<configuration name="event_socket.conf"><settings>
 <param name="listen-ip" value="127.0.0.1"/><param name="listen-port" value="{ports.esl}"/>
 <param name="password" value="{password}"/><param name="apply-inbound-acl" value="lab"/>
</settings></configuration>
<configuration name="sofia.conf"><global_settings><param name="log-level" value="0"/></global_settings><profiles>
<profile name="internal"><settings>
 <param name="sip-ip" value="127.0.0.1"/><param name="rtp-ip" value="127.0.0.1"/>
 <param name="sip-port" value="{ports.sip}"/>
 <param name="context" value="incoming"/><param name="dialplan" value="XML"/><param name="auth-calls" value="false"/>
 <param name="apply-inbound-acl" value="lab"/><param name="manage-presence" value="false"/>
 <param name="inbound-codec-prefs" value="PCMU,PCMA"/><param name="outbound-codec-prefs" value="PCMU,PCMA"/>
 <param name="rtp-timer-name" value="soft"/><param name="dtmf-duration" value="2000"/>
</settings></profile></profiles></configuration>
</section>
<section name="dialplan">
{LAB_DIALPLAN}
{_ours()}
</section>
</document>
"""


def _ours() -> str:
    """Our include, without its wrapper: FreeSWITCH's preprocessor would take it out as well."""
    text = DIALPLAN.read_text(encoding="utf-8")
    return text[text.index("<include>") + len("<include>") : text.index("</include>")]


class Instance:
    """One running FreeSWITCH; dies with the process that started it. Bound to no event loop: many tests share it."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self.ports = _free_ports()
        self.password = secrets.token_hex(16)
        self._folder = tempfile.TemporaryDirectory(prefix="takeover-fs-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.ports.esl, self.password)

    @property
    def log(self) -> str:
        return (self.folder / "freeswitch.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        (self.folder / "freeswitch.xml").write_text(_configuration(self.ports, self.password, self.folder))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _start(self) -> None:
        setpriv = shutil.which("setpriv")
        assert setpriv is not None, "install the package util-linux"
        folders = ("conf", "log", "db", "run", "htdocs", "scripts", "temp", "storage", "cache", "recordings", "certs")
        options = [word for name in folders for word in (f"-{name}", str(self.folder))]
        program = str(self._prefix / "bin" / "freeswitch")
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [
                    setpriv,
                    "--pdeathsig",
                    "KILL",
                    "--",
                    program,
                    "-nf",
                    "-nonat",
                    "-nonatmap",
                    "-np",
                    "-nocal",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=self.folder,
                start_new_session=True,
            )
        until = time.monotonic() + START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                tail = (self.folder / "console.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"FreeSWITCH did not start; the end of its log:\n{tail}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        """Whether its event socket lets us in and its SIP profile runs."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports.esl), 1) as link:
                link.sendall(f"auth {self.password}\n\napi sofia status\n\nexit\n\n".encode())
                said = b"".join(iter(lambda: link.recv(65536), b""))
        except OSError:
            return False
        return b"RUNNING" in said


def _free_ports() -> Ports:
    """Ports nobody uses, below the range the kernel gives to clients."""
    picks = random.Random(os.urandom(8))
    while True:
        base = picks.randrange(10_000, 30_000, 200)
        if all(_is_free(port) for port in (base, base + 1)):
            return Ports(base, base + 1, (base + 10, base + 199))


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


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
