"""The PBX's end of an AudioSocket: calls, shows a uuid, plays a tone, keeps what it hears."""

import asyncio
import contextlib
import time
import uuid
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from media.audiosocket import AUDIO, UUID, Reader, encode
from media.pool import Endpoint


class PbxEnd:
    """Use with `async with`; `heard` grows while it is open."""

    def __init__(self, endpoint: Endpoint, *, hertz: float | None = 400.0) -> None:
        self.endpoint = endpoint
        self.heard: list[npt.NDArray[Any]] = []
        self.heard_at: list[float] = []
        self.closed = asyncio.Event()
        self._hertz = hertz
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self.endpoint.host, self.endpoint.port)
        self._writer.write(encode(UUID, uuid.UUID(self.endpoint.uuid).bytes))
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._talk())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def sound(self, seconds: float) -> npt.NDArray[Any]:
        """The last seconds heard."""
        return np.concatenate([np.zeros(0, np.int16), *self.heard[-round(seconds * 50) :]])

    async def _listen(self) -> None:
        reader = Reader()
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(4096):
                for kind, payload in reader.feed(data):
                    assert kind == AUDIO[self.endpoint.rate]
                    self.heard.append(np.frombuffer(payload, dtype="<i2"))
                    self.heard_at.append(time.monotonic())
        self.closed.set()

    async def _talk(self) -> None:
        if self._hertz is None:
            return
        samples = self.endpoint.rate // 50
        start = time.monotonic()
        number = 0
        while not self.closed.is_set():
            t = (np.arange(samples) + number * samples) / self.endpoint.rate
            sound = (np.sin(2 * np.pi * self._hertz * t) * 6000).astype("<i2")
            self._writer.write(encode(AUDIO[self.endpoint.rate], sound.tobytes()))
            number += 1
            await asyncio.sleep(max(0.0, start + number * 0.02 - time.monotonic()))
