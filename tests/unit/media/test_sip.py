"""The SIP door of a worker, called by a real phone over loopback, and by strangers."""

import asyncio
import socket
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
from media.frame import SAMPLES, SILENCE, Frame
from media.sip import PULSE, SipServer
from media.sipmessage import parse
from media.sippatch import SipPatch
from media.sipsdp import Line, Offer, answer, offered
from web.demo.rtp import L16, PCMA, PCMU, Codec
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
    rate: int = 8000
    intruders: list[tuple[str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def permits(self, host: str) -> bool:
        return host == "127.0.0.1"

    def expects(self, shown: str) -> bool:
        return shown in self.expected

    def admit(self, shown: str) -> int:
        if shown not in self.expected:
            raise Malformed("uuid not expected")
        self.expected.discard(shown)
        return self.rate

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


@pytest.mark.parametrize(("codec", "agent", "caller"), [(PCMU, AGENT_HZ, CALLER_HZ), (L16, 6500, 6100)])
async def test_sound_goes_both_ways_and_the_pbx_ends_it(codec: Codec, agent: int, caller: int) -> None:
    async with serving() as (house, server), SipPhone("pbx", codec=codec, source=lambda: Tone(caller)) as phone:
        house.rate = codec.rate
        patch = expect(house)
        call = await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        [opened] = house.opened
        heard: list[Frame] = []
        for tick in range(40):
            sound = tone(agent, SAMPLES, RATE, start=tick * SAMPLES)
            opened.send(opened.halver(sound) if opened.halver else sound)
            heard.append(opened.receive())
            await asyncio.sleep(0.02)
        assert call.recording.trace(agent).share() > 0.8
        assert {packet.payload_type for packet in call.media.packets} == {codec.payload_type}
        said = [frame for frame in heard if frame is not SILENCE]
        assert {len(frame) for frame in said} == {codec.rate // 50}
        assert max(_power(frame, caller, codec.rate) for frame in said) > 0.1  # sent with 0.125
        assert opened.counts.sent == 40
        await call.hangup()
        assert house.closed == [(patch, "pbx-hangup")]
        assert opened.port == 0


def _power(sound: Frame, hertz: float, rate: int) -> float:
    wave = sound.astype(np.float64) / 32768
    return float(abs(np.exp(-2j * np.pi * hertz / rate * np.arange(len(wave))) @ wave) / len(wave))


@pytest.mark.parametrize(("rate", "codec"), [(16_000, PCMU), (8000, L16)])
async def test_a_line_at_another_rate_than_was_agreed_is_spoken_to_as_it_wants(rate: int, codec: Codec) -> None:
    async with serving() as (house, server), SipPhone("pbx", codec=codec) as phone:
        house.rate = rate
        call = await phone.call(f"sip:{expect(house)}@127.0.0.1:{server.port}")
        [opened] = house.opened
        assert (opened.line.rate, opened.halver is None) == (codec.rate, codec is L16)
        await call.hangup()


async def test_a_pulse_is_narrow_beside_a_wide_line() -> None:
    async with serving() as (house, server), SipPhone("pbx") as narrow, SipPhone("pbx", codec=L16) as wide:
        house.rate = 16_000
        patch = expect(house)
        call = await wide.call(f"sip:{patch}@127.0.0.1:{server.port}")
        with pytest.raises(SipError) as refused:
            await wide.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}")
        assert refused.value.status == 488
        pulse = await narrow.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}")
        for _ in range(10):
            house.opened[0].send(np.zeros(SAMPLES, dtype=np.int16))
        async with asyncio.timeout(5):
            while len(pulse.media.packets) < 2:  # noqa: ASYNC110 - a phone tells of no packet
                await asyncio.sleep(0.01)
        assert [packet.payload_type for packet in pulse.media.packets] == [0, 0]
        assert [len(sound) for _, sound in pulse.recording.frames] == [160, 160]
        await call.hangup()


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


async def test_a_pulse_that_overtakes_its_patch_is_answered_when_it_comes_again() -> None:
    async with serving() as (house, server), SipPhone("pbx") as phone:
        patch = expect(house)
        early = asyncio.create_task(phone.call(f"sip:{patch}{PULSE}@127.0.0.1:{server.port}"))
        await asyncio.sleep(0.1)
        await phone.call(f"sip:{patch}@127.0.0.1:{server.port}")
        await early
        assert house.opened[0].pulse is not None


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
        answers = _answers(server)
        patch = expect(house)
        server.datagram_received(_invite(patch), ("127.0.0.1", 5060))
        server.datagram_received(_invite(patch, branch="b2", tag="x", sdp_port=4002), ("127.0.0.1", 5060))
        assert house.opened[0].line == Line("127.0.0.1", 4002)
        for branch, wrong in (("b3", {"sdp_host": "192.0.2.1"}), ("b4", {"codec": L16}), ("b5", {"codec": PCMA})):
            server.datagram_received(_invite(patch, branch=branch, tag="x", **wrong), ("127.0.0.1", 5060))
            assert answers[-1].startswith(b"SIP/2.0 488")
            assert house.opened[0].line == Line("127.0.0.1", 4002)


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
    codec: Codec = PCMU,
) -> bytes:
    fields = {
        "Via": f"SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{branch}{method};rport",
        "From": "<sip:pbx@127.0.0.1>;tag=1",
        "To": f"<sip:{patch}@127.0.0.1>" + (f";tag={tag}" if tag else ""),
        "Call-ID": "call-1",
        "CSeq": f"1 {method}",
        "Contact": "<sip:pbx@127.0.0.1:5060>",
    }
    body = sdp(sdp_host, sdp_port, [codec], 1) if method == "INVITE" else ""
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


