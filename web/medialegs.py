"""The media pool as connector and web want it: the same verbs, with errors in their words."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Literal

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
        lambda line: _invented(line) / max(1, line.played + line.recovered + _invented(line)),
    ),
}
_FRAMES = {
    "played": "played",
    "recovered": "recovered",
    "concealed": "concealed",
    "stretched": "late",
    "underruns": "missing",
    "noise": "comfort_noise",
}
"""What became of each 20 ms: decoded; brought back by FEC; lost and invented; invented because its packet was not there
yet; silence, as there was nothing; comfort noise, as the microphone had been silent for half a second."""


def media_samples(
    workers: Sequence[media.WorkerStats], lines: Sequence[media.Facts], totals: media.Totals
) -> list[Sample]:
    """The workers, and the agents' lines: mean and worst of each figure, as lines come and go too often for labels."""
    slow = sum(one.tier == "stock" for one in workers)
    samples = [
        gauge("takeover_media_workers", "Media workers that run", len(workers)),
        gauge("takeover_media_workers_stock", "Those that fell back to aiortc's own, slower path", slow),
        gauge(
            "takeover_media_patches", "Connections from media workers into PBXs", sum(one.patches for one in workers)
        ),
        _by_worker("lateness_p99_ms", "gauge", "Lateness of ticks over 10 s", workers, lambda one: one.lateness_p99_ms),
        _by_worker("legs", "gauge", "Agents' lines", workers, lambda one: one.legs),
        _by_worker("admits", "gauge", "1 while it takes a new line", workers, lambda one: one.admits),
        _by_worker("skipped_ticks_total", "counter", "Ticks left out", workers, lambda one: one.skipped_ticks),
        _counter("takeover_media_workers_lost_total", "Workers that died or were killed", totals.workers_lost),
        _counter("takeover_media_refused_total", "Lines that no worker took", totals.refused),
        gauge("takeover_lines", "Agents' lines that stand", len(lines)),
        gauge("takeover_lines_silent", "Of these, those whose microphone sends nothing", _how_many(lines, _silent)),
        gauge("takeover_lines_echo", "Of these, those that send an echo", _how_many(lines, lambda one: one.echo)),
        _by("takeover_line_frames_total", "20 ms of microphones, by what became of them", "outcome", {
            word: totals.lines.get(name, 0) for name, word in _FRAMES.items()
        }),
        _by("takeover_line_packets_total", "Packets from and to browsers", "direction", {
            "in": totals.lines.get("packets_in", 0), "out": totals.lines.get("packets_out", 0)
        }),
        _counter("takeover_line_late_packets_total", "Packets that came after their turn", totals.lines.get("late", 0)),
        _counter("takeover_line_shrunk_total", "20 ms left out, so as not to lag", totals.lines.get("shrunk", 0)),
        _by("takeover_patch_frames_total", "20 ms to and from PBXs; unsent: the PBX did not read", "direction", {
            word: totals.lines.get(f"patch_{word}", 0) for word in ("sent", "received", "unsent")
        }),
    ]  # fmt: skip
    for name, (help_, figure) in _LINES.items():
        if values := [figure(line) for line in lines]:
            both: dict[Labels, float] = {(("of", "mean"),): fmean(values), (("of", "worst"),): max(values)}
            samples.append(Sample(f"takeover_line_{name}", help_, "gauge", both))
    return samples


def _invented(line: media.Facts) -> int:
    return line.concealed + line.stretched


def _silent(line: media.Facts) -> bool:
    return not line.microphone


def _how_many(lines: Sequence[media.Facts], so: Callable[[media.Facts], bool]) -> int:
    return sum(map(so, lines))


def _counter(name: str, help_: str, value: int) -> Sample:
    return Sample(name, help_, "counter", {(): value})


def _by(name: str, help_: str, label: str, values: Mapping[str, int]) -> Sample:
    return Sample(name, help_, "counter", {((label, word),): value for word, value in values.items()})


def _by_worker(
    name: str,
    kind: Literal["gauge", "counter"],
    help_: str,
    workers: Sequence[media.WorkerStats],
    figure: Callable[[media.WorkerStats], float],
) -> Sample:
    # As many labels as cores.
    values: dict[Labels, float] = {(("worker", str(one.worker)),): float(figure(one)) for one in workers}
    return Sample(f"takeover_media_{name}", help_, kind, values)
