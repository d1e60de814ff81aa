"""``takeover doctor``: connects to every PBX as the service would, and says what is missing there and what helps.

It changes nothing, on the PBX or here, and may run beside the service. With ``--call`` it also makes a call of its own
on each PBX, takes it over and gives it back (`testcall`); nobody else's is touched, and no panel shows it. With a
number it dials that, as an ordinary caller, and takes over whatever the site's own dialplan leads it to.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address, ip_network
from xml.etree import ElementTree

from connector.asterisk import admission as asterisk
from connector.asterisk import client as ami
from connector.domain.errors import BadValue, PbxError, PbxUnavailable
from connector.freeswitch import admission as freeswitch
from connector.freeswitch import client as esl

from .. import configured
from ..errors import Fault
from ..faults import shown
from ..settings import Asterisk, FreeSwitch, Media, Settings
from .outcome import Outcome
from .testcall.number import Number
from .testcall.verdict import Tested

DEFAULT_PASSWORD = "ClueCon"  # noqa: S105 - what everybody knows, and tries first
WITHIN_S = 20.0
_UNREACHED = {
    "asterisk": (
        "does Asterisk run, and its AMI (manager.conf: enabled=yes, port, bindaddr; `asterisk -rx 'manager show "
        "settings'`)? Else: host and port here, a firewall"
    ),
    "freeswitch": (
        "does FreeSWITCH run, and its event socket (event_socket.conf.xml: listen-ip, listen-port; `fs_cli -x "
        "'module_exists mod_event_socket'`)? Else: host and port here, a firewall"
    ),
}
"""What to look at where nobody listens."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one PBX is, and all that is wrong with it or the way to it."""

    title: str
    faults: Sequence[Fault]
    usable: bool = False
    """Whether an agent could engage there, as far as a look tells."""
    call: Tested | None = None
    """None where no test call was made."""


@dataclass(frozen=True, slots=True)
class Dialling:
    """A number of the site's that is to be called, and on which PBX."""

    pbx: str
    number: Number


def dialling(settings: Settings, number: str, context: str | None, pbx: str | None) -> Dialling:
    """What the command line asks for. Raises `BadValue`."""
    if not number:
        raise BadValue("--call", number, "--context and --pbx say where a number is called: --call NUMBER")
    known = ", ".join(settings.pbx)
    if pbx is None and len(settings.pbx) > 1:
        raise BadValue("--pbx", "", f"say on which PBX {number} is to be called: {known}")
    name = pbx or next(iter(settings.pbx))
    if name not in settings.pbx:
        raise BadValue("--pbx", name, f"the settings have no such PBX, but {known}")
    if context is None:
        remedy = f"name the context in which callers of {number} come in, such as from-carrier or public"
        raise BadValue("--context", "", remedy)
    return Dialling(name, Number(number, context))


def doctor(settings: Settings, *, call: bool | Dialling = False) -> Outcome:
    """Exit code 1 when anything is wrong. `call`: with a test call on each PBX that can be engaged on, or to a number
    on one (then the others are not looked at)."""
    looked_at = {call.pbx: settings.pbx[call.pbx]} if isinstance(call, Dialling) else settings.pbx
    found = asyncio.run(_all(settings, looked_at, call))
    lines: list[str] = []
    for name, one in found.items():
        lines.append(f"{name}: {one.title}{'' if one.faults else ', in order'}")
        lines += [f"  {fault}" for fault in one.faults]
        if call:
            lines.append(f"  test call: {_told(one.call)}")
    ok = not any(one.faults for one in found.values())
    facts = {name: _facts(one) for name, one in found.items()}
    return Outcome(lines, {"ok": ok, "pbx": facts}, code=0 if ok else 1)


def _facts(one: Found) -> dict[str, object]:
    call = one.call
    made: dict[str, object] = {}
    if call is not None:
        made = {"ok": not call.faults, "times_ms": call.times and asdict(call.times), "heard": call.heard}
        made |= {"reached": call.whom} if call.whom else {}
    return {"is": one.title, "faults": [asdict(fault) for fault in one.faults], **({"call": made} if made else {})}


def _told(call: Tested | None) -> str:
    if call is None:
        return "not made, as nobody could take it over; mend the above first"
    if call.times is None:
        return "it did not come to a takeover"
    spans = {
        "AI silent after": call.times.ai_silent,
        "agent heard after": call.times.agent_heard,
        "AI back after" if not call.whom else "AI spoke again after": call.times.ai_back,
    }
    if call.whom:  # what the AI says is its own: nobody can tell to the millisecond when it was muted
        del spans["AI silent after"]
    told = ", ".join(f"{what} {'-' if ms is None else f'{ms:.0f} ms'}" for what, ms in spans.items())
    reached = f"it reached {call.whom}; " if call.whom else ""
    return f"{reached}{told}{'' if call.faults else '; everybody heard whom they should, and nobody else'}"


