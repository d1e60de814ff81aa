"""The configuration files of an embedded Asterisk, as text: pure functions, nothing is written here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What a call centre's PBX has in a call's way; nothing that opens a port of its own or wants a database.
MODULES = (
    "app_*",
    "bridge_*",
    "chan_audiosocket",
    "chan_bridge_media",
    "chan_pjsip",
    "chan_rtp",
    "chan_websocket",
    "codec_*",
    "format_*",
    "func_*",
    "pbx_config",
    "res_agi",
    "res_audiosocket",
    "res_clioriginate",
    "res_convert",
    "res_crypto",
    "res_format_attr_*",
    "res_http_websocket",
    "res_limit",
    "res_musiconhold",
    "res_mutestream",
    "res_parking",
    "res_pjproject",
    "res_pjsip*",
    "res_rtp_*",
    "res_sorcery_config",
    "res_sorcery_memory*",
    "res_sorcery_astdb",
    "res_speech",
    "res_srtp",
    "res_stasis*",
    "res_ari*",
    "res_timing_timerfd",
    "res_tonedetect",
    "res_websocket_client",
)
UNWANTED = (
    "app_voicemail*",
    "app_minivm",
    "app_jack",
    "app_festival",
    "app_sms",
    "app_adsiprog",
    "app_getcpeid",
    "app_alarmreceiver",
    "app_amd",
    "res_pjsip_notify",
    "app_agent_pool",
    "app_followme",
    "app_sla",
    "app_queue",
    "app_dictate",
    "app_test",
    "func_odbc",
    "func_realtime",
    "func_curl",
    "func_env",
    "func_shell",
    "app_system",
    "format_ogg_*",
    "codec_opus*",
    "res_pjsip_config_wizard",
    "res_pjsip_phoneprov_provider",
    "res_pjsip_stir_shaken",
    "res_pjsip_transport_websocket",
    "res_pjsip_geolocation",
    "res_pjsip_publish_asterisk",
    "res_stasis_test",
    "res_pjsip_outbound_publish",
    "res_pjsip_aoc",
    "res_pjsip_mwi*",
    "res_pjsip_xpidf*",
    "res_pjsip_pidf*",
    "res_pjsip_dialog_info*",
    "res_pjsip_exten_state",
    "app_speech_utils",
    "res_ari_mailboxes",
)


@dataclass(frozen=True)
class Ports:
    """Where one instance listens, all on the loopback."""

    ami: int
    sip: int
    http: int
    rtp_first: int
    rtp_last: int
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class Endpoint:
    """A SIP peer: who calls from `user@` is known by it; with a `contact` it can be dialled as PJSIP/<name>."""

    name: str
    context: str = "incoming"
    contact: str = ""  # sip:user@host:port
    codecs: str = "ulaw"
    direct_media: bool = False


@dataclass(frozen=True)
class PbxConfig:
    """What a test or the demo wants of its Asterisk."""

    dialplan: str = ""  # text of extensions.conf; ours is included in front of it
    endpoints: Sequence[Endpoint] = ()
    websocket_clients: Mapping[str, str] = field(default_factory=dict)  # connection name -> ws://host:port/path
    globals: Mapping[str, str] = field(default_factory=dict)  # dialplan variables
    users: Mapping[str, str] = field(default_factory=dict)  # AMI users with the service's rights besides `takeover`
    extra: Mapping[str, str] = field(default_factory=dict)  # more files, or other text for one of ours


@dataclass(frozen=True)
class Secrets:
    service: str  # of AMI user `takeover`, least privilege
    admin: str  # of AMI user `lab`, all rights: start-up, CLI commands, tests


def asterisk_conf(home: Path, modules: Path, data: Path) -> str:
    return f"""[directories]
