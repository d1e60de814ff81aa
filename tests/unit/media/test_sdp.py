"""Offers as Chromium and Firefox write them, and the answer they must get.

`tests/data/sdp` has what the panel sent on 2026-11-23: Firefox 140.12 (`tests.bench.firefox --record`), Chromium 156.0.
"""

from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription

from media import sdp
from media.sdp import BadOffer, Local

FINGERPRINT = ":".join(f"{n:02X}" for n in range(32))

CHROME = "\r\n".join([
    "v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0",
    "a=extmap-allow-mixed", "a=msid-semantic: WMS stream",
    "m=audio 56143 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126",
    "c=IN IP4 192.0.2.33", "a=rtcp:9 IN IP4 0.0.0.0",
    "a=candidate:1467250027 1 udp 2122260223 192.0.2.33 56143 typ host generation 0 network-id 1 network-cost 10",
    "a=candidate:1467250027 1 udp 2122260223 0f6b9ae1-8a5c-4b22-a6b8-8b7a1c0b6e54.local 56144 typ host generation 0",
    "a=candidate:435653019 1 tcp 1518280447 192.0.2.33 9 typ host tcptype active generation 0",
    "a=candidate:842163049 1 udp 1677729535 203.0.113.9 61000 typ srflx raddr 192.0.2.33 rport 56143",
    "a=ice-ufrag:yxYb", "a=ice-pwd:05iMxO9GujD2fUWXSoi0ByNd", "a=ice-options:trickle",
    f"a=fingerprint:sha-256 {FINGERPRINT}", "a=setup:actpass", "a=mid:0",
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level", "a=sendrecv", "a=msid:stream track", "a=rtcp-mux",
    "a=rtcp-rsize", "a=rtpmap:111 opus/48000/2", "a=rtcp-fb:111 transport-cc", "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111", "a=rtpmap:9 G722/8000", "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:8 PCMA/8000", "a=rtpmap:13 CN/8000", "a=rtpmap:110 telephone-event/48000",
    "a=rtpmap:126 telephone-event/8000", "a=ssrc:1001 cname:4TOk42mSjXCkVIa6", "",
])  # fmt: skip

TWO_LINES = "\r\n".join([
    "v=0", "o=mozilla...THIS_IS_SDPARTA-99.0 5107567103471093450 0 IN IP4 0.0.0.0", "s=-", "t=0 0",
    f"a=fingerprint:sha-256 {FINGERPRINT}", "a=group:BUNDLE 0 1", "a=ice-options:trickle", "a=msid-semantic:WMS *",
    "m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101", "c=IN IP4 0.0.0.0", "a=sendrecv",
    "a=candidate:0 1 UDP 2122252543 a4d6b3a2-1c5e-4b47-9d0c-3c1c2f0d7c1e.local 49203 typ host",
    "a=end-of-candidates", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "a=fmtp:109 maxplaybackrate=48000;stereo=1",
    "a=ice-pwd:1f5a6f1c33d6e3b2a1c0d9e8f7a6b5c4", "a=ice-ufrag:6e1a2b3c", "a=mid:0", "a=rtcp-mux",
    "a=rtpmap:109 opus/48000/2", "a=rtpmap:9 G722/8000/1", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:101 telephone-event/8000/1", "a=setup:actpass", "a=ssrc:2002 cname:{x}",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=sendrecv", "a=mid:1",
    "a=setup:actpass", "a=sctp-port:5000", "a=max-message-size:1073741823", "",
])  # fmt: skip

RECORDED = {path.stem: path.read_bytes().decode() for path in (Path(__file__).parents[2] / "data/sdp").glob("*.sdp")}

LOCAL = Local("ufr1", "p" * 22, [("sha-256", FINGERPRINT)], ["1 1 udp 2130706431 192.0.2.1 40000 typ host"], 77, "cn")


def without(text: str, start: str) -> str:
    return "\r\n".join(line for line in text.split("\r\n") if not line.startswith(start))