async def _all(
    settings: Settings, pbxs: Mapping[str, Asterisk | FreeSwitch], call: bool | Dialling
) -> Mapping[str, Found]:
    found = await asyncio.gather(*(_look(name, one, settings.media) for name, one in pbxs.items()))
    looked = dict(zip(pbxs, found, strict=True))
    if call:
        for name, one in looked.items():  # one after the other: they are timed
            if one.usable:
                looked[name] = await _called(name, one, settings, call)
    return looked


async def _called(name: str, found: Found, settings: Settings, what: bool | Dialling) -> Found:
    from .testcall.call import tested  # WebRTC takes a while to load
    from .testcall.dialled import dialled

    if isinstance(what, Dialling):
        call = await dialled(name, settings, what.number)
    else:
        call = await tested(name, settings.pbx[name], settings)
    faults = [Fault(f"pbx.{name}", "", f"test call: {wrong.what}; {wrong.remedy}") for wrong in call.faults]
    return replace(found, faults=[*found.faults, *faults], call=call)


async def _look(name: str, one: Asterisk | FreeSwitch, media: Media) -> Found:
    where = f"{one.kind} at {one.host}:{one.port}"
    try:
        async with asyncio.timeout(WITHIN_S):
            if isinstance(one, FreeSwitch):
                return await _freeswitch(name, one, media)
            return await _asterisk(name, one)
    except PbxUnavailable as error:
        remedy = f"; {_UNREACHED[one.kind]}" if error.why.startswith("cannot connect") else ""
        return Found(where, [Fault(f"pbx.{name}", "", f"{error.why}{remedy}")])
    except PbxError as error:
        return Found(where, [Fault(f"pbx.{name}", "", str(error))])
    except TimeoutError:
        return Found(
            where, [Fault(f"pbx.{name}", "", f"it took more than {WITHIN_S:g} s to answer; is it overloaded?")]
        )


async def _asterisk(name: str, one: Asterisk) -> Found:
    async with ami.Connection(name, configured.ami_address(one), lambda _: None) as connection:
        admission = await asterisk.admit(connection)
    unfit = [Fault(f"pbx.{name}", "", admission.unfit)] if admission.unfit else []
    return Found(f"Asterisk {admission.text}", unfit, usable=not unfit)


async def _freeswitch(name: str, one: FreeSwitch, media: Media) -> Found:
    address = configured.esl_address(one)
    async with esl.Connection(name, address, lambda _: None) as connection:
        admission = await freeswitch.admit(connection, one.sip_profile)
        contexts = sorted({place.partition(",")[0] for place in one.destinations.values()})
        socket, profile, *there = await connection.api(
            "xml_locate configuration configuration name event_socket.conf",
            f"sofia status profile {one.sip_profile}",
            *(f"xml_locate dialplan context name {context}" for context in contexts),
        )
    faults = [Fault(f"pbx.{name}", "", admission.unfit)] if admission.unfit else []
    if address.secret == DEFAULT_PASSWORD:
        remedy = "everybody knows this one: change it there and in event_socket.conf.xml; openssl rand -hex 24"
        faults.append(Fault(f"pbx.{name}.secret", shown(address.secret), remedy))
    faults += _open_socket(name, socket)
    faults += _sip_way(name, one.sip_profile, profile, media)
    missing = [context for context, text in zip(contexts, there, strict=True) if "<context" not in text]
    faults += [
        Fault(f"pbx.{name}.destinations.{key}", shown(place), "this FreeSWITCH's dialplan has no such context")
        for key, place in one.destinations.items()
        if place.partition(",")[0] in missing
    ]
    return Found(f"FreeSWITCH {admission.text}", faults, usable=not admission.unfit)


def _open_socket(name: str, xml: str) -> list[Fault]:
    """Whether others than this machine may try passwords on its event socket."""
    try:
        params = {one.get("name"): one.get("value", "") for one in ElementTree.fromstring(xml).iter("param")}  # noqa: S314 - the PBX's own
    except ElementTree.ParseError:
        return []  # it shows its configuration to nobody
    listens = str(params.get("listen-ip", "::"))
    if _is_loopback(listens) or params.get("apply-inbound-acl"):
        return []
    remedy = (
        "its event socket, which is not encrypted, is open to every machine: in event_socket.conf.xml set listen-ip to "
        "127.0.0.1, or apply-inbound-acl, then: fs_cli -x 'reload mod_event_socket'"
    )
    return [Fault(f"pbx.{name}", shown(f"listen-ip {listens}"), remedy)]


def _sip_way(name: str, profile: str, status: str, media: Media) -> list[Fault]:
    """Whether the media workers take calls from where the profile makes them."""
    facts = dict(line.split(None, 1) for line in status.splitlines() if len(line.split(None, 1)) == 2)
    sender = facts.get("SIP-IP", "").strip()
    if not sender:
        return []  # no such profile, which `admit` has told
    if _is_loopback(sender) or any(ip_address(sender) in ip_network(one) for one in media.pbx_addresses):
        return []
    remedy = f"add {sender!r}: the SIP profile {profile!r} of pbx.{name} calls from there"
    return [Fault("media.pbx_addresses", shown([*media.pbx_addresses]), remedy)]


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