BODY = "c=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP"
L16_WIDE = "a=rtpmap:118 L16/16000\r\n"
NARROW, WIDE, BOTH = {8000: 0}, {16_000: 118}, {16_000: 118, 8000: 0}


@pytest.mark.parametrize(
    ("body", "offer"),
    [
        (f"{BODY} 0 8\r\n", Offer("10.0.0.1", 4000, NARROW)),
        ("c=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 0\nc=IN IP4 10.0.0.2\n", Offer("10.0.0.2", 4000, NARROW)),
        (f"{BODY} 0\nm=video 5000 RTP/AVP 96\nc=IN IP4 10.0.0.2\n", Offer("10.0.0.1", 4000, NARROW)),
        (f"{BODY} 118\r\n{L16_WIDE}", Offer("10.0.0.1", 4000, WIDE)),
        (f"{BODY} 118\r\na=rtpmap:118 l16/16000/1\r\n", Offer("10.0.0.1", 4000, WIDE)),
        (f"{BODY} 0 118 101\r\n{L16_WIDE}a=rtpmap:101 telephone-event/16000\r\n", Offer("10.0.0.1", 4000, BOTH)),
        (f"{BODY} 0 118\r\na=rtpmap:118 L16/8000\r\n", Offer("10.0.0.1", 4000, NARROW)),
        (f"{BODY} 0 118\r\na=rtpmap:118 L16/16000/2\r\n", Offer("10.0.0.1", 4000, NARROW)),
        (f"{BODY} 0 11\r\na=rtpmap:11 L16/16000\r\n", Offer("10.0.0.1", 4000, NARROW)),
        (f"{BODY} 0 118\r\na=rtpmap:118 PCMA/8000\r\n{L16_WIDE}", Offer("10.0.0.1", 4000, NARROW)),
        (f"{BODY} 0\r\nm=audio 4002 RTP/AVP 118\r\n{L16_WIDE}", Offer("10.0.0.1", 4000, NARROW)),
        (f"{L16_WIDE}{BODY} 118\r\n", None),
        (f"{BODY} 118\r\n", None),
        (f"{BODY} 119\r\n{L16_WIDE}", None),
        (f"{BODY} 118\r\na=rtpmap:١١٨ L16/16000\r\n", None),
        ("m=audio 4000 RTP/AVP 0\n", None),
        ("c=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 8\n", None),
        ("c=IN IP4 10.0.0.1\nm=audio 0 RTP/AVP 0\n", None),
        ("c=IN IP4 10.0.0.1\nm=audio 99999 RTP/AVP 0\n", None),
        ("c=IN IP6 ::1\nm=audio 4000 RTP/AVP 0\n", None),
        ("c=IN IP4 evil.example\nm=audio 4000 RTP/AVP 0\n", None),
        ("c=IN IP4 10.0.0.999\nm=audio 4000 RTP/AVP 0\n", None),
        ("c=IN IP4 ١٠.0.0.1\nm=audio 4000 RTP/AVP 0\n", None),
        ("", None),
    ],
)
def test_what_an_offer_has_for_us(body: str, offer: Offer | None) -> None:
    assert offered(body) == offer


