"""Who speaks in a call: a key in the PBX itself, so that two services cannot both think it is theirs."""

import asyncio
from collections.abc import Sequence

from ..adapter.guards import decoded, encoded
from ..domain.calls import Mode
from . import wire
from .client import Connection
from .facts import Agent
from .ground import Ground, Lent, audible, is_watch, returned

GONE_STEP_S, GONE_STEPS = 0.05, 40
COMING_S = 0.5
"""For how long a key may wait for its leg: the two are asked for in one breath."""


def claim(agent: Agent) -> tuple[str, str]:
    """Take the floor for a leg, and tell who has it."""
    key = f"{wire.CONTEXT}/{agent.call}"
    return f"hash insert_ifempty/{key}/{agent.patch}", f"hash select/{key}"


def is_ours(agent: Agent, taken: str, holder: str) -> bool:
    """Whether these answers to a `claim` say that the leg has the floor."""
    return taken.startswith("+OK") or holder == agent.patch


async def rival(connection: Connection, agent: Agent, taken: str, holder: str) -> str | None:
    """Who speaks instead of a leg whose `claim` was answered so: None when it has the floor, empty if he has no name.

    A key whose leg is gone (its hook never ran) keeps nobody out; but a leg may also be about to come.
    """
    for again in (True, False):
        if is_ours(agent, taken, holder):
            return None
        if not wire.is_id(holder):
            return ""
        if not again or await _is_there(connection, holder):
            break
        gone = f"hash delete_ifmatch/{wire.CONTEXT}/{agent.call}/{holder}"
        _, taken, holder = await connection.api(gone, *claim(agent))
    [name] = await connection.api(f"uuid_getvar {holder} takeover_name")
    return "" if name.startswith("-ERR") or name == wire.UNSET else decoded(name)


async def _is_there(connection: Connection, leg: str) -> bool:
    for pause in (COMING_S, 0.0):
        [there] = await connection.api(f"uuid_exists {leg}")
        if there == "true":
            return True
        await asyncio.sleep(pause)
    return False


async def refuse(connection: Connection, agent: Agent, was: Mode | None, speaker: str) -> None:
    """Tells every service that this leg may not speak, and in which mode it goes on."""
    said = wire.event(
        "takeover::refused",
        call=agent.call,
        patch=agent.patch,
        mode=agent.mode.value,
        by=encoded(speaker),
        was=was.value if was is not None else "",
    )
    await connection.send(said)


async def kill(connection: Connection, patches: Sequence[str]) -> None:
    """Ends legs, whether they are there or not."""
    await connection.api(*(f"uuid_kill {leg}" for patch in patches for leg in (patch, wire.pulse_of(patch))))


async def undo(connection: Connection, where: Ground, patch: str) -> None:
    """Ends a leg that did not come into its mode. Its own hook gives the call back, if it had one by then; if not, and
    the floor is still in its name, we do. A floor in another's name is not ours to touch."""
    caller = where.caller
    [after] = await connection.api(f"uuid_getvar {patch} takeover_after")
    await kill(connection, [patch])
    for _ in range(GONE_STEPS):
        [there] = await connection.api(f"uuid_exists {patch}")
        if there != "true":
            break
        await asyncio.sleep(GONE_STEP_S)
    key = f"{wire.CONTEXT}/{caller}"
    _, holder = await connection.api(f"hash insert_ifempty/{key}/{patch}", f"hash select/{key}")
    if holder == patch:
        armed, watch = await connection.api(
            f"uuid_getvar {caller} transfer_after_bridge", f"uuid_getvar {where.ai or caller} api_hangup_hook"
        )
        lent = Lent(after if wire.is_place(after) else "", bool(where.ai) and is_watch(watch))
        ours = returned(where, lent) if armed.startswith(f"{wire.PAIR}:") or lent.watched else []
        await connection.api(*audible(where), *map("expand {}".format, ours), f"hash delete_ifmatch/{key}/{patch}")
