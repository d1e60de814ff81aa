"""The media pool as connector and web want it: the same verbs, with errors in their words."""

from connector.domain.errors import LegNotReady
from media import pool as media

from .errors import BadRequest, Fault, Overloaded


class MediaLegs:
    """Implements `connector.ports.AgentLegs` and `web.signalling.Legs` over the pool."""

    def __init__(self, pool: media.Pool) -> None:
        self._pool = pool

    async def open_leg(self, offer: str, owner: str) -> media.OpenedLeg:
        """Raises `BadRequest` that names what is wrong with the offer, `Overloaded`."""
        try:
            return await self._pool.open_leg(offer, owner=owner)
        except media.LegRefused as error:
            raise BadRequest(Fault("sdp", "", error.reason)) from None
        except media.Overloaded as error:
            raise Overloaded(f"{error}.") from None

    async def renew_leg(self, leg: str, offer: str) -> media.OpenedLeg:
        """Raises as `open_leg`, and `LegNotReady` where there is no such leg any more."""
        try:
            return await self._pool.renew_leg(leg, offer)
        except media.LegRefused as error:
            raise BadRequest(Fault("sdp", "", error.reason)) from None
        except media.LegNotReady as error:
            raise LegNotReady(leg, error.reason) from None

    async def close_leg(self, leg: str) -> None:
        await self._pool.close_leg(leg)

    async def set_leg(
        self, leg: str, *, muted: bool | None = None, suppression: bool | None = None, hold: bool | None = None
    ) -> None:
        try:
            await self._pool.set_leg(leg, muted=muted, suppression=suppression, hold=hold)
        except media.LegNotReady as error:
            raise LegNotReady(leg, error.reason) from None

    async def open_patch(self, leg: str) -> media.Endpoint:
        try:
            return await self._pool.open_patch(leg)
        except media.LegNotReady as error:
            raise LegNotReady(leg, error.reason) from None

    async def close_patch(self, patch: str) -> None:
        await self._pool.close_patch(patch)

    def alive(self, leg: str) -> bool:
        return self._pool.alive(leg)

    def not_alive_reason(self, leg: str) -> str | None:
        return self._pool.not_alive_reason(leg)

    def signal_lost(self, leg: str) -> None:
        self._pool.signal_lost(leg)

    def signal_back(self, leg: str) -> None:
        self._pool.signal_back(leg)
