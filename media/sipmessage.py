"""SIP as far as a patch needs it (RFC 3261): bytes in, facts out, and back. Pure, total, fuzzed."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_DATAGRAM = 16 * 1024
METHODS = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE"
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
    def transaction(self) -> str:
        """The same for each repetition of a message, and for no other."""
        return f"{self.method} {self.branch} {self['call-id']} {self['cseq']}"

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


def reply(m: SipMessage, status: str, tag: str, us: str, body: str = "") -> bytes:
    """A response to `m`; `tag` is ours in this dialog, `us` our address and port."""
    fields = [
        *(("Via", via) for via in m.via),
        ("From", m["from"]),
        ("To", m["to"] if tag_of(m["to"]) else f"{m['to']};tag={tag}"),
        ("Call-ID", m["call-id"]),
        ("CSeq", m["cseq"]),
        ("Contact", f"<sip:takeover@{us}>"),
        ("Allow", METHODS),
    ]
    return render(f"SIP/2.0 {status}", fields, body)


def bye(invite: SipMessage, tag: str, us: str, peer: tuple[str, int]) -> bytes:
    """Ends the call that `invite` began; `peer`: where it came from, if it named no contact."""
    fields = [
        ("Via", f"SIP/2.0/UDP {us};branch=z9hG4bK{secrets.token_hex(8)};rport"),
        ("Max-Forwards", "70"),
        ("From", f"{invite['to']};tag={tag}"),
        ("To", invite["from"]),
        ("Call-ID", invite["call-id"]),
        ("CSeq", "1 BYE"),
    ]
    return render(f"BYE {invite.contact or f'sip:{peer[0]}:{peer[1]}'} SIP/2.0", fields)
