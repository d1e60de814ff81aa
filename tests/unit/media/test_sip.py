"""The SIP door of a worker, called by a real phone over loopback, and by strangers."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from media import sip, ulaw
from media.audiosocket import Malformed
from media.frame import SAMPLES
from media.sip import PULSE, SipServer
from media.sipmessage import parse
from media.sippatch import SipPatch
from media.sipsdp import media_address
from web.demo.sip import SipError, SipPhone
from web.demo.sipmessage import render, sdp
from web.demo.tones import AGENT_HZ, CALLER_HZ, tone
from web.demo.voice import Tone

RATE = 16_000


@dataclass
class House:
    """The engine's part: who may come, and what is told."""

    expected: set[str] = field(default_factory=set)
    opened: list[SipPatch] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    intruders: list[tuple[str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def permits(self, host: str) -> bool:
        return host == "127.0.0.1"

    def admit(self, shown: str) -> int:
        if shown not in self.expected:
            raise Malformed("uuid not expected")
        self.expected.discard(shown)
        return 8000

    def patch_opened(self, patch: SipPatch) -> None:
        self.opened.append(patch)

    def patch_closed(self, patch: SipPatch, why: str) -> None:
        self.closed.append((patch.id, why))
        self.news.set()

    def intruder(self, peer: str, shown: str, why: str) -> None:
        self.intruders.append((shown, why))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[House, SipServer]]:
    house = House()
    server = SipServer(house, house)
    await server.start("127.0.0.1")
    try:
        yield house, server
    finally:
        server.stop()


def expect(house: House) -> str:
    patch = str(uuid.uuid4())
    house.expected.add(patch)
    return patch


async def test_sound_goes_both_ways_and_the_pbx_ends_it() -> None:
    async with serving() as (house, server), SipPhone("pbx", source=lambda: Tone(CALLER_HZ)) as phone:
        patch = expect(house)
        call = await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        [opened] = house.opened
        heard: list[Any] = []
        for tick in range(40):
            opened.send(opened.halver(tone(AGENT_HZ, SAMPLES, RATE, start=tick * SAMPLES)))
            heard.append(opened.receive())
            await asyncio.sleep(0.02)
        assert call.recording.trace(AGENT_HZ).share() > 0.8
        assert _power(np.concatenate(heard[10:]), CALLER_HZ) > 0.02
        assert opened.counts.sent == 40
        await call.hangup()
        assert house.closed == [(patch, "pbx-hangup")]
        assert opened.port == 0


def _power(sound: Any, hertz: float) -> float:
    wave = sound.astype(np.float64) / 32768
    return float(abs(np.exp(-2j * np.pi * hertz / RATE * np.arange(len(wave))) @ wave) / len(wave))


async def test_a_pulse_beats_as_long_as_sound_goes_out() -> None:
    async with serving() as (house, server), SipPhone("pbx", source=lambda: Tone(CALLER_HZ)) as phone:
        patch = expect(house)
        started = time.monotonic()
        call = await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        pulse = await phone.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}")
        [opened] = house.opened
        silence = np.zeros(SAMPLES // 2, dtype=np.int16)
        for _ in range(20):
            opened.send(silence)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while len(pulse.media.packets) < 4:  # noqa: ASYNC110 - a phone tells of no packet
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert (len(pulse.media.packets), opened.counts.sent) == (4, 20)
        assert opened.counts.received <= (time.monotonic() - started) / 0.02 + 5  # not the pulse's sound too
        await call.hangup()
        async with asyncio.timeout(5):
            await pulse.ended.wait()
        assert (pulse.ended_by, house.closed) == ("them", [(patch, "pbx-hangup")])


async def test_our_end_of_a_patch_ends_its_pulse_but_not_the_other_way_round() -> None:
    async with serving() as (house, server), SipPhone("pbx") as phone:
        patch = expect(house)
        call = await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        pulse = await phone.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}")
        await pulse.hangup()
        assert (house.closed, call.ended.is_set()) == ([], False)
        again = await phone.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}")
        house.opened[0].close()
        async with asyncio.timeout(5):
            await asyncio.gather(call.ended.wait(), again.ended.wait())
        assert house.closed == []


