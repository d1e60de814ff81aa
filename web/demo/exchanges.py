"""The demo's PBXs, each with the dialplan an administrator would have plus our hook, behind one face.

Extension of a call: `<how the AI is attached>-<queue>-<reference of the call>`.
"""

import re
from collections.abc import Mapping
from typing import Literal, Protocol, Self

from . import ai_sip, asterisk, caller, freeswitch
from .audiosocket import AudioSocketServer
from .freeswitchconfig import PROFILE, FreeSwitchConfig
from .pbxconfig import Endpoint, PbxConfig

Kind = Literal["asterisk", "freeswitch"]
Attach = Literal["sip", "socket"]
SIP_AI, SOCKET_AI = "Ada", "Bo"
AI_NAMES: Mapping[Attach, str] = {"sip": SIP_AI, "socket": SOCKET_AI}
TENANT = "demo"


class Exchange(Protocol):
    """A running PBX of the demo; an async context manager."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def pid(self) -> int: ...

    @property
    def sip(self) -> tuple[str, int]:
        """Where callers call."""

    def settings(self) -> Mapping[str, object]:
        """Its part of the service's settings."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...


class OnAsterisk:
    """An Asterisk with both AIs, one by SIP at `sip_uri`."""

    def __init__(self, installation: asterisk.Installation, sip_uri: str, socket_ai: AudioSocketServer) -> None:
        self.title = f"Asterisk {installation.version}"
        self._socket_ai = socket_ai
        self._pbx = asterisk.Instance(
            installation,
            PbxConfig(
                dialplan=asterisk_dialplan(socket_ai.dial_string("${DEMO_REF}")),
                endpoints=(
                    Endpoint(caller.ENDPOINT, context="demo-incoming"),
                    Endpoint(ai_sip.ENDPOINT, context="demo-nothing", contact=sip_uri),
                ),
            ),
        )

    @property
    def pid(self) -> int:
        return self._pbx.pid

    @property
    def sip(self) -> tuple[str, int]:
        return self._pbx.ports.host, self._pbx.ports.sip

    def settings(self) -> Mapping[str, object]:
        ami = self._pbx.ami
        socket = f"{re.escape(self._socket_ai.host)}:{self._socket_ai.port}"
        return {
            "kind": "asterisk",
            "host": ami.host,
            "port": ami.port,
            "username": ami.user,
            "secret": ami.secret,
            "ais": [
                {"name": SIP_AI, "match": f"^PJSIP/{ai_sip.ENDPOINT}\\b"},
                {"name": SOCKET_AI, "match": f"^AudioSocket/{socket}/"},
            ],
        }

    async def __aenter__(self) -> Self:
        await self._pbx.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pbx.__aexit__()


class OnFreeSwitch:
    """A FreeSWITCH with the SIP AI at `sip_uri`: the same AI answers on both PBXs, as a vendor's would."""

    def __init__(self, installation: freeswitch.Installation, sip_uri: str) -> None:
        self.title = f"FreeSWITCH {installation.version}"
        self._pbx = freeswitch.Instance(
            installation, FreeSwitchConfig(freeswitch_dialplan(sip_uri.removeprefix("sip:")), context="demo-incoming")
        )

    @property
    def pid(self) -> int:
        return self._pbx.pid

    @property
    def sip(self) -> tuple[str, int]:
        return self._pbx.ports.host, self._pbx.ports.sip

    def settings(self) -> Mapping[str, object]:
        return {
            "kind": "freeswitch",
            "host": self._pbx.ports.host,
            "port": self._pbx.ports.esl,
            "secret": self._pbx.password,
            "sip_profile": PROFILE,
            "ais": [{"name": SIP_AI, "match": f"^sofia/{PROFILE}/{ai_sip.ENDPOINT}@"}],
        }

    async def __aenter__(self) -> Self:
        await self._pbx.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pbx.__aexit__()


def asterisk_dialplan(socket_dial: str) -> str:
    """ulaw on both sides, so without the hook each switch would change the SSRC. `g` in the Dial: when the AI hangs up,
    the caller is not lost but goes to the fallback."""
    return f"""
[demo-incoming]
exten => _X!,1,Hangup(1)
exten => _[a-z]!,1,Set(DEMO_REF=${{CUT(EXTEN,-,3-)}})
 same => n,Gosub(takeover,register,1({TENANT},${{CUT(EXTEN,-,2)}},${{DEMO_REF}}))
 same => n,Set(__DEMO_REF=${{DEMO_REF}})
 same => n,GotoIf($["${{CUT(EXTEN,-,1)}}"="socket"]?socket)
 same => n,Dial(PJSIP/{ai_sip.ENDPOINT},10,gb(demo-header^s^1))
 same => n,Goto(takeover-fallback,s,1)
 same => n(socket),Dial({socket_dial},10,g)
 same => n,Goto(takeover-fallback,s,1)

[demo-header]
exten => s,1,Set(PJSIP_HEADER(add,{ai_sip.REF_HEADER})=${{DEMO_REF}})
 same => n,Gosub(ai-mark,s,1)
 same => n,Return()

[demo-nothing]
exten => _X!,1,Hangup(1)
"""


def freeswitch_dialplan(sip_ai: str) -> str:
    """The same for FreeSWITCH; `sip_ai`: user@host:port. A caller whose AI has gone goes to the fallback."""
    return f"""
<context name="demo-incoming">
  <extension name="demo"><condition field="destination_number" expression="^sip-([a-z]+)-([0-9a-f-]+)$">
    <action application="set" data="takeover_tenant={TENANT}"/>
    <action application="set" data="takeover_queue=$1"/>
    <action application="set" data="takeover_ai_ref=$2"/>
    <action application="set" data="hangup_after_bridge=false"/>
    <action application="set" data="continue_on_fail=true"/>
    <action application="set" data="call_timeout=10"/>
    <action application="execute_extension" data="register XML takeover"/>
    <action application="bridge" data="{{sip_h_{ai_sip.REF_HEADER}=$2}}sofia/{PROFILE}/{sip_ai}"/>
    <action application="transfer" data="takeover_fallback XML takeover"/>
  </condition></extension>
</context>
"""
