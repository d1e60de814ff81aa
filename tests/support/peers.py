"""AI peers, one per topology, with one face: `async with peer`, `dial(key)`, `await leg(key)`."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol, Self

from web.demo.audiosocket import AudioSocketServer
from web.demo.rtp import PCMU, Codec
from web.demo.sip import SipCall, SipPhone
from web.demo.tones import AI_HZ
from web.demo.voice import Recording, Source, Tone

from .websocket import WebSocketServer

SPEAKS_AI: Callable[[], Source] = lambda: Tone(AI_HZ)  # noqa: E731 - a default argument, named for its readers


class Leg(Protocol):
    """One party's end of a call."""

    source: Source
    ended: asyncio.Event

    @property
    def recording(self) -> Recording: ...
    async def hangup(self) -> None: ...


class AiPeer(Protocol):
    """An AI vendor: Asterisk dials it, it speaks and listens."""

    def dial(self, key: str) -> str:
        """Dial string for the call with this key (a uuid)."""

    async def leg(self, key: str) -> Leg:
        """Its end of that call, when it is up."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...


class SipAi:
    """T1: a SIP AI; the key is the user part of the URI it is called by."""

    def __init__(self, codec: Codec = PCMU, source: Callable[[], Source] = SPEAKS_AI) -> None:
        self.phone = SipPhone("ai", codec=codec, source=source, on_call=self._came)
        self._legs: dict[str, asyncio.Future[SipCall]] = {}

    def dial(self, key: str) -> str:
        return f"PJSIP/ai/sip:{key}@{self.phone.host}:{self.phone.port}"

    async def leg(self, key: str) -> Leg:
        async with asyncio.timeout(5):
            return await asyncio.shield(self._slot(key))

    async def __aenter__(self) -> Self:
        await self.phone.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.phone.__aexit__()

    def _slot(self, key: str) -> asyncio.Future[SipCall]:
        if key not in self._legs:
            self._legs[key] = asyncio.get_running_loop().create_future()
        return self._legs[key]

    async def _came(self, call: SipCall) -> None:
        slot = self._slot(call.called)
        if slot.done():  # dialled once more for the same call
            del self._legs[call.called]
            slot = self._slot(call.called)
        await call.answer()
        slot.set_result(call)


class AudioSocketAi(AudioSocketServer):
    """T2: an AI behind chan_audiosocket; the key is the uuid."""

    def __init__(self, source: Callable[[], Source] = SPEAKS_AI) -> None:
        super().__init__(source)

    def dial(self, key: str) -> str:
        return self.dial_string(key)


class WebSocketAi(WebSocketServer):
    """T4: an AI behind chan_websocket, known to Asterisk as connection `ai`."""

    def __init__(self, source: Callable[[], Source] = SPEAKS_AI) -> None:
        super().__init__(source)

    def dial(self, key: str) -> str:
        return f"WebSocket/ai/c(slin)v(key={key})"


class Ais:
    """One AI of each topology, up together."""

    def __init__(self, codec: Codec = PCMU) -> None:
        self.sip, self.audiosocket, self.websocket = SipAi(codec), AudioSocketAi(), WebSocketAi()
        self._stack = AsyncExitStack()

    def of(self, topology: str) -> AiPeer:
        peers: dict[str, AiPeer] = {"T1": self.sip, "T2": self.audiosocket, "T4": self.websocket}
        return peers[topology]

    async def __aenter__(self) -> Self:
        for peer in (self.sip, self.audiosocket, self.websocket):
            await self._stack.enter_async_context(peer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
