"""What pool and worker say to each other: one JSON line each over a socket pair, and what the pool tells its caller.

Commands go down, replies and events come up. Every command with a `request` gets exactly one `Done`, `Opened`
or `Refused` with that number. Times are CLOCK_MONOTONIC seconds, which all processes of a machine share.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Tier = Literal["fast", "stock"]
"""Our own path on aiortc's parts, or aiortc's."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server, for browsers that cannot reach us directly."""

    url: str
    username: str | None = None
    credential: str | None = None
    secret: str | None = None
    "coturn's `static-auth-secret`, instead of the two: see `turn`."


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How the workers are set up."""

    workers: int = 1
    udp_ports: tuple[int, int] | None = None
    "First and last UDP port for browsers; None: any."
    public_addresses: tuple[str, ...] = ()
    """IP addresses offered to browsers instead of this machine's own; an address that is not this machine's is
    taken for a 1:1 translation to it. Empty: every address of this machine, 127.0.0.1 if it has no other."""
    audiosocket_host: str = "127.0.0.1"
    "Address that the workers listen on and that the PBX is told to call."
    pbx_addresses: tuple[str, ...] = ()
    "IP addresses besides loopback from which the PBX may call."
    sip: bool = False
    "Whether the PBX may call by SIP too: FreeSWITCH does."
    ice_servers: tuple[IceServer, ...] = ()
    max_legs_per_worker: int = 60
    suppression: bool = True
    "Whether the voice chain is on for new legs."
    max_lateness_ms: float = 5.0
    "99th percentile of tick lateness over 10 s above which a worker takes no new leg."
    captions: bool = False
    "Whether `Utterance`s are told."
    connect_s: float = 15.0
    "Seconds from the answer to ICE and DTLS standing; after that the leg is dropped."
    tier: Tier | None = None
    "How browsers are connected; None: the best that works with this aiortc."


# Down


@dataclass(frozen=True, slots=True)
class Configure:
    settings: MediaSettings


@dataclass(frozen=True, slots=True)
class Ping:
    number: int


@dataclass(frozen=True, slots=True)
class OpenLeg:
    request: int
    leg: str
    offer: str


@dataclass(frozen=True, slots=True)
class CloseLeg:
    request: int
    leg: str


@dataclass(frozen=True, slots=True)
class SetLeg:
    request: int
    leg: str
    muted: bool | None
    suppression: bool | None
    hold: bool | None


@dataclass(frozen=True, slots=True)
class OpenPatch:
    request: int
    leg: str
    patch: str
    rate: int


@dataclass(frozen=True, slots=True)
class ClosePatch:
    request: int
    patch: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Whether the browser's signalling WebSocket is there."""

    leg: str
    present: bool


# Up


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker listens for the PBX on `port`, and for SIP on `sip_port` unless that is 0. `why`: what stood against
    the fast tier."""

    port: int
    sip_port: int = 0
    tier: Tier = "fast"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot start and ends."""

    why: str


@dataclass(frozen=True, slots=True)
class Pong:
    """`late`: the worst tick since the last pong, `p99`: over 10 s, both seconds; `skipped`: ticks left out so far."""

    number: int
    late: float
    p99: float
    skipped: int


@dataclass(frozen=True, slots=True)
class Done:
    request: int


@dataclass(frozen=True, slots=True)
class Opened:
    request: int
    answer: str


@dataclass(frozen=True, slots=True)
class Refused:
    request: int
    why: str


@dataclass(frozen=True, slots=True)
class LegState:
    """Sent on change: `connected` is ICE and DTLS, `microphone` is RTP within the last 300 ms."""

    leg: str
    connected: bool
    microphone: bool


# Events, which the pool hands on


@dataclass(frozen=True, slots=True)
class LegUp:
    """ICE and DTLS stand; sound flows."""

    leg: str


@dataclass(frozen=True, slots=True)
class LegDown:
    """The leg is gone for good: `closed`, `ice-timeout`, `ice-failed`, `dtls-failed`, `browser-gone`, `worker-lost`."""

    leg: str
    why: str


