"""What no event tells and must be looked up: how two SIP legs talk, an AI on the caller's own channel, a caller who was
led away, or left alone. Each waits until things have settled, looks once, and puts what it found in the event queue."""

import asyncio
from collections.abc import Callable

import structlog

from . import wire
from .client import Connection
from .facts import State
from .resync import VARIABLES
from .translate import PROBED
from .wire import Message

log = structlog.get_logger(__name__)

SETTLE_S = 0.3
"""From the bridging of a call to its final technology, generously."""
INLINE_S = 1.0
"""From the register hook to the AI's Dial, generously; an AI on the caller's own channel never dials."""
ALONE_S = 1.0
"""From the last agent's end to the fallback, generously: the PBX takes 2 ms."""

Now = Callable[[], State]
"""What is known at the moment of asking."""


async def how_it_talks(connection: Connection, now: Now, caller: str) -> None:
    """Whether two SIP legs talk past our hook: media between the phones, or packets passed on unseen."""
    await asyncio.sleep(SETTLE_S)
    state = now()
    channel = state.channels.get(caller)
    if channel is None or not channel.bridge or any(agent.call == caller for agent in state.agents.values()):
        return
    rows = await connection.ask_all(wire.bridge_info(channel.bridge))
    direct = await connection.ask(wire.getvar(channel.name, "CHANNEL(rtp,direct)"))
    technology = next((row["bridgetechnology"] for row in rows if row["bridgetechnology"]), "")
    facts = {"event": PROBED, "uniqueid": caller, "technology": technology, "direct": direct["value"]}
    connection.note(Message(facts))


async def inline_ai(connection: Connection, now: Now, caller: str) -> None:
    """After the register hook: an AI that was not dialled runs on the caller's own channel."""
    await asyncio.sleep(INLINE_S)
    channel = now().channels.get(caller)
    if channel is None or caller in now().calls:
        return
    for row in await connection.ask_all(wire.status(VARIABLES, channel.name)):
        if row["uniqueid"] == caller:
            connection.note(row)


async def led_away(connection: Connection, now: Now, agent_id: str) -> None:
    """Hangs up a speaker whose caller was led away by somebody else's Redirect: agent and AI would be left talking to
    each other. By then a hangup, a pairing or our own transfer has ended the leg, or moved it."""
    await asyncio.sleep(SETTLE_S)
    state = now()
    agent, leg = state.agents.get(agent_id), state.channels.get(agent_id)
    if agent is None or leg is None or not leg.bridge:
        return
    caller, call = state.channels.get(agent.call), state.calls.get(agent.call)
    if caller is not None and call is not None and not call.paired and caller.bridge != leg.bridge:
        log.info("pbx.caller-led-away", pbx=state.pbx, call=agent.call)
        await connection.ask(wire.hangup(leg.name))


async def left_alone(connection: Connection, now: Now, caller_id: str, bridge: str) -> None:
    """Sends a caller to the fallback whose AI and agent are gone and who is still where he was with them. The PBX does
    it by itself, as a bridge of one ends; this is for the day it does not."""
    await asyncio.sleep(ALONE_S)
    state = now()
    caller, call = state.channels.get(caller_id), state.calls.get(caller_id)
    if caller is None or call is None or not call.left or state.speaker(caller_id) is not None:
        return
    if caller.bridge == bridge and state.members(bridge) == [caller_id]:
        log.warning("pbx.caller-left-alone", pbx=state.pbx, call=caller_id)
        await connection.ask(wire.redirect(caller.name, wire.FALLBACK_CONTEXT, "s"))
