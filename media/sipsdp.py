"""SDP as far as a patch needs it (RFC 4566): an offer in, what can be spoken, our answer out. Pure, total, fuzzed."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

NARROW, WIDE = 8000, 16_000
PCMU = 0
_NAMES = {NARROW: "PCMU/8000", WIDE: "L16/16000"}
"What each rate is spoken in: G.711 mu-law, or samples as they are (RFC 3551 4.5.11), which nobody needs to resample."
_RTPMAP = re.compile(r"a=rtpmap:(\d{1,3}) ([A-Za-z0-9-]{1,20}/\d{1,6})(?:/1)?\s*", re.ASCII)
_DYNAMIC = range(96, 128)


@dataclass(frozen=True, slots=True)
class Line:
    """Where the PBX wants its sound, and as what."""

    host: str
    port: int
    rate: int = NARROW
    payload_type: int = PCMU


@dataclass(frozen=True, slots=True)
class Offer:
    """The first audio stream that is offered. `payload_types`: of the rates that we can speak; never empty."""

    host: str
    port: int
    payload_types: Mapping[int, int]

    def at(self, rate: int) -> Line | None:
        """The line of this rate; None where it is not offered."""
        found = self.payload_types.get(rate)
        return None if found is None else Line(self.host, self.port, rate, found)

    def best(self, rate: int) -> Line:
        """The line of this rate, or, where it is not offered, of another."""
        return self.at(rate) or Line(self.host, self.port, *next(iter(self.payload_types.items())))


def offered(body: str) -> Offer | None:
    """What an INVITE's body offers; None when it is nothing for us, or closes the stream."""
    session, host, port = "", "", 0
    codecs: list[str] = []
    named: dict[str, str] = {}
    for line in body.splitlines():
        kind, _, value = line.partition("=")
        words = value.split()
        if kind == "c" and len(words) == 3 and words[:2] == ["IN", "IP4"]:
            session, host = (words[2], host) if not port else (session, words[2])
        elif kind == "m" and port:
            break  # one stream is enough
        elif kind == "m" and len(words) >= 4 and words[0] == "audio" and words[1].isascii() and words[1].isdigit():
            port, codecs = int(words[1]), words[3:]
        elif port and (found := _RTPMAP.fullmatch(line)):
            named.setdefault(found[1], found[2].upper())
    address = host or session
    wide = next((int(one) for one in codecs if named.get(one) == _NAMES[WIDE] and int(one) in _DYNAMIC), None)
    payload_types = {} if wide is None else {WIDE: wide}
    if str(PCMU) in codecs:
        payload_types[NARROW] = PCMU
    usable = 0 < port < 65536 and payload_types and _is_address(address)
    return Offer(address, port, payload_types) if usable else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def answer(host: str, port: int, version: int, line: Line) -> str:
    """Our SDP: what `line` speaks, 20 ms."""
    lines = (
        "v=0",
        f"o=takeover {port} {version} IN IP4 {host}",
        "s=takeover",
        f"c=IN IP4 {host}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {line.payload_type}",
        f"a=rtpmap:{line.payload_type} {_NAMES[line.rate]}",
        "a=ptime:20",
        "a=sendrecv",
    )
    return "\r\n".join(lines) + "\r\n"
