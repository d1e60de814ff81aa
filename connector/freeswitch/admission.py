"""Whether we can work with this FreeSWITCH: its version, its modules, and our dialplan."""

from dataclasses import dataclass

from ..adapter.connected import until_fit
from ..domain.errors import PbxUnavailable
from . import wire
from .client import Connection
from .translate import FITNESS
from .wire import Message

INSTALL = "install it with `takeover dialplan --for freeswitch --install DIR` and reloadxml"
MODULES = ("mod_hash", "mod_sofia", "mod_dptools", "mod_dialplan_xml")
SUPPORTED = (1, 10)


@dataclass(frozen=True, slots=True)
class Admission:
    """What the look found. `unfit` says why nobody can engage; empty when all is well."""

    text: str
    unfit: str


async def admit(connection: Connection, profile: str) -> Admission:
    """Looks at a PBX that has just taken our login. Raises `PbxUnavailable` when we cannot even watch it."""
    [text] = await connection.api("version short")
    numbers = [int(part) for part in text.split(".")[:2] if part.isdigit()]
    if len(numbers) == 2 and tuple(numbers) < SUPPORTED:
        raise PbxUnavailable(connection.pbx, f"FreeSWITCH {text} is too old: 1.10 or a later one is needed")
    return Admission(text, await unfit(connection, profile))


async def recheck(connection: Connection, profile: str) -> None:
    """Waits until all is there, and says so in the queue: no event tells when an administrator has installed it."""
    await until_fit(lambda: unfit(connection, profile))
    connection.note(Message({"event-name": FITNESS, "why": ""}))


async def unfit(connection: Connection, profile: str) -> str:
    """Why nobody can engage here; empty when everybody can."""
    context, status, *modules = await connection.api(
        f"xml_locate dialplan context name {wire.CONTEXT}",
        f"sofia status profile {wire.allowed('profile', profile)}",
        *(f"module_exists {module}" for module in MODULES),
    )
    if missing := [module for module, there in zip(MODULES, modules, strict=True) if there != "true"]:
        return f"FreeSWITCH lacks {', '.join(missing)}: load it (autoload_configs/modules.conf.xml)."
    if missing := [name for name in wire.EXTENSIONS if f'"{name}"' not in context]:
        return f"The PBX's dialplan lacks {', '.join(missing)} in context {wire.CONTEXT}: {INSTALL}."
    if "Invalid Profile" in status:
        return f"FreeSWITCH has no SIP profile {profile!r}: name one that runs in pbx.{connection.pbx}.sip_profile."
    return ""
