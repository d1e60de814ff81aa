"""Captions as the settings say: from what the media workers hear to the service that puts it into the transcript."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from connector.services.captions import Captions, Utterance
from connector.services.registry import Registry
from connector.services.transcripts import Transcripts
from connector.transcribers.http import HttpTranscriber
from connector.transcribers.local import LocalTranscriber
from media import pool as media

from .settings import CaptionsPart

RATE = 16_000
"""Of the sound that the workers give, Hz."""


@asynccontextmanager
async def captions(
    part: CaptionsPart,
    events: Callable[[], AsyncIterator[media.MediaEvent]],
    registry: Registry,
    transcripts: Transcripts,
) -> AsyncIterator[None]:
    """Captions are made inside the block; none at all unless they are switched on."""
    if part.backend == "none":
        yield
        return
    key = part.key.get_secret_value() if part.key is not None else ""
    maker = (
        HttpTranscriber(part.url or "", key=key, model=part.model, language=part.language or "")
        if part.backend == "http"
        else LocalTranscriber()
    )
    async with maker as transcriber:
        made = Captions(registry, transcripts, transcriber)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(made.run()), group.create_task(_follow(events(), made))]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()


async def _follow(events: AsyncIterator[media.MediaEvent], made: Captions) -> None:
    async for event in events:
        if isinstance(event, media.Utterance):
            at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - event.began)
            side = cast('Literal["agent", "pbx"]', event.side)
            made.heard(Utterance(event.leg, side, at, base64.b64decode(event.sound), RATE))
