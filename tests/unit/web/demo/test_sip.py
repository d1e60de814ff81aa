"""SIP: messages as text, and two phones that call each other."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.demo.rtp import PCMA, PCMU
from web.demo.sip import SipCall, SipError, SipPhone
from web.demo.sipmessage import Message, parse_sdp, render, sdp, tag_of, uri_of
from web.demo.voice import Tone


@given(st.binary(max_size=300))
def test_parsing_never_fails(data: bytes) -> None:
    Message.parse(data)
    Message.parse(b"INVITE sip:a@b SIP/2.0\r\n" + data)


def test_a_message_comes_back_as_it_was_written() -> None:
    data = render(
        "OPTIONS sip:a@b SIP/2.0", {"Via": ["SIP/2.0/UDP h:1;branch=z9x", "SIP/2.0/UDP i"], "CSeq": "1 OPTIONS"}
    )
    message = Message.parse(data)
    assert message is not None
    assert (message.method, message.branch, message.reply_to) == ("OPTIONS", "z9x", ("h", 1))
    assert message.all("via") == ["SIP/2.0/UDP h:1;branch=z9x", "SIP/2.0/UDP i"]


def test_short_names_and_folded_lines() -> None:
    message = Message.parse(b"SIP/2.0 200 OK\r\ni: abc\r\nSubject: one\r\n two\r\nCSeq: 7 INVITE\r\n\r\n")
    assert message is not None
    assert (message.status, message.method) == (200, "INVITE")
    assert message.get("Call-ID") == "abc"
    assert message.get("subject") == "one two"


@pytest.mark.parametrize(
    ("address", "tag", "uri"),
    [
        ("<sip:a@b;x=1>;tag=t", "t", "sip:a@b;x=1"),
        ('"A;tag=no" <sip:a@b>', "", "sip:a@b"),
        ("sip:a@b;tag=q", "q", "sip:a@b"),
    ],
)
def test_addresses(address: str, tag: str, uri: str) -> None:
    assert (tag_of(address), uri_of(address)) == (tag, uri)


def test_session_descriptions() -> None:
    described = parse_sdp(sdp("127.0.0.1", 4000, [PCMU, PCMA], 2))
    assert described is not None
    assert (described.host, described.port, described.payload_types) == ("127.0.0.1", 4000, (0, 8, 101))
    assert parse_sdp("v=0\r\n") is None


async def test_two_phones_talk_and_one_hangs_up() -> None:
    async with SipPhone("anna", source=lambda: Tone(400)) as anna, SipPhone("ben", source=lambda: Tone(900)) as ben:
        call = await anna.call(ben.uri, headers={"X-Mark": "7"})
        leg = await ben.incoming.get()
        assert leg.header("X-Mark") == "7"
        assert leg.called == "ben"
        await asyncio.sleep(0.2)
        assert call.recording.trace(900).share() > 0.8
        assert leg.recording.trace(400).share() > 0.8
        await leg.hangup()
        async with asyncio.timeout(2):
            await call.ended.wait()
        assert (call.ended_by, leg.ended_by) == ("them", "us")
        assert not anna.calls
        assert not ben.calls


async def test_a_busy_phone_refuses() -> None:
    async def busy(call: SipCall) -> None:
        await call.hangup()

    async with SipPhone("anna") as anna, SipPhone("ben", on_call=busy) as ben:
        with pytest.raises(SipError, match="486") as refused:
            await anna.call(ben.uri)
        assert refused.value.status == 486


async def test_no_answer_is_cancelled() -> None:
    ringing: list[SipCall] = []

    async def ring(call: SipCall) -> None:
        ringing.append(call)

    async with SipPhone("anna") as anna, SipPhone("ben", on_call=ring) as ben:
        with pytest.raises(SipError, match="did not answer"):
            await anna.call(ben.uri, within=0.2)
        async with asyncio.timeout(2):
            await ringing[0].ended.wait()
        assert ringing[0].ended_by == "cancel"


async def test_a_codec_nobody_knows_is_not_acceptable() -> None:
    async with SipPhone("anna") as anna, SipPhone("ben") as ben:
        strange = type(PCMU)(99, "OPUS", 8000, PCMU.encode, PCMU.decode)
        anna.codec = strange
        with pytest.raises(SipError, match="488"):
            await anna.call(ben.uri)


async def test_a_phone_that_is_gone_does_not_hold_up_the_end() -> None:
    async with SipPhone("anna") as anna:
        async with SipPhone("ben") as ben:
            call = await anna.call(ben.uri)
            await ben.incoming.get()
            ben.calls.clear()  # it forgets the call, as a killed one does
        async with asyncio.timeout(5):
            await call.hangup()
        assert call.ended.is_set()