async def test_there_is_one_pulse_of_an_open_patch_and_none_of_another() -> None:
    async with serving() as (house, server), SipPhone("pbx") as phone:
        patch, closed = expect(house), expect(house)
        call = await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        await phone.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}")
        await (await phone.call(f"sip:{closed}@127.0.0.1:{server.port}")).hangup()
        for name in (patch, closed, str(uuid.uuid4())):
            with pytest.raises(SipError) as refused:
                await phone.call(f"sip:{name}{PULSE}@127.0.0.1:{server.port}")
            assert refused.value.status == 404
        await call.hangup()


async def test_what_goes_ahead_of_the_first_frame_is_silence_and_stays_away_when_it_is_late() -> None:
    async with serving() as (house, server), SipPhone("pbx") as phone:
        for late, ahead in ((False, {0, 1, 2, 3}), (True, {0})):
            call = await phone.call(f"sip:{expect(house)}@127.0.0.1:{server.port}")
            if late:
                house.opened[-1].accepted -= 1
            await asyncio.sleep(0.1)
            assert len(call.media.packets) in ahead
            assert not call.recording.trace(AGENT_HZ).share()


async def test_our_end_says_bye() -> None:
    async with serving() as (house, server), SipPhone("pbx") as phone:
        call = await phone.call(f"sip:{expect(house)}@127.0.0.1:{server.port}")
        house.opened[0].close()
        async with asyncio.timeout(5):
            await call.ended.wait()
        assert (call.ended_by, house.closed) == ("them", [])
        house.opened[0].close()


async def test_a_uuid_opens_once_and_a_stranger_nothing() -> None:
    async with serving() as (house, server), SipPhone("pbx") as phone:
        patch = expect(house)
        call = await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        for user in (patch, str(uuid.uuid4()), "1000"):
            with pytest.raises(SipError) as refused:
                await phone.call(f"sip:{user}@127.0.0.1:{server.port}")
            assert refused.value.status == 404
        assert len(house.opened) == 1
        assert [why for _, why in house.intruders] == ["uuid not expected"] * 3
        await call.hangup()


async def test_nobody_from_elsewhere_is_heard_or_answered() -> None:
    async with serving() as (house, server):
        patch = expect(house)
        answers = _answers(server)
        for _ in range(3):
            server.datagram_received(_invite(patch), ("192.0.2.1", 5060))
        assert (answers, house.opened, len(house.intruders)) == ([], [], 1)


async def test_sound_may_not_be_sent_elsewhere() -> None:
    async with serving() as (house, server):
        answers = _answers(server)
        server.datagram_received(_invite(expect(house), sdp_host="192.0.2.1"), ("127.0.0.1", 5060))
        assert answers[0].startswith(b"SIP/2.0 488")
        assert house.opened == []


async def test_a_repeated_invite_is_the_same_call_and_gets_the_same_answer() -> None:
    async with serving() as (house, server):
        answers = _answers(server)
        invite = _invite(expect(house))
        for _ in range(3):
            server.datagram_received(invite, ("127.0.0.1", 5060))
        assert len(house.opened) == 1
        assert len(set(answers)) == 1
        assert answers[0].startswith(b"SIP/2.0 200")


async def test_an_answer_without_ack_is_repeated_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip, "T1", 0.02)
    monkeypatch.setattr(sip, "GIVE_UP", 0.2)
    async with serving() as (house, server):
        answers = _answers(server)
        server.datagram_received(_invite(expect(house)), ("127.0.0.1", 5060))
        async with asyncio.timeout(5):
            await house.news.wait()
        assert len(answers) > 2
        assert house.closed[0][1] == "pbx-closed"


async def test_options_cancel_and_what_belongs_to_no_call() -> None:
    async with serving() as (house, server):
        answers = _answers(server)
        patch = expect(house)
        for method in ("OPTIONS", "BYE", "CANCEL", "INFO", "REGISTER", "SUBSCRIBE"):
            server.datagram_received(_invite(patch, method=method), ("127.0.0.1", 5060))
        assert [answer.split()[1] for answer in answers] == [b"200", b"481", b"481", b"481", b"405", b"405"]
        server.datagram_received(_invite(patch, branch="b1"), ("127.0.0.1", 5060))
        server.datagram_received(_invite(patch, method="ACK", tag="x"), ("127.0.0.1", 5060))
        server.datagram_received(_invite(patch, branch="b2", tag="x"), ("127.0.0.1", 5060))
        server.datagram_received(_invite(patch, method="INFO", branch="b3", tag="x"), ("127.0.0.1", 5060))
        assert [answer.split()[1] for answer in answers[6:]] == [b"200", b"200", b"200"]
        assert len(house.opened) == 1