@pytest.mark.parametrize(
    ("offer", "rate", "line"), [(BOTH, 8000, (8000, 0)), (BOTH, 16_000, (16_000, 118)), (NARROW, 16_000, (8000, 0))]
)
def test_an_answer_is_what_was_chosen_and_can_be_read_again(
    offer: dict[int, int], rate: int, line: tuple[int, int]
) -> None:
    chosen = Offer("10.0.0.1", 4000, offer).best(rate)
    assert (chosen.rate, chosen.payload_type) == line
    assert offered(answer("10.0.0.2", 5000, 1, chosen)) == Offer("10.0.0.2", 5000, dict([line]))


def test_mu_law_comes_back_as_it_went() -> None:
    codes = bytes(range(256))
    again = ulaw.encode(ulaw.decode(codes))
    assert ulaw.decode(again).tolist() == ulaw.decode(codes).tolist()
    wave = np.arange(-32000, 32000, 7, dtype=np.int16)
    error = np.abs(ulaw.decode(ulaw.encode(wave)).astype(int) - wave)
    assert (error <= np.abs(wave.astype(int)) // 16 + 8).all()


async def test_late_and_repeated_packets_are_not_played() -> None:
    from media.rtp import Rtp, build

    patch = SipPatch("x", "127.0.0.1", Line("127.0.0.1", 9), lambda: None)
    with suppress(OSError):
        for sequence in (10, 11, 11, 9, 12, 65000):
            patch._take(build(Rtp(0, sequence, sequence * 160, 1, bytes(160))))
    assert patch.counts.received == 3
    for data in (b"", b"\x80", bytes(12), build(Rtp(13, 13, 0, 1, b"\x00")), build(Rtp(0, 13, 0, 1, b""))):
        patch._take(data)
    assert patch.counts.received == 3
    patch.close()


async def test_of_samples_as_they_are_only_whole_ones_count_and_their_number_is_free() -> None:
    from media.rtp import Rtp, build

    patch = SipPatch("x", "127.0.0.1", Line("127.0.0.1", 9, 16_000, 118), lambda: None)
    sound = np.arange(-480, 480, dtype=np.int16)
    sizes = (1, 639, 641, 640, 640, 320, 320)
    for sequence, size in enumerate(sizes):
        patch._take(build(Rtp(118, sequence, 0, 1, sound.astype(">i2").tobytes()[:size])))
    patch._take(build(Rtp(0, len(sizes), 0, 1, bytes(160))))  # PCMU, which was not agreed
    assert patch.counts.received == 4
    played = [patch.receive() for _ in range(4)]
    assert [len(frame) for frame in played] == [320] * 4
    assert played[0].tolist() == sound[:320].tolist()
    assert played[2].tolist() == [*sound[:160].tolist()] * 2
    patch.close()


async def test_from_the_first_tick_on_its_sound_is_read_in_its_ticks_alone() -> None:
    from media.rtp import Rtp, build

    patch = SipPatch("x", "127.0.0.1", Line("127.0.0.1", 9), lambda: None)
    patch.receive()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for sequence in range(3):
            sock.sendto(build(Rtp(0, sequence, sequence * 160, 1, bytes(160))), ("127.0.0.1", patch.port))
    await asyncio.sleep(0.1)
    assert patch.counts.received == 0
    patch.receive()
    assert patch.counts.received == 3
    patch.close()
    patch.receive()
