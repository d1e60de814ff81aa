"""SIP and SDP from nobody knows whom: no exception, no call without an expected uuid."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from media.audiosocket import Malformed
from media.sip import SipServer
from media.sipmessage import parse
from media.sippatch import SipPatch
from media.sipsdp import offered

METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE", "REGISTER", "invite", "")
LINES = st.sampled_from(
    [
        "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1",
        "v: x",
        "From: <sip:a@b>;tag=1",
        "f: a",
        "To: <sip:b@c>",
        "To: <sip:b@c>;tag=2",
        "Call-ID: 1",
        "i: 1",
        "CSeq: 1 INVITE",
        "CSeq: 2 BYE",
        "CSeq: x",
        "Contact: <sip:a@127.0.0.1>",
        "Content-Length: -1",
        " folded",
        ":",
        "\x00",
    ]
)
BODIES = st.one_of(
    st.text(max_size=200),
    st.just("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n"),
    st.lists(
        st.sampled_from(
            [
                "c=IN IP4 127.0.0.1",
                "c=IN IP4 1.2.3.999",
                "m=audio 4 RTP/AVP 0",
                "m=audio 4 RTP/AVP 118",
                "a=rtpmap:118 L16/16000",
                "a=rtpmap:x",
                "m=audio",
                "c=",
                "m=audio 9 x y",
                "=",
            ]
        )
    ).map("\r\n".join),
)


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(st.binary(max_size=400))
    first = draw(st.sampled_from([*(f"{method} sip:x@y SIP/2.0" for method in METHODS), "SIP/2.0 200 OK", "SIP/2.0 0"]))
    lines = draw(st.lists(LINES, max_size=12))
    return ("\r\n".join([first, *lines]) + "\r\n\r\n" + draw(BODIES)).encode("utf-8", "surrogatepass")


@given(datagrams())
def test_parsing_is_total(data: bytes) -> None:
    message = parse(data)
    if message is not None:
        assert message.via
        assert message.branch is not None
        assert message.user is not None
        assert message.contact is not None
        offered(message.body)


class Nobody:
    """Lets nobody in."""

    def permits(self, host: str) -> bool:
        return True

    def expects(self, shown: str) -> bool:
        return False

    def admit(self, shown: str) -> int:
        raise Malformed("uuid not expected")

    def patch_opened(self, patch: SipPatch) -> None:
        raise AssertionError("a patch was opened")

    def patch_closed(self, patch: SipPatch, why: str) -> None:
        raise AssertionError("a patch was closed")

    def intruder(self, peer: str, shown: str, why: str) -> None:
        pass


@given(st.lists(datagrams(), max_size=8))
def test_the_server_survives_and_opens_nothing(data: list[bytes]) -> None:
    async def play() -> None:
        server = SipServer(Nobody(), Nobody())
        for one in data:
            server.datagram_received(one, ("127.0.0.1", 5060))
        assert not server._dialogs

    asyncio.run(play())
