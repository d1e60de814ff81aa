"""The media pool as connector and web want it: the same verbs, with errors in their words."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from connector.domain.errors import LegNotReady
from media import pool as media

from .errors import BadRequest, Fault, Overloaded
from .metrics import Labels, Sample, gauge


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

    async def open_patch(self, leg: str, *, rate: int) -> media.Endpoint:
        try:
            return await self._pool.open_patch(leg, rate=rate)
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


_LINES: Mapping[str, tuple[str, Callable[[media.Facts], float]]] = {
    "lost_ratio": ("Share of the microphone's packets lost in the last second", lambda line: line.lost),
    "lost_at_browser_ratio": ("Share of our packets that browsers miss", lambda line: line.lost_at_browser),
    "jitter_ms": ("Jitter of the microphone's packets", lambda line: line.jitter_ms),
    "rtt_ms": ("Round trip to the browser", lambda line: line.rtt_ms or 0.0),
    "buffer_ms": ("How long a packet of the microphone waits in our buffer", lambda line: line.buffer_ms),
    "concealed_ratio": (
        "Share of the microphone's frames that had to be invented, since the line was opened",
        lambda line: line.concealed / max(1, line.packets_in + line.concealed),
    ),
}


def media_samples(workers: Sequence[media.WorkerStats], lines: Sequence[media.Facts]) -> list[Sample]:
    """The workers, and the agents' lines: mean and worst of each figure, as lines come and go too often for labels."""
    late: dict[Labels, float] = {(("worker", str(one.worker)),): one.lateness_p99_ms for one in workers}
    slow = sum(one.tier == "stock" for one in workers)
    samples = [
        gauge("takeover_media_workers", "Media workers that run", len(workers)),
        gauge("takeover_media_workers_stock", "Those that fell back to aiortc's own, slower path", slow),
        gauge(
            "takeover_media_patches", "Connections from media workers into PBXs", sum(one.patches for one in workers)
        ),
        Sample("takeover_media_lateness_p99_ms", "Lateness of the workers' ticks over 10 s", "gauge", late),
        gauge("takeover_lines", "Agents' lines that stand", len(lines)),
    ]
    for name, (help_, figure) in _LINES.items():
        if values := [figure(line) for line in lines]:
            both: dict[Labels, float] = {(("of", "mean"),): fmean(values), (("of", "worst"),): max(values)}
            samples.append(Sample(f"takeover_line_{name}", help_, "gauge", both))
    return samples