@dataclass(frozen=True, slots=True)
class PatchUp:
    """The PBX has called. `accepted`: its uuid was; `first_frame`: our first 20 ms were sent."""

    leg: str
    patch: str
    accepted: float
    first_frame: float


@dataclass(frozen=True, slots=True)
class PatchDown:
    """Also for a patch that never came up. `why`: `closed`, `no-call` (the PBX did not call in time), `pbx-closed`,
    `pbx-hangup`, `pbx-error`, `protocol: ...`, `no-microphone`, `leg-down`, `worker-lost`."""

    leg: str
    patch: str
    why: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that was said in a patch, for captions. `side`: `agent` or `pbx`; `began` is CLOCK_MONOTONIC;
    `sound`: 16 kHz mono int16 in base64."""

    leg: str
    patch: str
    side: str
    began: float
    sound: str


@dataclass(frozen=True, slots=True)
class Intruder:
    """Somebody called the worker without a right to; `uuid` is empty if none was shown."""

    peer: str
    uuid: str
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One second of a leg, for the panel."""

    connected: bool
    level_in: float
    "Microphone before the voice chain, dBFS."
    level_out: float
    speaking: bool
    muted: bool
    lost: float
    "Share of microphone packets lost in the last second, 0..1."
    lost_at_browser: float
    "Share of our packets that the browser reports lost, 0..1."
    jitter_ms: float
    buffer_ms: float
    rtt_ms: float | None
    packets_in: int
    packets_out: int
    recovered: int
    "Lost frames that the copy in the following packet brought back; these counts are since the line was opened."
    concealed: int
    "Lost frames that were invented."
    patch_sent: int
    patch_received: int
    patch_unsent: int
    echo: bool = False
    "What the agent was played comes back through the microphone."
    microphone: bool = True
    "Its packets come."
    played: int = 0
    stretched: int = 0
    "Frames invented because their packet was not there yet."
    shrunk: int = 0
    "Frames left out, so that the sound does not lag."
    late: int = 0
    "Packets that came after their turn."
    underruns: int = 0
    "20 ms for which there was nothing to send to the PBX, and it got silence."
    noise: int = 0
    "20 ms of comfort noise, as the microphone had been silent for half a second."
    target_ms: float = 0.0
    "How long packets should wait, by what was seen of the network in the last 2 s."


@dataclass(frozen=True, slots=True)
class Quality:
    leg: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker died or was killed because it did not answer; its legs are gone and a new worker is started."""

    worker: int
    legs: tuple[str, ...] = field(default=())


MediaEvent = LegUp | LegDown | PatchUp | PatchDown | Utterance | Intruder | Quality | WorkerLost
Command = Configure | Ping | OpenLeg | CloseLeg | SetLeg | OpenPatch | ClosePatch | Signal
Report = (
    Ready
    | Failed
    | Pong
    | Done
    | Opened
    | Refused
    | LegState
    | LegUp
    | LegDown
    | PatchUp
    | PatchDown
    | Utterance
    | Intruder
    | Quality
)

_NESTED: Mapping[str, type[Any]] = {"settings": MediaSettings, "facts": Facts}
_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (*Command.__args__, *Report.__args__)}


def encode(message: Command | Report) -> bytes:
    """A message -> one line with its newline."""
    return json.dumps([type(message).__name__, _values(message)], default=_values).encode() + b"\n"


def _values(message: Any) -> dict[str, Any]:
    # `asdict` copies deeply what is only read here, which takes four times as long: each leg reports each second.
    return {name: getattr(message, name) for name in message.__match_args__}


def decode(line: bytes) -> Command | Report:
    """A line -> the message; raises ValueError, KeyError or TypeError on what we did not write."""
    name, values = json.loads(line)
    message: Command | Report = _build(_KINDS[name], values)
    return message


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    arguments = {}
    for entry in fields(kind):
        value = values[entry.name]
        if entry.name in _NESTED:
            value = _build(_NESTED[entry.name], value)
        elif entry.name == "ice_servers":
            value = tuple(IceServer(**server) for server in value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[entry.name] = value
    return kind(**arguments)
