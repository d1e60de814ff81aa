"""The connection to a browser, where the whole path would not show it."""

import asyncio
import re

import aioice

from media import rtc, sdp
from media.network import Ports
from media.peer import Network
from media.rtp import Rtp, build
from tests.support.browser_leg import BrowserLeg
from tests.unit.media.test_sdp import CHROME


async def test_closing_that_is_interrupted_leaves_no_socket_open() -> None:
    async with BrowserLeg() as browser:
        offer = sdp.parse(await browser.offer())
    network = Network(Ports(None), ("127.0.0.1", "127.0.0.2"), (), 5.0)
    peer = rtc.FastPeer(offer, network, lambda _packet, _now: None)
    await peer.answer()
    sockets = [protocol.transport for protocol in peer._connection._protocols]
    assert len(sockets) == 2
    closing = asyncio.create_task(peer.close())
    async with asyncio.timeout(5):
        while not any(one.is_closing() for one in sockets):  # noqa: ASYNC110  turn by turn is the point
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        while not all(one.is_closing() for one in sockets):  # noqa: ASYNC110  transports tell only their protocol
            await asyncio.sleep(0)


async def test_what_nobody_reads_yet_is_bounded() -> None:
    peer = rtc.FastPeer(sdp.parse(CHROME), Network.local(1.0), lambda _packet, _now: None)
    for _ in range(10_000):
        peer._connection.data_received(b"\x16" + bytes(1000), 1)
    assert peer._connection._queue.qsize() <= 64


async def test_a_browser_has_few_streams() -> None:
    class Session:
        """Knows each stream for ever, as libsrtp does."""

        def __init__(self) -> None:
            self.streams: set[bytes] = set()

        def unprotect(self, data: bytes) -> bytes:
            self.streams.add(data[8:12])
            return data

    heard: list[Rtp] = []
    peer = rtc.FastPeer(sdp.parse(CHROME), Network.local(1.0), lambda packet, _now: heard.append(packet))
    session = Session()
    peer._dtls._rx_srtp = session  # type: ignore[assignment]
    for ssrc in range(1000):
        peer._rtp_in(build(Rtp(111, 1, 960, ssrc, b"x")), 1.0)
    assert len(session.streams) < 50
    for number in range(1000):
        peer._rtp_in(build(Rtp(111, number, 960, 3, b"x")), 1.0)
    assert len(heard) >= 1000


async def test_a_browser_whose_dtls_never_begins_is_given_up_and_leaves_nothing_open() -> None:
    browser = aioice.Connection(ice_controlling=True)
    await browser.gather_candidates()
    mine = "".join(f"a=candidate:{one.to_sdp()}\r\n" for one in browser.local_candidates)
    offer = re.sub(r"a=ice-ufrag:\S+", f"a=ice-ufrag:{browser.local_username}", CHROME)
    offer = re.sub(r"a=ice-pwd:\S+", f"a=ice-pwd:{browser.local_password}", offer)
    peer = rtc.FastPeer(sdp.parse(offer.rstrip() + "\r\n" + mine), Network.local(3.0), lambda _packet, _now: None)
    answer = await peer.answer()
    sockets = [protocol.transport for protocol in peer._connection._protocols]
    serving = asyncio.create_task(peer.serve(lambda: None))
    for found in re.findall(r"a=candidate:(.+)", answer):
        await browser.add_remote_candidate(aioice.Candidate.from_sdp(found.strip()))
    await browser.add_remote_candidate(None)
    browser.remote_username = re.findall(r"a=ice-ufrag:(\S+)", answer)[0]
    browser.remote_password = re.findall(r"a=ice-pwd:(\S+)", answer)[0]
    async with asyncio.timeout(20):
        await browser.connect()
        assert await serving == "dtls-failed"
        assert all(one.is_closing() for one in sockets)
        await browser.close()
