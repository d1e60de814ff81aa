"""An AI that Asterisk reaches by AudioSocket: one connection per call, whose uuid is the AI's reference to the call."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .audiosocket import AudioSocketLeg, AudioSocketServer
from .voice import Recording, Source


@dataclass(eq=False)
class SocketLeg:
    """The AI's end of one call, in the same words as SIP's."""

    leg: AudioSocketLeg

    @property
    def ref(self) -> str:
        return self.leg.identity

    @property
    def source(self) -> Source:
        return self.leg.source

    @source.setter
    def source(self, source: Source) -> None:
        self.leg.source = source

    @property
    def recording(self) -> Recording:
        return self.leg.recording

    @recording.setter
    def recording(self, recording: Recording) -> None:
        self.leg.recording = recording

    @property
    def ended(self) -> asyncio.Event:
        return self.leg.ended


def socket_ai(on_leg: Callable[[SocketLeg], None]) -> AudioSocketServer:
    """The AI's server; use it as an async context manager. `on_leg` is told of each call before it speaks."""
    server = AudioSocketServer()
    server.on_leg = lambda leg: on_leg(SocketLeg(leg))
    return server
