"""SIP and SDP as far as a patch needs them (RFC 3261, RFC 4566): bytes in, facts out, and back. Pure, total, fuzzed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_DATAGRAM = 16 * 1024
PCMU = 0
_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}
_SINGLE = ("from", "to", "call-id", "cseq", "contact")
_LINE = re.compile(r"[\x20-\x7e\x80-\uffff\t]*")
_REQUEST = re.compile(r"([A-Z]{1,20}) (\S{1,500}) SIP/2\.0")
_RESPONSE = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: .*)?")
_CSEQ = re.compile(r"(\d{1,10})\s+([A-Z]{1,20})")
_URI = re.compile(r"<?sips?:(?:([^@>;\s]{1,200})@)?[^>]*>?")
_TAG = re.compile(r";\s*tag=([^;\s>]{1,200})", re.IGNORECASE)
_BRANCH = re.compile(r";\s*branch=([^;\s,]{1,200})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SipMessage:
    """A request (`status` 0) or a response (`method` is that of its CSeq). Values are single lines."""

    method: str
    uri: str
    status: int
    via: Sequence[str]
    headers: Mapping[str, str]
    body: str

    def __getitem__(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def user(self) -> str:
        """The user part of the request's URI."""
        found = _URI.match(self.uri)
        return (found[1] or "") if found else ""

    @property
    def branch(self) -> str:
        """What tells this transaction from others."""
        found = _BRANCH.search(self.via[0])
        return found[1] if found else ""

    @property
    def contact(self) -> str:
        """The URI of its sender, empty if it names none."""
        found = re.search(r"sips?:[^>\s;,]{1,300}", self["contact"])
        return found[0] if found else ""


def tag_of(value: str) -> str:
    """The tag of a From or To."""
    found = _TAG.search(value)
    return found[1] if found else ""


def parse(data: bytes) -> SipMessage | None:
    """One datagram; None when it is no SIP message that could be answered."""
    if len(data) > MAX_DATAGRAM:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split("\r\n")
    via: list[str] = []
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        name, value = _COMPACT.get(name, name), value.strip()
        if not colon or not _LINE.fullmatch(value):
            return None
        if name == "via":
            via.append(value)
        elif name in headers and name in _SINGLE:
            return None  # which of the two is meant, nobody knows
        else:
            headers[name] = value
    request, response, cseq = (
        _REQUEST.fullmatch(first),
        _RESPONSE.fullmatch(first),
        _CSEQ.fullmatch(headers.get("cseq", "")),
    )
    if not via or cseq is None or not all(headers.get(name) for name in ("from", "to", "call-id")):
        return None
    text = body.decode("utf-8", "replace")
    if request is not None and request[1] == cseq[2]:
        return SipMessage(request[1], request[2], 0, via, headers, text)
    return SipMessage(cseq[2], "", int(response[1]), via, headers, text) if response is not None else None


def render(first: str, fields: Sequence[tuple[str, str]], body: str = "") -> bytes:
    """A message, its length and type added."""
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    if body:
        lines.append("Content-Type: application/sdp")
    lines += [f"Content-Length: {len(body.encode())}", "", body]
    return "\r\n".join(lines).encode()


def media_address(body: str) -> tuple[str, int] | None:
    """Where an offer wants its PCMU sound; None when it has none, or closes the stream."""
    session, host, port, codecs = "", "", 0, []
    for line in body.splitlines():
        kind, _, value = line.partition("=")
        words = value.split()
        if kind == "c" and len(words) == 3 and words[:2] == ["IN", "IP4"]:
            session, host = (words[2], host) if not port else (session, words[2])
        elif kind == "m" and port:
            break  # one stream is enough
        elif kind == "m" and len(words) >= 4 and words[0] == "audio" and words[1].isascii() and words[1].isdigit():
            port, codecs = int(words[1]), words[3:]
    address = host or session
    usable = 0 < port < 65536 and str(PCMU) in codecs and re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", address)
    return (address, port) if usable else None


def answer(host: str, port: int, version: int) -> str:
    """Our SDP: PCMU, 20 ms."""
    lines = (
        "v=0",
        f"o=takeover {port} {version} IN IP4 {host}",
        "s=takeover",
        f"c=IN IP4 {host}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {PCMU}",
        f"a=rtpmap:{PCMU} PCMU/8000",
        "a=ptime:20",
        "a=sendrecv",
    )
    return "\r\n".join(lines) + "\r\n"
