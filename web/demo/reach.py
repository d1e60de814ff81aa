"""Whether the browser's audio can reach this machine: it is UDP, so what carries the page may not carry it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aioice.ice import get_host_addresses

NO_ADDRESS = (
    "This machine has no network address but the loopback, which browsers do not use for calls: there will be no "
    "sound. Connect a network, or: sudo ip link add takeover0 type dummy && sudo ip addr add 192.0.2.1/32 dev "
    "takeover0 && sudo ip link set takeover0 up"
)


@dataclass(frozen=True)
class Machine:
    """What of this machine matters."""

    addresses: Sequence[str]
    """Where a browser can send UDP to; the loopback is none of them, as ICE never offers it."""
    ssh: str = ""
    """Address the SSH client reached us at; empty without SSH."""
    kind: str = ""
    """`wsl`, `container`, `virtual machine` or empty."""


def look(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Machine:
    """What can be seen from here."""
    connection = environ.get("SSH_CONNECTION", "").split()
    return Machine(
        addresses=get_host_addresses(use_ipv4=True, use_ipv6=False),
        ssh=connection[2] if len(connection) == 4 else "",
        kind=_kind(environ, root),
    )


def _kind(environ: Mapping[str, str], root: Path) -> str:
    if "microsoft" in _text(root / "proc/sys/kernel/osrelease").lower():
        return "wsl"
    if environ.get("container") or any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv")):
        return "container"
    flags = next((line for line in _text(root / "proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    return "virtual machine" if " hypervisor" in flags else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def advice(machine: Machine, port: int) -> list[str]:
    """What the user should know, in sentences; empty when browser and demo are simply on one machine."""
    if not machine.addresses:
        return [NO_ADDRESS]
    reach = " or ".join(machine.addresses)
    told = []
    if machine.ssh:
        told.append(
            f"You are here over SSH. The page comes through a tunnel (ssh -L {port}:localhost:{port} ...), the sound "
            f"does not: it is UDP, straight from your browser to {reach}. Where a firewall or NAT is between, there "
            "will be no sound: run the demo on the machine with the browser, or join both by a VPN."
        )
    match machine.kind:
        case "wsl":
            told.append(
                f"This is WSL. A browser on Windows sends its sound by UDP to {reach}. If the panel shows no "
                "connection, set networkingMode=mirrored in .wslconfig, or use a browser inside WSL."
            )
        case "container":
            told.append(
                f"This is a container. A browser outside sends its sound by UDP to {reach}. If the panel shows no "
                "connection, start the container with --network=host."
            )
        case "virtual machine" if not machine.ssh:
            told.append(
                f"This is a virtual machine. A browser inside just works; one outside sends sound by UDP to {reach}. "
                "If the panel shows no connection, use bridged or host-only networking."
            )
    return told
