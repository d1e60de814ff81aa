"""The check and cure of joins that leave a leg without RTP: the second line behind the dialplan's `takeover-fresh`.

Where that cannot see a stale write path, a SIP leg may get no RTP until the bridge changes again
(docs/decisions/0003-join-stall.md). The leg's counter of sent packets tells: 60 ms after the join, and 80 ms later, it
must have grown. The cure is to send the agent leg into its own extension again, which makes a new join of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from . import wire
from .client import Connection

FIRST_LOOK_S = 0.06
SECOND_LOOK_S = 0.08
TRIES = 4
_COUNTED = ("PJSIP/", "SIP/")


@dataclass
class JoinStats:
    """What became of the joins so far; counts."""

    checked: int = 0
    stalled: int = 0
    healed: int = 0
    unhealed: int = 0
    cures: int = 0
    """Redirects that the stalls took."""


async def heal(
    connection: Connection, legs: Sequence[str], again: Callable[[], Awaitable[bool]], stats: JoinStats
) -> None:
    """Watches the SIP legs of a call that an agent has just joined; `again` joins once more, or says it must not."""
    counted = [leg for leg in legs if leg.startswith(_COUNTED)]
    if not counted:
        return
    stats.checked += 1
    for attempt in range(TRIES):
        await asyncio.sleep(FIRST_LOOK_S)
        first = await _sent(connection, counted)
        await asyncio.sleep(SECOND_LOOK_S)
        second = await _sent(connection, counted)
        if not any(count and count == later for count, later in zip(first, second, strict=True)):
            stats.healed += attempt > 0
            return
        stats.stalled += attempt == 0
        if not await again():
            return
        stats.cures += 1
    stats.unhealed += 1


async def _sent(connection: Connection, legs: Sequence[str]) -> list[str]:
    """How many RTP packets each leg was sent so far; empty for a leg that is gone."""
    answers = await asyncio.gather(*(connection.ask(wire.getvar(leg, "CHANNEL(rtcp,txcount)")) for leg in legs))
    return [answer["value"] if answer.ok else "" for answer in answers]
