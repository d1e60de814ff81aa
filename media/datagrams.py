"""A UDP socket that is read when its leg's turn comes, instead of waking the worker for each packet.

Fifty packets per second and session, each with a wake of its own, cost more than what is done with them. The kernel
notes when each one came, so the wait until it is read is not taken for jitter of the network.
"""

import asyncio
import select
import socket
import struct
import sys
import time
from typing import Any

LONGEST = 1500
"Bytes; of a longer datagram one more is read, which tells it from one of just this length."
_AT_ONCE = 64
"Datagrams handed over in one turn: more than a second of sound, and no flood can hold up the tick."
_LATEST = 2.0
"Seconds a datagram can have waited; more is a step of the wall clock, which the kernel's note is of."
_TIMESTAMPNS = 35
"SO_TIMESTAMPNS of Linux (asm-generic/socket.h), for which Python has no name. Nothing else comes as a note."
_TIME = struct.Struct("@ll")
_NOTE = socket.CMSG_SPACE(_TIME.size)


class Datagrams(asyncio.DatagramTransport):
    """The transport of one protocol. Until `take_turns` it hands over what comes at once, from then on in `read`."""

    def __init__(self, sock: socket.socket, protocol: asyncio.DatagramProtocol) -> None:
        """`sock`: bound and not blocking; it is ours from now on."""
        super().__init__({"socket": sock, "sockname": sock.getsockname()})
        self.arrived = 0.0
        "When the datagram that is just being handed over came, monotonic seconds."
        self._socket = sock
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._waiting = select.poll()
        self._waiting.register(sock, select.POLLIN)
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
        self._loop.add_reader(sock, self.read)
        protocol.connection_made(self)

    def take_turns(self) -> None:
        """From now on nothing is read but in `read`."""
        self._loop.remove_reader(self._socket)

    def take_at_once(self) -> None:
        """The end of `take_turns`."""
        if not self._closing:
            self._loop.add_reader(self._socket, self.read)

    def read(self) -> None:
        """Hands over what has come."""
        for _ in range(_AT_ONCE):
            if self._closing:
                return
            try:
                data, notes, _, source = self._socket.recvmsg(LONGEST + 1, _NOTE)
            except BlockingIOError:
                return
            except OSError as fault:  # word of an earlier datagram that did not get through
                self._protocol.error_received(fault)
                continue
            self.arrived = _moment(notes)
            self._protocol.datagram_received(data, source)
            # Mostly that was all, and to be refused the next one costs four times as much as to ask for it.
            if not self._waiting.poll(0):
                return

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Sends now or never: sound that waits for room in the kernel is of no use to anyone."""
        if self._closing:
            return
        try:
            self._socket.sendto(data, addr)
        except BlockingIOError:
            pass
        except OSError as fault:
            self._protocol.error_received(fault)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Idempotent."""
        if not self._closing:
            self._closing = True
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


def _moment(notes: list[tuple[int, int, bytes]]) -> float:
    """When the datagram with these notes of the kernel came, monotonic seconds; now where there are none."""
    now = time.monotonic()
    if not notes:
        return now
    seconds, nanoseconds = _TIME.unpack(notes[0][2])
    waited = time.time() - seconds - nanoseconds * 1e-9
    return now - waited if 0 < waited < _LATEST else now
