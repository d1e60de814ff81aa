"""A browser's offer and our answer to it (RFC 8866, 8829, 8839, 8842). Pure text.

Own and small, because only one audio line with Opus, BUNDLE, rtcp-mux and candidates inside is ever accepted,
and because a fault must be told in words: `BadOffer` names the line that is missing or wrong.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_OFFER = 64 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{1,256}")
_FINGERPRINT = re.compile(r"(?i)(sha-256|sha-384|sha-512) ([0-9a-f]{2}(?::[0-9a-f]{2}){31,63})")
_MEDIA = re.compile(r"m=([a-z]+) (\d{1,5}) ([A-Z/]+) (\S.*)")
_MAX_CANDIDATES = 64
_SETUP = ("actpass", "active", "passive")


class BadOffer(ValueError):
    """The offer cannot be answered; the text says which line and why."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where the browser may be reached (RFC 8839 section 5.1)."""

    foundation: str
    component: int
    transport: str
    priority: int
    host: str
    port: int
    kind: str


@dataclass(frozen=True, slots=True)
class Section:
    """An `m=` line as far as a refusal must repeat it."""

    kind: str
    protocol: str
    formats: str
    mid: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What we need of an offer; `audio` is the index in `sections` of the line that is accepted."""

    sections: tuple[Section, ...]
    audio: int
    opus: int
    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: str
    lite: bool
    bundled: bool
    candidates: tuple[Candidate, ...]
    text: str

    @property
    def controlling(self) -> bool:
        """Whether the ICE decisions are ours: only towards an ICE Lite peer (RFC 8445 section 6.1.1)."""
        return self.lite

    @property
    def active(self) -> bool:
        """Whether we begin the DTLS handshake (RFC 8842 section 5.3)."""
        return self.setup != "active"


@dataclass(frozen=True, slots=True)
class Local:
    """Our side, for the answer. `candidates` are the texts after `a=candidate:`."""

    ufrag: str
    pwd: str
    fingerprints: Sequence[tuple[str, str]]
    candidates: Sequence[str]
    ssrc: int
    cname: str


def parse(text: str) -> Offer:
    """An SDP offer -> what we need of it; raises BadOffer."""
    if len(text) > MAX_OFFER:
        raise BadOffer(f"offer of {len(text)} characters: at most {MAX_OFFER} are read")
    session, groups = _split(text)
    if not groups:
        raise BadOffer("offer has no m= line: add the microphone track before createOffer()")
    sections = tuple(_section(group) for group in groups)
    audio = next((i for i, s in enumerate(sections) if _usable(s, groups[i])), None)
    if audio is None:
        raise BadOffer("offer has no m=audio line over UDP/TLS/RTP/SAVPF that is in use")
    group = groups[audio]
    if "a=rtcp-mux" not in group:
        raise BadOffer("a=rtcp-mux is missing: RTP and RTCP must share a port")
    if "a=recvonly" in group or "a=inactive" in group:
        raise BadOffer("the audio line sends nothing: offer it as sendrecv, with the microphone track")
    both = (*group, *session)
    return Offer(
        sections=sections,
        audio=audio,
        opus=_opus(group),
        ufrag=_credential(both, "ice-ufrag", 4),
        pwd=_credential(both, "ice-pwd", 22),
        fingerprints=_fingerprints(both),
        setup=_setup(both),
        lite="a=ice-lite" in session,
        bundled=any(line.startswith("a=group:BUNDLE") for line in session),
        candidates=tuple(_candidates(group)),
        text=text,
    )


def answer(offer: Offer, local: Local) -> str:
    """The answer: the audio line accepted with our Opus settings, every other line refused."""
    mid = offer.sections[offer.audio].mid
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
    if offer.bundled and mid is not None:
        lines.append(f"a=group:BUNDLE {mid}")
    lines.append("a=msid-semantic: WMS *")
    for index, section in enumerate(offer.sections):
        lines += _accepted(offer, local) if index == offer.audio else _refused(section)
    return "\r\n".join(lines) + "\r\n"


def _accepted(offer: Offer, local: Local) -> list[str]:
    section = offer.sections[offer.audio]
    opus = offer.opus
    return [
        f"m=audio 9 {section.protocol} {opus}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        *([f"a=mid:{section.mid}"] if section.mid is not None else []),
        "a=sendrecv",
        "a=rtcp-mux",
        f"a=rtpmap:{opus} opus/48000/2",
        # Without this line Chrome sends no FEC, and stereo at full band for a mono telephone.
        f"a=fmtp:{opus} minptime=10;useinbandfec=1;maxaveragebitrate=24000;stereo=0;maxplaybackrate=16000",
        "a=ptime:20",
        "a=maxptime:60",
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.pwd}",
        *(f"a=fingerprint:{algorithm} {value}" for algorithm, value in local.fingerprints),
        f"a=setup:{'active' if offer.active else 'passive'}",
        f"a=msid:{local.cname} {local.cname}",
        f"a=ssrc:{local.ssrc} cname:{local.cname}",
        *(f"a=candidate:{candidate}" for candidate in local.candidates),
        "a=end-of-candidates",
    ]


def _refused(section: Section) -> list[str]:
    mid = [f"a=mid:{section.mid}"] if section.mid is not None else []
    return [f"m={section.kind} 0 {section.protocol} {section.formats}", "c=IN IP4 0.0.0.0", "a=inactive", *mid]


def _split(text: str) -> tuple[list[str], list[list[str]]]:
    session: list[str] = []
    groups: list[list[str]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        line = line.rstrip()
        if line.startswith("m="):
            groups.append([line])
        elif line:
            (groups[-1] if groups else session).append(line)
    return session, groups


def _section(group: list[str]) -> Section:
    found = _MEDIA.fullmatch(group[0])
    if found is None or not found[4].isprintable() or not found[4].isascii():
        raise BadOffer(f"{group[0][:80]!r} is no media line")
    mid = next((line.removeprefix("a=mid:") for line in group if line.startswith("a=mid:")), None)
    if mid is not None and not _TOKEN.fullmatch(mid):
        raise BadOffer(f"a=mid:{mid[:40]!r} is no token")
    return Section(kind=found[1], protocol=found[3], formats=found[4], mid=mid)


def _usable(section: Section, group: list[str]) -> bool:
    in_use = not group[0].startswith("m=audio 0 ") or "a=bundle-only" in group
    return section.kind == "audio" and section.protocol == "UDP/TLS/RTP/SAVPF" and in_use


def _opus(group: list[str]) -> int:
    for line in group:
        if found := re.fullmatch(r"(?i)a=rtpmap:(\d{1,3}) opus/48000/2", line):
            if int(found[1]) > 127:
                raise BadOffer(f"{line!r}: a payload type is at most 127")
            return int(found[1])
    raise BadOffer("the audio line offers no opus/48000/2")


def _values(lines: Sequence[str], name: str) -> list[str]:
    start = f"a={name}:"
    return [line.removeprefix(start).strip() for line in lines if line.startswith(start)]


def _credential(lines: Sequence[str], name: str, shortest: int) -> str:
    values = _values(lines, name)
    if not values:
        raise BadOffer(f"a={name} is missing")
    if not _TOKEN.fullmatch(values[0]) or len(values[0]) < shortest:
        raise BadOffer(f"a={name} must be {shortest} to 256 letters, digits, + or /")
    return values[0]


def _fingerprints(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = [m for value in _values(lines, "fingerprint") if (m := _FINGERPRINT.fullmatch(value))]
    if not found:
        raise BadOffer("a=fingerprint with sha-256, sha-384 or sha-512 is missing")
    return tuple((m[1].lower(), m[2].upper()) for m in found)


def _setup(lines: Sequence[str]) -> str:
    values = _values(lines, "setup")
    if not values or values[0] not in _SETUP:
        raise BadOffer(f"a=setup must be one of {', '.join(_SETUP)}")
    return values[0]


def _candidates(group: list[str]) -> list[Candidate]:
    """The usable ones. TCP, mDNS names and unreadable lines are left out, as RFC 8839 section 5.1 asks for
    what is not understood: a browser that hides behind a `.local` name is found by its own checks.
    """
    usable = []
    for value in _values(group, "candidate")[:_MAX_CANDIDATES]:
        found = re.fullmatch(r"(\S{1,32}) 1 (?i:udp) (\d{1,10}) (\S{1,64}) (\d{1,5}) typ (host|srflx|relay)\b.*", value)
        if found is None or not 0 < int(found[4]) < 65536:
            continue
        try:
            host = str(ipaddress.ip_address(found[3]))
        except ValueError:
            continue
        usable.append(Candidate(found[1], 1, "udp", int(found[2]) & 0xFFFFFFFF, host, int(found[4]), found[5]))
    return usable