def test_a_chrome_offer() -> None:
    offer = sdp.parse(CHROME)
    assert (offer.opus, offer.ufrag, offer.setup) == (111, "yxYb", "actpass")
    assert offer.fingerprints == (("sha-256", FINGERPRINT),)
    assert offer.active
    assert not offer.controlling
    assert [(c.host, c.port, c.kind) for c in offer.candidates] == [
        ("192.0.2.33", 56143, "host"),
        ("203.0.113.9", 61000, "srflx"),
    ]


def test_an_offer_with_session_level_fingerprint_and_only_a_hidden_address() -> None:
    offer = sdp.parse(TWO_LINES)
    assert offer.opus == 109
    assert offer.candidates == ()
    assert offer.fingerprints == (("sha-256", FINGERPRINT),)


@pytest.mark.parametrize(("browser", "opus"), [("chromium", 111), ("firefox", 109)])
def test_the_offers_of_real_browsers(browser: str, opus: int) -> None:
    offer = sdp.parse(RECORDED[browser])
    assert (offer.opus, offer.active, offer.controlling) == (opus, True, False)
    assert [(algorithm, len(value)) for algorithm, value in offer.fingerprints] == [("sha-256", 95)]


@pytest.mark.parametrize("text", [CHROME, TWO_LINES, *RECORDED.values()])
def test_the_answer_mirrors_the_offers_lines(text: str) -> None:
    offer = sdp.parse(text)
    answer = sdp.answer(offer, LOCAL)
    parsed, asked = SessionDescription.parse(answer), SessionDescription.parse(text)
    assert [m.kind for m in parsed.media] == [m.kind for m in asked.media]
    assert [m.rtp.muxId for m in parsed.media] == [m.rtp.muxId for m in asked.media]
    audio = parsed.media[0]
    assert audio.rtcp_mux
    assert audio.direction == "sendrecv"
    assert audio.dtls is not None
    assert audio.dtls.role == "client"
    assert [codec.payloadType for codec in audio.rtp.codecs] == [offer.opus]
    assert [candidate.ip for candidate in audio.ice_candidates] == ["192.0.2.1"]
    assert all(m.port == 0 for m in parsed.media[1:])
    assert [str(group) for group in parsed.group] == ["BUNDLE 0"]


def test_the_answer_asks_for_error_correction_in_mono() -> None:
    answer = sdp.answer(sdp.parse(CHROME), LOCAL)
    line = next(line for line in answer.split("\r\n") if line.startswith("a=fmtp:"))
    assert line == "a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=24000;stereo=0;maxplaybackrate=16000"


def test_an_active_browser_is_waited_for() -> None:
    offer = sdp.parse(CHROME.replace("a=setup:actpass", "a=setup:active"))
    assert not offer.active
    assert "a=setup:passive" in sdp.answer(offer, LOCAL)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "m= line"),
        ("v=0", "m= line"),
        (without(CHROME, "a=ice-ufrag"), "a=ice-ufrag"),
        (without(CHROME, "a=ice-pwd"), "a=ice-pwd"),
        (without(CHROME, "a=fingerprint"), "a=fingerprint"),
        (without(CHROME, "a=setup"), "a=setup"),
        (without(CHROME, "a=rtcp-mux"), "a=rtcp-mux"),
        (without(CHROME, "a=rtpmap:111"), "opus/48000/2"),
        (CHROME.replace("a=sendrecv", "a=recvonly"), "sends nothing"),
        (CHROME.replace("m=audio", "m=video"), "m=audio"),
        (CHROME.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "m=audio"),
        (CHROME.replace("a=ice-pwd:05iMxO9GujD2fUWXSoi0ByNd", "a=ice-pwd:short"), "a=ice-pwd"),
        (CHROME.replace("sha-256", "md5"), "a=fingerprint"),
        (CHROME + "a=x:" + "y" * 70_000, "at most"),
    ],
)
def test_what_is_missing_is_named(text: str, named: str) -> None:
    with pytest.raises(BadOffer, match=named):
        sdp.parse(text)


def test_nothing_of_the_offer_can_write_a_line_into_the_answer() -> None:
    for hostile in ("a=mid:0\ra=setup:passive", "a=mid:0 a=b", "a=mid:" + "x" * 300):
        with pytest.raises(BadOffer):
            sdp.parse(CHROME.replace("a=mid:0", hostile))
