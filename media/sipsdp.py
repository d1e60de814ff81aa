"""SDP as far as a patch needs it (RFC 4566): an offer in, its address and our answer out. Pure, total, fuzzed."""

import re

PCMU = 0


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
