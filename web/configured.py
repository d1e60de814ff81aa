"""From the settings to what the parts of the service are made with."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import SecretStr

from connector.asterisk import client as ami
from connector.asterisk.pbx import AsteriskPbx, AsteriskSettings
from connector.domain.escalation import Step
from connector.freeswitch import client as esl
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.services.escalations import Policy
from media import pool as media
from media import turn

from .messages import IceServerJson
from .settings import AiPolicy, Asterisk, FreeSwitch, Media, Settings


def pbxs(settings: Settings, instance: str) -> Mapping[str, AsteriskPbx | FreeSwitchPbx]:
    """Every exchange by its name, not yet connected; `instance` names this service to them."""
    made: dict[str, AsteriskPbx | FreeSwitchPbx] = {}
    for name, one in settings.pbx.items():
        if isinstance(one, FreeSwitch):
            made[name] = FreeSwitchPbx(name, _freeswitch(one, settings.ais), instance)
        else:
            made[name] = AsteriskPbx(name, _asterisk(one, settings.ais), instance)
    return made


def tester(name: str, one: Asterisk | FreeSwitch, rule: tuple[str, str], instance: str) -> AsteriskPbx | FreeSwitchPbx:
    """An exchange of which nothing is seen but test calls, whose AI fits the `rule`."""
    if isinstance(one, FreeSwitch):
        return FreeSwitchPbx(name, replace(_freeswitch(one, {}), ais=[rule], test=True), instance)
    return AsteriskPbx(name, replace(_asterisk(one, {}), ais=[rule], test=True), instance)


def ami_address(one: Asterisk) -> ami.Address:
    """Where an Asterisk's AMI is, and who we are there."""
    return ami.Address(one.host, one.port, one.username, _open(one.secret) or "", one.tls, str(one.tls_ca_file or ""))


def esl_address(one: FreeSwitch) -> esl.Address:
    """Where a FreeSWITCH's event socket is, and its password."""
    return esl.Address(one.host, one.port, _open(one.secret) or "")


def _open(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _asterisk(one: Asterisk, ais: Mapping[str, AiPolicy]) -> AsteriskSettings:
    return AsteriskSettings(
        username=one.username,
        secret=_open(one.secret) or "",
        host=one.host,
        port=one.port,
        tls=one.tls,
        tls_ca=str(one.tls_ca_file or ""),
        ais=[(rule.name, rule.match) for rule in one.ais],
        destinations=dict(one.destinations),
        deadman_s=one.deadman_s,
        deaf=frozenset(name for name, policy in ais.items() if not policy.hears),
        hung_up=frozenset(name for name, policy in ais.items() if policy.on_takeover == "hangup"),
    )


def _freeswitch(one: FreeSwitch, ais: Mapping[str, AiPolicy]) -> FreeSwitchSettings:
    return FreeSwitchSettings(
        secret=_open(one.secret) or "",
        host=one.host,
        port=one.port,
        sip_profile=one.sip_profile,
        ais=[(rule.name, rule.match) for rule in one.ais],
        destinations=dict(one.destinations),
        deadman_s=one.deadman_s,
        deaf=frozenset(name for name, policy in ais.items() if not policy.hears),
        hung_up=frozenset(name for name, policy in ais.items() if policy.on_takeover == "hangup"),
    )


def escalation_policy(settings: Settings) -> Policy:
    """Requests for a human: the ladder, and how urgent each AI may be."""
    part = settings.escalation
    return Policy(
        ladder=[
            Step(rung.after_s, rung.after, rung.priority, rung.notify, rung.transfer or "") for rung in part.ladder
        ],
        deadline_s=part.deadline_s,
        caller_digit=part.caller_digit or "",
        ceilings={name: policy.max_priority for name, policy in settings.ais.items()},
    )


def media_settings(settings: Settings) -> media.MediaSettings:
    """What the media workers are started with."""
    part = settings.media
    ports = part.ports
    return media.MediaSettings(
        workers=part.processes,
        udp_ports=(ports[0], ports[-1]) if ports else None,
        public_addresses=part.public_addresses,
        audiosocket_host=part.audiosocket_host,
        pbx_addresses=part.pbx_addresses,
        sip=any(isinstance(one, FreeSwitch) for one in settings.pbx.values()),
        ice_servers=ice_servers(part),
        max_legs_per_worker=part.max_legs_per_worker,
        suppression=part.suppression,
        max_lateness_ms=part.max_lateness_ms,
        captions=settings.captions.backend != "none",
    )


def ice_servers(part: Media) -> tuple[media.IceServer, ...]:
    """STUN and TURN servers, with their secrets."""
    return tuple(
        media.IceServer(one.url, one.username, _open(one.credential), _open(one.secret)) for one in part.ice_servers
    )


def for_browsers(servers: tuple[media.IceServer, ...], name: str) -> list[IceServerJson]:
    """The same as a browser takes them, with logins in the name that is given."""
    return [_ice_server(one) for one in turn.current(servers, name)]


def _ice_server(one: media.IceServer) -> IceServerJson:
    server: IceServerJson = {"urls": one.url}
    if one.username is not None:
        server["username"] = one.username
    if one.credential is not None:
        server["credential"] = one.credential
    return server
