"""An AudioSocket server for the demo's and the tests' AI (or a bare agent): speaks a source, records what it hears.

Wire: 1 byte kind, 2 bytes big-endian length, payload. Asterisk sends the uuid first, then 20 ms of signed linear
audio per frame at 8 kHz; it plays what it is sent as fast as it comes, so the sender is the clock.
"""

import asyncio
import struct
import time
import uuid
from collections.abc import Callable
from typing import Self

import numpy as np

from .voice import FRAME_S, Recording, Silence, Source, beat

_HEADER = struct.Struct("!BH")
HANGUP, UUID, DTMF, AUDIO, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
RATE = 8000


class AudioSocketLeg:
    """One connection from the PBX. `source` may be changed at any time; `ended` is set when it is over."""

    def __init__(self, identity: str, writer: asyncio.StreamWriter, source: Source) -> None:
        self.identity = identity  # the uuid in the dial string
        self.source = source
        self.recording = Recording(RATE)
        self.digits = ""
        self.ended = asyncio.Event()
        self._writer = writer

    def send(self) -> None:
        """Sends the next 20 ms."""
        payload = self.source.take(round(RATE * FRAME_S), RATE).tobytes()
        if not self._writer.is_closing():
            self._writer.write(_HEADER.pack(AUDIO, len(payload)) + payload)

    def take(self, kind: int, payload: bytes) -> None:
        if kind == AUDIO:
            self.recording.add(time.monotonic(), np.frombuffer(payload[: len(payload) & ~1], "<i2").astype(np.int16))
        elif kind == DTMF:
            self.digits += payload.decode("ascii", "replace")

    async def hangup(self) -> None:
        """Ends the leg in order."""
        if not self._writer.is_closing():
            self._writer.write(_HEADER.pack(HANGUP, 0))
            self._writer.close()
        await self.ended.wait()

    def abort(self) -> None:
        """Drops the connection without a word, as a crash would."""
        self._writer.transport.abort()


class AudioSocketServer:
    """Accepts every uuid; an async context manager. `await leg(uuid)` gives the connection with that uuid."""

    def __init__(self, source: Callable[[], Source] = Silence, *, host: str = "127.0.0.1") -> None:
        self.host, self.source = host, source
        self.on_leg: Callable[[AudioSocketLeg], None] | None = None
        self._legs: dict[str, asyncio.Future[AudioSocketLeg]] = {}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the server is not open; use it as `async with AudioSocketServer(...)`")
        return int(self._server.sockets[0].getsockname()[1])

    def dial_string(self, identity: str) -> str:
        """What Asterisk's Dial or Originate is given. Without c(slin) it would send ulaw labelled as slin."""
        return f"AudioSocket/{self.host}:{self.port}/{identity}/c(slin)"

    async def leg(self, identity: str, within: float = 5) -> AudioSocketLeg:
        """The connection with that uuid, now or when it comes. Raises TimeoutError."""
        async with asyncio.timeout(within):
            return await asyncio.shield(self._slot(identity))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is None:
            return
        self._server.close()
        for slot in self._legs.values():
            if slot.done() and not slot.cancelled():
                slot.result().abort()
                await slot.result().ended.wait()
            else:
                slot.cancel()
        await self._server.wait_closed()

    def _slot(self, identity: str) -> asyncio.Future[AudioSocketLeg]:
        if identity not in self._legs:
            self._legs[identity] = asyncio.get_running_loop().create_future()
        return self._legs[identity]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        leg: AudioSocketLeg | None = None
        beating: asyncio.Task[None] | None = None
        try:
            while True:
                kind, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                payload = await reader.readexactly(length)
                if kind == UUID and leg is None:
                    leg = AudioSocketLeg(str(uuid.UUID(bytes=payload)), writer, self.source())
                    beating = asyncio.create_task(beat(leg.send), name="audiosocket-beat")
                    self._arrived(leg)
                elif kind in (HANGUP, ERROR):
                    break
                elif leg is not None:
                    leg.take(kind, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the PBX hung up, or we did
        finally:
            if beating:
                beating.cancel()
            writer.close()
            if leg:
                leg.ended.set()

    def _arrived(self, leg: AudioSocketLeg) -> None:
        slot = self._slot(leg.identity)
        if slot.done():  # the same uuid called again: the new one counts
            del self._legs[leg.identity]
            slot = self._slot(leg.identity)
        slot.set_result(leg)
        if self.on_leg:
            self.on_leg(leg)
