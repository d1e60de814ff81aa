"""The agent leg's transport: ICE and DTLS by aioice and aiortc, SRTP and RTP by ourselves.

aiortc's own media path costs seven times the CPU and adds 281 ms after one lost packet, so it is not used at
all: we put its ICE and DTLS objects together without `RTCPeerConnection`, take RTP off the ICE connection before
it reaches aiortc's queue, and send it on the pair that ICE has nominated. RTCP and DTLS go through aiortc.
Members that begin with an underscore are those of aiortc 1.16 and aioice 0.13; `selftest` proves them at start.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import aioice
import pylibsrtp
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, server_reflexive_candidate
from aiortc import RTCCertificate, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription, clock
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceParameters, RTCIceTransport, connection_kwargs
from aiortc.rtp import (
    AnyRtcpPacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    is_rtcp,
)

from . import opus, rtp, sdp, turn
from .datagrams import LONGEST, Datagrams
from .frame import SILENCE, Frame
from .network import host_addresses, split_public
from .peer import Network, OnPacket, PeerLost

log = logging.getLogger(__name__)

_SELFTEST = 15.0
_UNREAD = 64
"Packets of DTLS and RTCP that may wait. Nobody reads before ICE stands, and whoever finds the port may send."
_STREAMS = 16
"SSRCs that a browser may use in one connection. Each new one costs libsrtp memory, and all later packets time."


class _Stun(StunProtocol):
    """Lets nothing through that would raise further in, and spares RTP the attempt to be read as STUN.

    What is longer than libsrtp's buffer, `LONGEST`, would raise in aiortc's reader and end the leg; what is raised here
    comes out in the tick of all legs.
    """

    transport: Datagrams

    def __init__(self, connection: "_Connection") -> None:
        super().__init__(connection)
        self._connection = connection

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if isinstance(data, str) or not 0 < len(data) <= LONGEST:
            return
        if data[0] < 4:  # RFC 7983 section 7
            if self._concerns_us(data):
                self._stun_received(data, addr)
        elif data[0] & 0xC0 != 0x80:
            self._connection.data_received(data, 1)
        elif is_rtcp(data):
            self._connection.rtcp_arrived = self.transport.arrived
            self._connection.data_received(data, 1)
        else:
            self._connection.on_rtp(data, self.transport.arrived)

    def _concerns_us(self, data: bytes) -> bool:
        """Whether it answers us or names us. To refuse a stranger takes 31 us, this 1 (measured)."""
        return data[8:20] in self.transactions or b"%b:" % self._connection.local_username.encode() in data

    def _stun_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        try:
            super().datagram_received(data, addr)
        except Exception:  # noqa: BLE001  aioice has struct.error for a short attribute, KeyError for one that is missing
            log.debug("no STUN that aioice can read: %r", data)


class _Connection(aioice.Connection):
    """ICE on our own sockets: ports within a range, addresses as configured, RTP handed over at once."""

    def __init__(self, network: Network, on_rtp: Callable[[bytes, float], None], *, controlling: bool) -> None:
        servers = [RTCIceServer(s.url, s.username, s.credential) for s in turn.current(network.ice_servers, "worker")]
        super().__init__(ice_controlling=controlling, **connection_kwargs(servers))
        self._network = network
        self.on_rtp = on_rtp
        self.rtcp_arrived: float | None = None
        "When the latest came, monotonic seconds, where that is known."
        self._pair: CandidatePair | None = None
        self._turns: Datagrams | None = None

    def read(self) -> None:
        """Hands over what waits on the socket in use, which nothing else reads from now on; the others stay awake, as
        a browser moves to another pair while it is connected."""
        if (pair := self._nominated.get(1)) is not self._pair:
            self._pair = pair
            self._take_turns()
        if self._turns is not None:
            self._turns.read()

    def _take_turns(self) -> None:
        before, now = self._turns, self._pair.protocol.transport if self._pair is not None else None
        self._turns = now if isinstance(now, Datagrams) else None  # a relay's is aioice's own
        if before is not None:
            before.take_at_once()
        if self._turns is not None:
            self._turns.take_turns()

    async def gather_candidates(self) -> None:
        if self._local_candidates_start:
            return
        self._local_candidates_start = True
        own, translated = split_public(self._network.public_addresses, host_addresses())
        bound = [protocol for address in own if (protocol := self._bind(address))]
        if not bound:
            raise OSError(f"no UDP socket could be bound on {', '.join(own)}: {self._network.ports}")
        self._protocols += bound
        if not translated:
            self._local_candidates += [protocol.local_candidate for protocol in bound]
        else:
            self._local_candidates += [
                _host_candidate(address, bound[0].local_candidate.port) for address in translated
            ] + [p.local_candidate for p in bound if p.local_candidate.host in self._network.public_addresses]
        await self._ask_servers(bound)
        self._local_candidates_end = True

    async def _ask_servers(self, bound: list[StunProtocol]) -> None:
        if self.stun_server:
            for protocol in bound:
                try:
                    async with asyncio.timeout(2):
                        candidate, _ = await server_reflexive_candidate(protocol, self.stun_server)
                except (aioice.stun.TransactionError, OSError, TimeoutError):
                    continue  # a server that does not answer leaves us with the other candidates
                self._local_candidates.append(candidate)
        if self.turn_server:
            self._local_candidates += await self.get_component_candidates(1, [])

    def _bind(self, address: str) -> StunProtocol | None:
        sock = self._network.ports.bind(address)
        if sock is None:
            return None
        protocol = _Stun(self)
        sockname = sock.getsockname()
        protocol.local_candidate = _host_candidate(sockname[0], sockname[1])
        Datagrams(sock, protocol)
        return protocol

    def data_received(self, data: bytes, component: int) -> None:
        if data and data[0] & 0xC0 == 0x80 and not is_rtcp(data):
            self.on_rtp(data, time.monotonic())
        elif 0 < len(data) <= LONGEST and self._queue.qsize() < _UNREAD:
            super().data_received(data, component)


def _host_candidate(address: str, port: int) -> aioice.Candidate:
    return aioice.Candidate(
        foundation=candidate_foundation("host", "udp", address),
        component=1,
        transport="udp",
        priority=candidate_priority(1, "host"),
        host=address,
        port=port,
        type="host",
    )


class _Gatherer(RTCIceGatherer):
    def __init__(self, connection: _Connection) -> None:
        super().__init__(iceServers=[])
        self._connection = connection


class _Dtls(RTCDtlsTransport):
    """Hands RTCP to us, decrypted."""

    on_rtcp: Callable[[list[AnyRtcpPacket]], None]

    async def _handle_rtcp_data(self, data: bytes) -> None:
        try:
            packets = RtcpPacket.parse(data)
        except ValueError:
            return  # authenticated but unreadable: of a newer kind than we know
        self.on_rtcp(packets)


class FastPeer:
    """See `peer.Peer`."""

    def __init__(self, offer: sdp.Offer, network: Network, on_packet: OnPacket) -> None:
        self.up = False
        self.packets_out = 0
        self.reception: rtp.Reception | None = None
        self.lost_at_browser = 0.0
        self.rtt: float | None = None
        self.decoder = opus.Decoder()
        self._encoder = opus.Encoder()
        self._offer = offer
        self._patience = network.connect_s
        self._closing: asyncio.Task[None] | None = None
        self._on_packet = on_packet
        self._connection = _Connection(network, self._rtp_in, controlling=offer.controlling)
        self._ice = RTCIceTransport(_Gatherer(self._connection))
        self._dtls = _Dtls(self._ice, [RTCCertificate.generateCertificate()])
        self._dtls.on_rtcp = self._rtcp_in
        self._dtls._set_role("client" if offer.active else "server")  # noqa: SLF001  see the module docstring
        self._gone = asyncio.Event()
        self._ice.on("statechange", self._changed)
        self._dtls.on("statechange", self._changed)
        self._ssrc = secrets.randbits(32)
        self._streams: set[bytes] = set()
        self._sequence = secrets.randbits(15)
        self._origin = secrets.randbits(31)
        self._timestamp = self._origin
        self._octets = 0
        self._cname = secrets.token_hex(8)
        self._sender_report: tuple[int, float] | None = None
        self._heard_report: tuple[int, float] | None = None

    async def answer(self) -> str:
        """See `peer.Peer`."""
        await self._connection.gather_candidates()
        fingerprint = next(f for f in self._dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256")
        local = sdp.Local(
            ufrag=self._connection.local_username,
            pwd=self._connection.local_password,
            fingerprints=[(fingerprint.algorithm, fingerprint.value)],
            candidates=[candidate.to_sdp() for candidate in self._connection.local_candidates],
            ssrc=self._ssrc,
            cname=self._cname,
        )
        return sdp.answer(self._offer, local)

    async def serve(self, on_up: Callable[[], None]) -> str:
        """See `peer.Peer`."""
        try:
            async with asyncio.timeout(self._patience):
                await self._connect()
            self.up = True
            on_up()
            await self._gone.wait()
        except TimeoutError:
            return "ice-timeout" if self._ice.state == "checking" else "dtls-failed"
        except PeerLost as lost:
            return str(lost)
        else:
            return "browser-gone"
        finally:
            self.up = False
            await self.close()

    async def close(self) -> None:
        """See `peer.Peer`."""
        # A browser that leaves while we hang up cancels this half way: without the shield some sockets stayed open.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._dtls.stop()
        await self._ice.stop()

    def read(self) -> None:
        """See `peer.Peer`."""
        if self.up:
            self._connection.read()

    def send(self, frame: Frame, timestamp: int) -> None:
        """See `peer.Peer`."""
        payload = self._encoder.encode(frame)
        self._timestamp = (self._origin + timestamp) & 0xFFFFFFFF
        packet = rtp.packed(self._offer.opus, self._sequence, self._timestamp, self._ssrc, payload)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.packets_out += 1
        self._octets += len(payload)
        self._transmit(self._dtls._tx_srtp.protect(packet))  # noqa: SLF001  see the module docstring

    def report(self) -> None:
        """A sender report with what we know of the microphone stream.

        Without the report block Chrome never sends FEC; without the sender report there is no round trip time.
        """
        self._encoder.protect(self.lost_at_browser)
        ntp = clock.current_ntp_time()
        sender = RtcpSenderInfo(ntp, self._timestamp, self.packets_out & 0xFFFFFFFF, self._octets & 0xFFFFFFFF)
        self._sender_report = ((ntp >> 16) & 0xFFFFFFFF, time.monotonic())
        name = RtcpSourceInfo(ssrc=self._ssrc, items=[(1, self._cname.encode())])
        data = bytes(RtcpSrPacket(self._ssrc, sender, self._blocks())) + bytes(RtcpSdesPacket([name]))
        self._transmit(self._dtls._tx_srtp.protect_rtcp(data))  # noqa: SLF001  see the module docstring

    def _blocks(self) -> list[RtcpReceiverInfo]:
        if self.reception is None:
            return []
        block = self.reception.report()
        lsr, heard = self._heard_report or (0, 0.0)
        dlsr = int((time.monotonic() - heard) * 65536) & 0xFFFFFFFF if lsr else 0
        return [
            RtcpReceiverInfo(
                block.ssrc, block.fraction_lost, block.packets_lost, block.highest, block.jitter, lsr, dlsr
            )
        ]

    def _transmit(self, data: bytes) -> None:
        # Read anew for each packet: a browser moves to another pair while it is connected.
        pair = self._connection._nominated.get(1)  # noqa: SLF001  see the module docstring
        if pair is not None:
            pair.protocol.transport.sendto(data, pair.remote_addr)

    def _rtp_in(self, data: bytes, now: float) -> None:
        session = self._dtls._rx_srtp  # noqa: SLF001  see the module docstring
        if session is None or len(data) > LONGEST:
            return
        ssrc = data[8:12]
        if ssrc not in self._streams and len(self._streams) >= _STREAMS:
            return
        try:
            packet = rtp.parse(session.unprotect(data))
        except pylibsrtp.Error:
            return  # a replay, or not from our browser
        self._streams.add(ssrc)
        if packet is None or packet.payload_type != self._offer.opus:
            return
        if self.reception is None or self.reception.ssrc != packet.ssrc:
            self.reception = rtp.Reception(packet.ssrc)
        self.reception.add(packet, now)
        self._on_packet(packet, now)

    def _rtcp_in(self, packets: list[AnyRtcpPacket]) -> None:
        now = self._connection.rtcp_arrived or time.monotonic()
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                self._heard_report = ((packet.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF, now)
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                for block in packet.reports:
                    if block.ssrc == self._ssrc:
                        self._reported(block, now)

    def _reported(self, block: RtcpReceiverInfo, now: float) -> None:
        self.lost_at_browser = block.fraction_lost / 256
        if self._sender_report and block.lsr == self._sender_report[0]:
            self.rtt = max(0.0, now - self._sender_report[1] - block.dlsr / 65536)

    async def _connect(self) -> None:
        for candidate in self._offer.candidates:
            c = candidate
            await self._connection.add_remote_candidate(
                aioice.Candidate(c.foundation, c.component, c.transport, c.priority, c.host, c.port, c.kind)
            )
        # No end-of-candidates: a browser that hides its addresses has none that we can read, and
        # aioice would give up at once instead of waiting for the browser's own checks. The timeout in `serve` ends it.
        await self._ice.start(RTCIceParameters(self._offer.ufrag, self._offer.pwd, self._offer.lite))
        if self._ice.state != "completed":
            raise PeerLost("ice-failed")
        fingerprints = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in self._offer.fingerprints]
        await self._dtls.start(RTCDtlsParameters(fingerprints=fingerprints))
        if self._dtls.state != "connected":
            raise PeerLost("dtls-failed")

    def _changed(self) -> None:
        if self._dtls.state in ("closed", "failed") or self._ice.state in ("closed", "failed"):
            self._gone.set()


async def selftest() -> None:
    """A call to ourselves over loopback: proves the members we use and warms everything that is slow at first.

    The first connection of a process blocks its loop for up to 176 ms (measured); better now than in a call.
    Raises PeerLost with a sentence for the administrator.
    """
    try:
        await _call_ourselves()
    except (AttributeError, TypeError, ImportError) as fault:
        found = ", ".join(f"{name} {version(name)}" for name in ("aiortc", "aioice"))
        raise PeerLost(f"{found} cannot carry the sound (made for aiortc 1.16, aioice 0.13): {fault}") from fault


async def _call_ourselves() -> None:
    heard = asyncio.Event()
    browser = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    browser.addTransceiver("audio")
    await browser.setLocalDescription(await browser.createOffer())
    peer = FastPeer(sdp.parse(browser.localDescription.sdp), Network.local(_SELFTEST), lambda _packet, _now: None)
    await browser.setRemoteDescription(RTCSessionDescription(await peer.answer(), "answer"))
    task = asyncio.create_task(peer.serve(heard.set))
    try:
        async with asyncio.timeout(_SELFTEST):
            await heard.wait()
        peer.send(SILENCE, 0)
        peer.report()
    except TimeoutError:
        raise PeerLost("the worker could not connect to itself over ICE and DTLS: is UDP filtered here?") from None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await browser.close()
