"""Whether we can work with this Asterisk: its version, our rights, and our dialplan."""

import asyncio
from dataclasses import dataclass

from ..adapter.connected import until_fit
from ..domain.errors import PbxUnavailable, VerbRefused
from . import wire
from .client import Connection
from .translate import FITNESS
from .wire import Message

INSTALL = "install it with `takeover dialplan --for asterisk --install DIR` and reload"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the look found. `unfit` says why nobody can engage; empty when all is well."""

    version: wire.Version | None
    text: str
    unfit: str


async def admit(connection: Connection) -> Admission:
    """Looks at a PBX that has just taken our login. Raises `PbxUnavailable` when we cannot even watch it."""
    settings = await connection.ask(wire.CORE_SETTINGS)
    if not settings.ok:
        why = f"CoreSettings was refused ({settings['message']}): give the AMI user write=originate,call,reporting"
        raise PbxUnavailable(connection.pbx, why)
    text = settings["asteriskversion"]
    version = wire.version_of(text)
    if not wire.since(version, wire.SUPPORTED):
        why = f"Asterisk {text} is too old: 18.16, 19.8, 20.1 or a later one is needed (AudioSocket and EXPORT)"
        raise PbxUnavailable(connection.pbx, why)
    return Admission(version, text.partition("+")[0].partition("~")[0], await _unfit(connection))


async def recheck(connection: Connection) -> None:
    """Waits until the dialplan is there, and says so in the queue. It is looked up again and again because AMI tells
    a reload only to accounts with more rights than we ask for; a PBX that starts takes logins before it has any."""
    await until_fit(lambda: _unfit(connection))
    connection.note(Message({"event": FITNESS, "why": ""}))


async def _unfit(connection: Connection) -> str:
    answers = await asyncio.gather(*(_has(connection, context) for context in wire.CONTEXTS))
    missing = [context for context, there in zip(wire.CONTEXTS, answers, strict=True) if not there]
    return f"The PBX's dialplan lacks {', '.join(missing)}: {INSTALL}." if missing else ""


async def _has(connection: Connection, context: str) -> bool:
    try:
        return bool(await connection.ask_all(wire.show_dialplan(context)))
    except VerbRefused as fault:
        if "did not find" in fault.why.lower():
            return False
        raise
