"""A caller is led away from his AI and its agents: by us, or by somebody else while an agent speaks."""

from collections.abc import Sequence

from ..domain.calls import Topology
from ..domain.errors import VerbRefused
from . import attach, wire
from .client import Connection
from .facts import State
from .ground import Ground, end


async def lead_away(
    connection: Connection, state: State, caller: str, place: tuple[str, str], agents: Sequence[str]
) -> str:
    """Transfers the caller to `place`, a context and an extension in it, and ends his AI and these agents' legs.
    Returns what FreeSWITCH says to the transfer. Raises `VerbRefused`, `PbxTimeout`, `PbxUnavailable`."""
    before, after = await _around(connection, state, caller, agents)
    context, extension = place
    answers = await connection.api(
        *before,
        f"uuid_setvar {caller} takeover_paired_uuid",  # or the agent's end would lead him to the fallback
        f"uuid_setvar {caller} transfer_after_bridge",
        f"uuid_transfer {caller} {extension} XML {context}",
        *after,
        *(f"uuid_kill {patch}" for patch in agents),
    )
    return answers[len(before) + 2]


async def _around(
    connection: Connection, state: State, caller: str, agents: Sequence[str]
) -> tuple[list[str], list[str]]:
    """What is to be done before and after a transfer, where that alone would not part the caller and his AI."""
    where = state.ground(caller)
    if where is None or where.topology is Topology.DIALLED:
        return [], []
    if not where.own:
        if not state.alone(caller, where.ai):
            return [], []
        hooks = [f"uuid_setvar {where.ai} api_hangup_hook"] if agents else []  # ours would lead him to the fallback
        return hooks, [*hooks, *(end(where) or ())]
    stop = end(where, await attach.target(connection, where)) if where.bug else ()
    if stop is None:
        why = f"FreeSWITCH has no command that ends the AI's media bug ({where.bug}): it would stay with the caller"
        raise VerbRefused(connection.pbx, "transfer", why)
    hooks = [f"uuid_setvar {patch} api_hangup_hook" for patch in agents]  # they would act on his new place
    floors = [f"hash delete_ifmatch/{wire.CONTEXT}/{caller}/{patch}" for patch in agents]
    return [f"uuid_audio {caller} stop", *stop, *hooks, *floors], []


async def let_go(connection: Connection, caller: str, where: Ground | None, agents: Sequence[str]) -> None:
    """Somebody else has led the caller away, and he is there: ends these agents' legs, and takes back what would bring
    him to the fallback when they, his AI or whom he talks to by now hang up. `where` the AI was, if it had not left."""
    asked = [f"uuid_getvar {caller} transfer_after_bridge", *(f"uuid_getvar {leg} takeover_after" for leg in agents)]
    now, *kept = await connection.api(*asked)
    commands = [f"uuid_setvar {caller} takeover_paired_uuid"]
    if where is not None and where.topology is Topology.CONFERENCE and agents:
        commands.insert(0, f"uuid_setvar {where.ai} api_hangup_hook")
        commands += [f"uuid_audio {caller} stop"] if where.here else []
    if now.startswith(f"{wire.PAIR}:"):
        after = next(filter(wire.is_place, kept), "")
        commands.append(f"uuid_setvar {caller} transfer_after_bridge {after}".rstrip())
    await connection.api(*commands, *(f"uuid_kill {leg}" for patch in agents for leg in (patch, wire.pulse_of(patch))))
