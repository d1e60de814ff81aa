"""A WebSocket AI (topology T4): the server that Asterisk's chan_websocket dials, speaking slin in binary messages."""

import asyncio
import time
from collections.abc import Callable
from typing import Self

import numpy as np
from aiohttp import WSMsgType, web

from web.demo.voice import FRAME_S, Recording, Silence, Source, beat

RATE = 8000


class WebSocketLeg:
    """One connection. `source` may be changed at any time; `ended` is set when it is over."""

    def __init__(self, identity: str, socket: web.WebSocketResponse, source: Source) -> None:
        self.identity, self.source = identity, source
        self.recording = Recording(RATE)
        self.control: list[str] = []  # text messages from Asterisk, MEDIA_START first
        self.digits = ""
        self.ended = asyncio.Event()
        self._socket = socket

    async def send(self) -> None:
        payload = self.source.take(round(RATE * FRAME_S), RATE).tobytes()
        await self._socket.send_bytes(payload)

    def take(self, at: float, data: bytes) -> None:
        self.recording.add(at, np.frombuffer(data[: len(data) & ~1], "<i2").astype(np.int16))

    def told(self, text: str) -> None:
        self.control.append(text)
        if text.startswith("DTMF_END"):
            self.digits += text.rpartition(":")[2].strip()

    async def hangup(self) -> None:
        if not self._socket.closed:
            await self._socket.send_str("HANGUP")  # Asterisk closes the connection
        await self.ended.wait()

    def abort(self) -> None:
        """Drops the connection without a word."""
        transport = self._socket._req.transport if self._socket._req is not None else None
        if transport is not None:
            transport.abort()


class WebSocketServer:
    """An async context manager. The connection's id is the query parameter `key` of its URI."""

    def __init__(self, source: Callable[[], Source] = Silence, *, host: str = "127.0.0.1") -> None:
        self.host, self.source = host, source
        self.port = 0
        self._legs: dict[str, asyncio.Future[WebSocketLeg]] = {}
        self._runner: web.AppRunner | None = None

    @property
    def uri(self) -> str:
        """For websocket_client.conf; the dial string adds `v(key=...)`."""
        return f"ws://{self.host}:{self.port}/media"

    async def leg(self, identity: str, within: float = 5) -> WebSocketLeg:
        async with asyncio.timeout(within):
            return await asyncio.shield(self._slot(identity))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/media", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for slot in self._legs.values():
            if slot.done() and not slot.cancelled():
                slot.result().abort()
            else:
                slot.cancel()
        if self._runner:
            await self._runner.cleanup()

    def _slot(self, identity: str) -> asyncio.Future[WebSocketLeg]:
        if identity not in self._legs:
            self._legs[identity] = asyncio.get_running_loop().create_future()
        return self._legs[identity]

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("media",), autoping=True)
        await socket.prepare(request)
        leg = WebSocketLeg(request.query.get("key", ""), socket, self.source())
        ticks: asyncio.Queue[None] = asyncio.Queue(maxsize=5)
        beating = [asyncio.create_task(beat(lambda: _tick(ticks))), asyncio.create_task(_send(leg, ticks))]
        slot = self._slot(leg.identity)
        if not slot.done():
            slot.set_result(leg)
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    leg.take(time.monotonic(), message.data)
                elif message.type is WSMsgType.TEXT:
                    leg.told(message.data)
        finally:
            for task in beating:
                task.cancel()
            await asyncio.gather(*beating, return_exceptions=True)
            leg.ended.set()
        return socket


def _tick(ticks: asyncio.Queue[None]) -> None:
    if not ticks.full():  # a stalled connection drops frames instead of bursting them later
        ticks.put_nowait(None)


async def _send(leg: WebSocketLeg, ticks: asyncio.Queue[None]) -> None:
    while True:
        await ticks.get()
        try:
            await leg.send()
        except ConnectionError:
            return  # the PBX hung up
