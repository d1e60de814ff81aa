"""What the media workers tell, to whom it concerns; and on record, who was turned away from them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict

import structlog

from connector.domain.errors import StoreUnavailable
from connector.ports import Journal
from connector.services.takeovers import Takeovers
from media import pool as media

from .hub import Hub
from .signalling import Desk

log = structlog.get_logger()

MAX_INTRUDERS = 100
"""Connections from elsewhere that may wait for the audit."""


async def follow(
    events: AsyncIterator[media.MediaEvent],
    takeovers: Takeovers,
    desk: Desk,
    hub: Hub,
    intruders: asyncio.Queue[media.Intruder],
) -> None:
    """What the pool tells, to whom it concerns. Nothing here waits: a lost leg gives its call back now."""
    async for event in events:
        match event:
            case media.LegUp(leg):
                if session := desk.owner(leg):
                    hub.leg_changed(session, leg, up=True)
            case media.LegDown(leg, why):
                takeovers.leg_down(leg, why)
                if session := desk.down(leg):
                    hub.leg_changed(session, leg, up=False, why=why)
            case media.PatchDown(_, patch, why):
                takeovers.patch_down(patch, why)
            case media.PatchUp(leg, patch, accepted, first_frame):
                log.debug("patch-up", leg=leg, patch=patch, first_frame_ms=round((first_frame - accepted) * 1000, 1))
            case media.Quality(leg, facts):
                if session := desk.owner(leg):
                    hub.quality(session, leg, asdict(facts))
            case media.Intruder() as intruder:
                log.warning("intruder", peer=intruder.peer, why=intruder.why)
                with contextlib.suppress(asyncio.QueueFull):
                    intruders.put_nowait(intruder)
            case media.WorkerLost(worker, lost):
                log.error("media-worker-lost", worker=worker, legs=len(lost))


async def record(intruders: asyncio.Queue[media.Intruder], journal: Journal) -> None:
    """Puts on record who was turned away, as fast as the disk takes it; the log has all of them."""
    while True:
        one = await intruders.get()
        with contextlib.suppress(StoreUnavailable):
            number = await journal.intent(f"address:{one.peer}", "intrude", None, {"uuid": one.uuid, "why": one.why})
            await journal.outcome(number, "refused", {})
