"""``takeover check``: whether the settings can be used, and what in them is seldom meant."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from connector.store.engine import parsed, readable

from ..settings import Asterisk, Media, Settings
from .outcome import Outcome


def check(settings: Settings) -> Outcome:
    """Faults were refused before; what is told here can be right, so the exit code is 0."""
    pbxs = ", ".join(f"{name} ({one.kind} {one.host}:{one.port})" for name, one in settings.pbx.items())
    where = f"{'https' if settings.http.tls else 'http'}://{settings.http.host}:{settings.http.port}"
    kept = readable(parsed(settings.store_url))
    told = {"panel": where, "pbx": pbxs, "data": settings.data_dir, "store": kept}
    notes = list(_doubts(settings))
    lines = ["The settings are in order.", *(f"  {name:6} {value}" for name, value in told.items())]
    facts = {"listen": where, "pbx": sorted(settings.pbx), "data_dir": str(settings.data_dir), "store": kept}
    return Outcome([*lines, *(f"Note: {one}" for one in notes)], {"ok": True, **facts, "notes": notes})


def _doubts(settings: Settings) -> Iterator[str]:
    """What works as it is written, and yet not for all people and machines; each with field, value and remedy."""
    http, media = settings.http, settings.media
    if not _is_here(http.host) and not http.https:
        yield (
            f"http.host: {http.host!r} is open to other machines by plain http: passwords can be read on the way, and "
            "no browser gives its microphone. Set http.tls, or http.public_url where a proxy in front has https"
        )
    yield from _few_ports(media)
    for name, one in settings.pbx.items():
        if _is_here(one.host):
            continue
        if not isinstance(one, Asterisk):
            yield f"pbx.{name}.host: {one.host!r} is another machine, and ESL is in the clear; use a tunnel"
        elif not one.tls:
            yield f"pbx.{name}.host: {one.host!r} is another machine, and AMI is in the clear; set tls, or use a tunnel"
        if _is_here(media.audiosocket_host):
            yield (
                f"media.audiosocket_host: {media.audiosocket_host!r} is this machine's alone, which pbx.{name} on "
                f"{one.host!r} cannot reach; give this machine's address in the PBX's network"
            )
        elif not _may_connect(one.host, media.pbx_addresses):
            yield (
                f"media.pbx_addresses: {[*media.pbx_addresses]} lacks {one.host!r}, so the workers refuse pbx.{name}; "
                "add it, or the address that it calls from"
            )


def _few_ports(media: Media) -> Iterator[str]:
    """Every agent on duty has one port of the range, whatever the worker."""
    agents = media.processes * media.max_legs_per_worker
    if media.ports is not None and len(media.ports) < agents:
        takers = f"{media.processes} worker{'s take' if media.processes > 1 else ' takes'}"
        yield (
            f"media.udp_ports: {media.udp_ports!r} has {len(media.ports)} ports, and {takers} up to {agents} agents on "
            f"duty at once: those for whom there is no port are refused. If there can be so many, give {agents} ports, "
            f"better {agents + agents // 10}, as an agent whose network changes has two for a moment; else lower "
            "media.max_legs_per_worker"
        )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _may_connect(host: str, networks: tuple[str, ...]) -> bool:
    """Whether a PBX may call the workers; of a name nobody knows before it is resolved."""
    try:
        peer = ip_address(host)
    except ValueError:
        return True
    return any(peer in ip_network(one) for one in networks)
