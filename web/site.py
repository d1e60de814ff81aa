"""Where the service is to be found, where a request comes from, whether our own pages made it; and its cookie."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import web

from .errors import ForeignOrigin

_TRACES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
"""Headers that a proxy adds."""
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+(?:\.\d+){3}):\d+")
"""An address as some proxies write it; with a port, each connection would be another client."""
_ONE_NETWORK = 64
"""Bits: of IPv6, one household or machine has all addresses of such a network."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the service knows of its own address: whether browsers come by https, and from where."""

    https: bool
    origin: str = ""
    """The one origin that is ours; empty: whatever address the browser reached us at."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For is believed."""
    monitoring: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks that read metrics, and why the service is not ready, without a token."""

    @property
    def cookie(self) -> str:
        """The session cookie's name; `__Host-` makes the browser refuse one set by another host or without TLS."""
        return "__Host-takeover" if self.https else "takeover"

    def set_cookie(self, response: web.StreamResponse, secret: str) -> None:
        """Hands the browser its session. No lifetime: it ends with the browser, or before that on the server."""
        response.set_cookie(self.cookie, secret, path="/", secure=self.https, httponly=True, samesite="Strict")

    def del_cookie(self, response: web.StreamResponse) -> None:
        """Takes it back."""
        response.del_cookie(self.cookie, path="/", secure=self.https, httponly=True, samesite="Strict")

    def trusts(self, peer: str) -> bool:
        """Whether this is a proxy that is believed."""
        return _within(peer, self.trusted_proxies)

    def address(self, request: web.Request) -> str:
        """The client's address, seen through trusted proxies."""
        peer = request.remote or ""
        for hop in _hops(request):
            if not self.trusts(peer):
                break
            peer = hop
        return peer

    def monitors(self, request: web.Request) -> bool:
        """Whether this comes from a network that may read metrics without a token.

        A proxy on this machine would make the whole world look like this machine: what was forwarded counts only
        where somebody whom we trust says for whom.
        """
        forwarded = any(name in request.headers for name in _TRACES)
        told = self.trusts(request.remote or "") and next(_hops(request), None) is not None
        return (told or not forwarded) and _within(self.address(request), self.monitoring)

    def check_origin(self, request: web.Request, *, by_cookie: bool) -> None:
        """Refuses what another site's page makes a browser ask. Raises `ForeignOrigin`.

        A browser names the origin of every unsafe request and WebSocket; where it sends a cookie by itself, a
        request that names none is refused too. Without a cookie there is nothing that another site could ride on.
        """
        origin = request.headers.get("Origin", "")
        if not origin and not by_cookie:
            return
        ours = self.origin or f"{'https' if self.https else 'http'}://{request.host}"
        if origin.lower() != ours.lower():
            raise ForeignOrigin(origin)


def neighbourhood(address: str) -> str:
    """What attempts are counted by: the address; of IPv6 its network, as who has one address has all of them."""
    peer = _parsed(address)
    if isinstance(peer, IPv6Address):
        return str(ip_network((peer.packed, _ONE_NETWORK), strict=False))
    return str(peer or address)


def _hops(request: web.Request) -> Iterator[str]:
    """Whom each proxy says it spoke with, the last proxy first, as far as they name addresses.

    Some add a line of their own instead of adding to the one that the client may have sent (HAProxy).
    """
    lines = request.headers.getall("X-Forwarded-For", ())
    for hop in reversed(",".join(lines).split(",")):
        written = _WITH_PORT.fullmatch(hop.strip())
        address = written[1] or written[2] if written else hop.strip()
        if _parsed(address) is None:
            return
        yield address


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        peer = ip_address(address)
    except ValueError:
        return None
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:  # how a socket for both kinds shows an IPv4 peer
        return peer.ipv4_mapped
    return peer


def _within(address: str, networks: tuple[str, ...]) -> bool:
    peer = _parsed(address)
    return peer is not None and any(peer in ip_network(network) for network in networks)
