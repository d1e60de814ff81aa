"""What a leg needs of a connection to its browser, whichever way it is made (`rtc`, `stock`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from . import rtp, sdp
from .frame import Frame
from .messages import IceServer, MediaSettings
from .network import Ports

OnPacket = Callable[[rtp.Rtp, float], None]
"A packet of the microphone, and when it came (monotonic seconds)."


class PeerLost(Exception):
    """The connection did not come up or is gone; the text is the reason as in `LegDown.why`."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where browsers may reach us."""

    ports: Ports
    public_addresses: tuple[str, ...]
    ice_servers: tuple[IceServer, ...]
    connect_s: float

    @classmethod
    def of(cls, settings: MediaSettings) -> "Network":
        return cls(Ports(settings.udp_ports), settings.public_addresses, settings.ice_servers, settings.connect_s)

    @classmethod
    def local(cls, connect_s: float) -> "Network":
        """For a call to ourselves."""
        return cls(Ports(None), (), (), connect_s)


class Decoder(Protocol):
    """Makes sound (16 kHz) of the packets that a peer hands over."""

    def length(self, payload: bytes, /) -> int:
        """How long it plays, in the 48 kHz RTP clock; 0: unreadable."""

    def decode(self, packet: bytes, /) -> Frame: ...
    def recover(self, following: bytes, samples: int, /) -> Frame:
        """The lost frame before `following`."""

    def conceal(self, samples: int, /) -> Frame: ...
    def reset(self) -> None: ...


class Peer(Protocol):
    """One connection to a browser. `answer`, then `serve` until it is gone; `send` once per tick while it is up."""

    up: bool
    packets_out: int
    reception: rtp.Reception | None
    lost_at_browser: float
    rtt: float | None

    @property
    def decoder(self) -> Decoder: ...

    async def answer(self) -> str:
        """Binds the sockets and returns our SDP; raises OSError if no port is free."""

    async def serve(self, on_up: Callable[[], None]) -> str:
        """Connects, calls `on_up`, and returns why the browser is gone. Cancel it to hang up."""

    async def close(self) -> None:
        """Says goodbye to the browser and closes the sockets. Idempotent."""

    def read(self) -> None:
        """Once per tick, before its sound is wanted: hands over the packets that wait, if any do."""

    def send(self, frame: Frame, timestamp: int) -> None:
        """20 ms of sound, 320 samples or 160 of 8 kHz; `timestamp` in the 48 kHz clock from any origin."""

    def report(self) -> None:
        """Once a second: tells the browser what we know of its stream."""


Connect = Callable[[sdp.Offer, Network, OnPacket], Peer]