astetcdir => {home}/etc
astmoddir => {modules}
astvarlibdir => {home}/lib
astdbdir => {home}/lib
astkeydir => {home}/lib
astdatadir => {data}
astagidir => {home}/lib
astspooldir => {home}/spool
astrundir => {home}
astlogdir => {home}/log
astsbindir => {home}
[options]
verbose = 3
nocolor = yes
dontwarn = yes
documentation_language = en_US
"""


def modules_conf(available: Sequence[str]) -> str:
    """Loads what is wanted and there; `available` are names with .so."""
    wanted = [name for name in available if _matches(name, MODULES) and not _matches(name, UNWANTED)]
    return "[modules]\nautoload=no\n" + "".join(f"load={name}\n" for name in sorted(wanted))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(Path(name.removesuffix(".so")).match(pattern) for pattern in patterns)


def manager_conf(ports: Ports, secrets: Secrets, template: str, users: Mapping[str, str]) -> str:
    """AMI with our template's user `takeover`, copies of it, and the administrator."""
    general = f"[general]\nenabled=yes\nport={ports.ami}\nbindaddr={ports.host}\ndisplayconnects=no\n\n"
    text = general + f"[lab]\nsecret={secrets.admin}\nread=all\nwrite=all\nwritetimeout=5000\n"
    for name, secret in {"takeover": secrets.service, **users}.items():
        text += "\n" + template.replace("[takeover]", f"[{name}]").replace(
            "#include manager_takeover_secret.conf", f"secret={secret}"
        )
    return text


def pjsip_conf(ports: Ports, endpoints: Sequence[Endpoint]) -> str:
    text = f"""[global]
type=global
endpoint_identifier_order=username,anonymous
[transport-udp]
type=transport
protocol=udp
bind={ports.host}:{ports.sip}
"""
    for endpoint in endpoints:
        aor = f"aors={endpoint.name}\n" if endpoint.contact else ""
        text += f"""
[{endpoint.name}]
type=endpoint
transport=transport-udp
context={endpoint.context}
disallow=all
allow={endpoint.codecs}
direct_media={"yes" if endpoint.direct_media else "no"}
media_address={ports.host}
bind_rtp_to_media_address=yes
dtmf_mode=rfc4733
trust_id_inbound=yes
{aor}"""
        if endpoint.contact:
            text += f"[{endpoint.name}]\ntype=aor\ncontact={endpoint.contact}\n"
    return text


def websocket_client_conf(clients: Mapping[str, str]) -> str:
    return "".join(
        f"[{name}]\ntype=websocket_client\nconnection_type=per_call_config\nuri={uri}\nprotocols=media\n\n"
        for name, uri in clients.items()
    )


def extensions_conf(ours: Path, config: PbxConfig) -> str:
    variables = "".join(f"{name}={value}\n" for name, value in config.globals.items())
    return f"[globals]\n{variables}\n#include {ours}\n\n{config.dialplan}\n"


def simple_files(ports: Ports) -> dict[str, str]:
    """The files that do not depend on anybody's wishes; an empty one keeps a module from complaining."""
    empty = ("acl", "ccss", "cel", "chan_websocket", "pjproject", "stasis")
    return {
        **{f"{name}.conf": "" for name in empty},
        "logger.conf": "[general]\ndateformat=%F %T.%3q\n[logfiles]\nfull => notice,warning,error,verbose\n",
        "rtp.conf": f"[general]\nrtpstart={ports.rtp_first}\nrtpend={ports.rtp_last}\n",
        "http.conf": f"[general]\nenabled=yes\nbindaddr={ports.host}\nbindport={ports.http}\n",
        "musiconhold.conf": "[default]\nmode=files\ndirectory=moh\n",
        "confbridge.conf": "[general]\n",
        "features.conf": "[general]\n",
        "ari.conf": "[general]\nenabled=no\n",
        "cdr.conf": "[general]\nenable=yes\n",
        "udptl.conf": "[general]\n",
        "indications.conf": _INDICATIONS,
        "res_parking.conf": "[general]\n",
    }


_INDICATIONS = """[general]
country=us
[us]
description=United States
ringcadence=2000,4000
dial=350+440
busy=480+620/500,0/500
ring=440+480/2000,0/4000
congestion=480+620/250,0/250
"""
