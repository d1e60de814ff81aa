"""Which addresses and ports browsers are offered."""

import errno
import ipaddress
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import ifaddr

_RECEIVE_BUFFER = 256 * 1024
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


@dataclass(frozen=True, slots=True)
class Ports:
    """The UDP ports that may be used, first and last; None leaves the choice to the system."""

    limits: tuple[int, int] | None

    def bind(self, address: str) -> socket.socket | None:
        """A socket on a free port of the range; None if the address or all of the range cannot be had."""
        if self.limits is None:
            return _try(address, 0)[0]
        ports = list(range(self.limits[0], self.limits[1] + 1))
        # From a random place, as several workers share the range.
        start = random.randrange(len(ports))  # noqa: S311  spreads, hides nothing
        for port in ports[start:] + ports[:start]:
            sock, fault = _try(address, port)
            if sock is not None:
                return sock
            if fault not in _TAKEN:
                return None
        return None

    def __str__(self) -> str:
        return f"UDP ports {self.limits[0]}-{self.limits[1]}" if self.limits else "any UDP port"


def _try(address: str, port: int) -> tuple[socket.socket | None, int | None]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind((address, port))
    except OSError as fault:
        sock.close()
        return None, fault.errno
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return sock, None


def host_addresses() -> list[str]:
    """This machine's addresses without link-local ones, IPv4 first; 127.0.0.1 if it has no other."""
    found = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            address = ipaddress.ip_address(entry.ip if isinstance(entry.ip, str) else entry.ip[0])
            if not (address.is_loopback or address.is_link_local):
                found.append(address)
    found.sort(key=lambda address: address.version)
    return [str(address) for address in found] or ["127.0.0.1"]


def split_public(public: Sequence[str], own: Sequence[str]) -> tuple[list[str], list[str]]:
    """Configured public addresses -> (addresses to bind, addresses that only a translation leads to us)."""
    if not public:
        return list(own), []
    ours = [address for address in public if address in own or ipaddress.ip_address(address).is_loopback]
    translated = [address for address in public if address not in ours]
    return (ours if not translated else [*own, *(a for a in ours if a not in own)]), translated
