"""The connection to a browser, where the whole path would not show it."""

import asyncio

from media import rtc, sdp
from media.network import Ports
from media.peer import Network
from tests.support.browser_leg import BrowserLeg


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
