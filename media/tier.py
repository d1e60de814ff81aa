"""Which way to the browser: `fast` (`rtc`) where aiortc is the one it was made for, else `stock`, and that is said."""

from dataclasses import dataclass

from . import stock
from .messages import Tier
from .peer import Connect, PeerLost

try:
    from . import rtc
except (ImportError, AttributeError) as fault:  # what it needs of aiortc is not there
    missing = f"this aiortc lacks what the fast path needs: {fault}"
else:
    missing = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """`why`: what stood against `fast`, empty if nothing did or `stock` was asked for."""

    tier: Tier
    connect: Connect
    why: str = ""


async def choose(wanted: Tier | None) -> Choice:
    """Tries what it chooses by a call to itself; None takes the best that works. Raises PeerLost."""
    if wanted == "stock":
        await stock.selftest()
        return Choice("stock", stock.StockPeer)
    try:
        return Choice("fast", await _fast())
    except PeerLost as lost:
        if wanted == "fast":
            raise
        await stock.selftest()
        return Choice("stock", stock.StockPeer, str(lost))


async def _fast() -> Connect:
    if missing:
        raise PeerLost(missing)
    await rtc.selftest()
    return rtc.FastPeer