async def test_a_re_invite_moves_the_sound() -> None:
    async with serving() as (house, server):
        _answers(server)
        patch = expect(house)
        server.datagram_received(_invite(patch), ("127.0.0.1", 5060))
        server.datagram_received(_invite(patch, branch="b2", tag="x", sdp_port=4002), ("127.0.0.1", 5060))
        assert house.opened[0].remote == ("127.0.0.1", 4002)
        server.datagram_received(_invite(patch, branch="b3", tag="x", sdp_host="192.0.2.1"), ("127.0.0.1", 5060))
        assert house.opened[0].remote == ("127.0.0.1", 4002)


def _answers(server: SipServer) -> list[bytes]:
    """What the server sends from now on, in place of the network."""
    sent: list[bytes] = []
    assert server._transport is not None
    cast("Any", server)._send = lambda data, peer: sent.append(data)
    return sent


def _invite(
    patch: str,
    *,
    method: str = "INVITE",
    branch: str = "b0",
    tag: str = "",
    sdp_host: str = "127.0.0.1",
    sdp_port: int = 4000,
) -> bytes:
    from web.demo.rtp import PCMU

    fields = {
        "Via": f"SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{branch}{method};rport",
        "From": "<sip:pbx@127.0.0.1>;tag=1",
        "To": f"<sip:{patch}@127.0.0.1>" + (f";tag={tag}" if tag else ""),
        "Call-ID": "call-1",
        "CSeq": f"1 {method}",
        "Contact": "<sip:pbx@127.0.0.1:5060>",
    }
    body = sdp(sdp_host, sdp_port, [PCMU], 1) if method == "INVITE" else ""
    return render(f"{method} sip:{patch}@127.0.0.1 SIP/2.0", fields, body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x00" * 100,
        b"INVITE sip:a@b SIP/2.0\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\nFrom: a\r\nFrom: b\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\nFrom: a\x00b\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\nFrom: a\nb: c\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
        b"SIP/2.0 999 No\r\nVia: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n",
        b"X" * 20_000,
    ],
)
def test_what_cannot_be_answered_is_no_message(data: bytes) -> None:
    assert parse(data) is None


@pytest.mark.parametrize(
    ("body", "address"),
    [
        ("c=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0 8\r\n", ("10.0.0.1", 4000)),
        ("c=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 0\nc=IN IP4 10.0.0.2\n", ("10.0.0.2", 4000)),
        ("c=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 0\nm=video 5000 RTP/AVP 96\nc=IN IP4 10.0.0.2\n", ("10.0.0.1", 4000)),
        ("m=audio 4000 RTP/AVP 0\n", None),
        ("c=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 8\n", None),
        ("c=IN IP4 10.0.0.1\nm=audio 0 RTP/AVP 0\n", None),
        ("c=IN IP4 10.0.0.1\nm=audio 99999 RTP/AVP 0\n", None),
        ("c=IN IP6 ::1\nm=audio 4000 RTP/AVP 0\n", None),
        ("c=IN IP4 evil.example\nm=audio 4000 RTP/AVP 0\n", None),
        ("", None),
    ],
)
def test_where_an_offer_wants_its_sound(body: str, address: tuple[str, int] | None) -> None:
    assert media_address(body) == address


def test_mu_law_comes_back_as_it_went() -> None:
    codes = bytes(range(256))
    again = ulaw.encode(ulaw.decode(codes))
    assert ulaw.decode(again).tolist() == ulaw.decode(codes).tolist()
    wave = np.arange(-32000, 32000, 7, dtype=np.int16)
    error = np.abs(ulaw.decode(ulaw.encode(wave)).astype(int) - wave)
    assert (error <= np.abs(wave.astype(int)) // 16 + 8).all()


async def test_late_and_repeated_packets_are_not_played() -> None:
    from media.rtp import Rtp, build

    patch = SipPatch("x", "127.0.0.1", ("127.0.0.1", 9), lambda: None)
    with suppress(OSError):
        for sequence in (10, 11, 11, 9, 12, 65000):
            patch._take(build(Rtp(0, sequence, sequence * 160, 1, bytes(160))))
    assert patch.counts.received == 3
    for data in (b"", b"\x80", bytes(12), build(Rtp(13, 13, 0, 1, b"\x00")), build(Rtp(0, 13, 0, 1, b""))):
        patch._take(data)
    assert patch.counts.received == 3
    patch.close()
