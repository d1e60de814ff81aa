"""SIP messages and session descriptions as text: parsing and rendering, no sockets (RFC 3261, RFC 4566)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .rtp import DTMF_PAYLOAD, Codec

_SHORT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
}


@dataclass(frozen=True)
class Message:
    """A request or a response; header names are lower-case, compact forms expanded."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def parse(cls, data: bytes) -> "Message | None":
        """None if it is no SIP (keep-alives are bare line ends)."""
        head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        if "SIP/2.0" not in start:
            return None
        headers: list[tuple[str, str]] = []
        for line in lines:
            if line[:1] in " \t" and headers:  # folded: goes on from the line before
                headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
                continue
            name, colon, value = line.partition(":")
            if colon:
                key = name.strip().lower()
                headers.append((_SHORT.get(key, key), value.strip()))
        return cls(start, tuple(headers), body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        """The first header of that name, "" if there is none."""
        return next(iter(self.all(name)), "")

    @property
    def is_response(self) -> bool:
        return self.start.startswith("SIP/2.0")

    @property
    def status(self) -> int:
        parts = self.start.split()
        return int(parts[1]) if self.is_response and len(parts) > 1 and parts[1].isdigit() else 0

    @property
    def method(self) -> str:
        """Of a response: the method that is answered."""
        return self.get("CSeq").rpartition(" ")[2] if self.is_response else self.start.split()[0]

    @property
    def branch(self) -> str:
        return parameter(self.get("Via"), "branch")

    @property
    def reply_to(self) -> tuple[str, int]:
        """Where the topmost Via wants the answer."""
        host, _, port = self.get("Via").partition(" ")[2].partition(";")[0].strip().partition(":")
        return host, int(port or 5060)


def parameter(value: str, name: str) -> str:
    """The parameter `;name=...` of a header value, "" if it has none."""
    for part in value.split(";")[1:]:
        key, _, content = part.partition("=")
        if key.strip().lower() == name:
            return content.strip()
    return ""


def tag_of(address: str) -> str:
    return parameter(address.rpartition(">")[2] if ">" in address else address, "tag")


def uri_of(address: str) -> str:
    """The URI of a name-addr."""
    return address.partition("<")[2].partition(">")[0] if "<" in address else address.partition(";")[0].strip()


def render(start: str, fields: Mapping[str, str | Sequence[str]], body: str = "") -> bytes:
    lines = [start]
    for name, value in fields.items():
        lines += [f"{name}: {value}"] if isinstance(value, str) else [f"{name}: {one}" for one in value]
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass(frozen=True)
class Described:
    """The audio of a session description."""

    host: str
    port: int
    payload_types: tuple[int, ...]


def sdp(host: str, port: int, codecs: Sequence[Codec], version: int) -> str:
    numbers = " ".join(str(codec.payload_type) for codec in codecs)
    return "\r\n".join(
        (
            "v=0",
            f"o=- {port} {version} IN IP4 {host}",
            "s=-",
            f"c=IN IP4 {host}",
            "t=0 0",
            f"m=audio {port} RTP/AVP {numbers} {DTMF_PAYLOAD}",
            *(f"a=rtpmap:{codec.rtpmap}" for codec in codecs),
            f"a=rtpmap:{DTMF_PAYLOAD} telephone-event/{codecs[0].clock}",
            f"a=fmtp:{DTMF_PAYLOAD} 0-15",
            "a=ptime:20",
            "a=sendrecv",
            "",
        )
    )


def parse_sdp(body: str) -> Described | None:
    """None if there is no audio in it."""
    host, port = "", 0
    numbers: tuple[int, ...] = ()
    for line in body.splitlines():
        if line.startswith("c=IN IP4 "):
            host = line.removeprefix("c=IN IP4 ").strip()
        elif line.startswith("m=audio ") and not port:
            _, first, _, *rest = line.split()
            port, numbers = int(first), tuple(int(part) for part in rest if part.isdigit())
    return Described(host, port, numbers) if host and port else None
