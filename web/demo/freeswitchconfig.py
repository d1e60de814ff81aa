"""The configuration of a FreeSWITCH of our own, one XML document: pure functions, nothing is written here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# mod_sofia comes last: when its profile runs, everything else has been loaded, or never will be.
MODULES = (
    "mod_commands",
    "mod_dptools",
    "mod_dialplan_xml",
    "mod_event_socket",
    "mod_hash",
    "mod_logfile",
    "mod_sndfile",
    "mod_tone_stream",
)
PROFILE = "internal"


@dataclass(frozen=True)
class Ports:
    """Where one instance listens, all on the loopback."""

    esl: int
    sip: int
    rtp: tuple[int, int]
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class FreeSwitchConfig:
    """What a test or the demo wants of its FreeSWITCH. `dialplan`: contexts; callers come into `context`."""

    dialplan: str = ""
    context: str = "incoming"
    modules: Sequence[str] = ()
    """Besides those that every instance loads."""
    codecs: str = "PCMU,PCMA"
    more: str = ""
    """More `configuration` elements, of those modules."""


def document(config: FreeSwitchConfig, ports: Ports, password: str, folder: Path, ours: str) -> str:
    """freeswitch.xml. `ours`: the text of dialplan/freeswitch/takeover.xml."""
    modules = "".join(f'<load module="{name}"/>' for name in (*MODULES, *config.modules, "mod_sofia"))
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
<configuration name="acl.conf"><network-lists><list name="here" default="deny">
 <node type="allow" cidr="{ports.host}/32"/></list></network-lists></configuration>
<configuration name="event_socket.conf"><settings>
 <param name="listen-ip" value="{ports.host}"/><param name="listen-port" value="{ports.esl}"/>
 <param name="password" value="{password}"/><param name="apply-inbound-acl" value="here"/>
</settings></configuration>
<configuration name="sofia.conf"><global_settings><param name="log-level" value="0"/></global_settings><profiles>
<profile name="{PROFILE}"><settings>
 <param name="sip-ip" value="{ports.host}"/><param name="rtp-ip" value="{ports.host}"/>
 <param name="sip-port" value="{ports.sip}"/>
 <param name="context" value="{config.context}"/><param name="dialplan" value="XML"/>
 <param name="auth-calls" value="false"/>
 <param name="apply-inbound-acl" value="here"/><param name="manage-presence" value="false"/>
 <param name="inbound-codec-prefs" value="{config.codecs}"/><param name="outbound-codec-prefs" value="{config.codecs}"/>
 <param name="rtp-timer-name" value="soft"/><param name="dtmf-duration" value="2000"/>
</settings></profile></profiles></configuration>
{config.more}
</section>
<section name="dialplan">
{config.dialplan}
{included(ours)}
</section>
</document>
"""


def included(text: str) -> str:
    """An include file without its wrapper, as FreeSWITCH's preprocessor would take it in."""
    return text[text.index("<include>") + len("<include>") : text.index("</include>")]
