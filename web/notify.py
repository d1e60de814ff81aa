"""systemd's notify protocol (sd_notify(3)): a datagram to the socket that it names."""

import os
import socket
from collections.abc import Mapping


def notify(state: str, variables: Mapping[str, str] = os.environ) -> None:
    """Tells the service manager, where there is one. Never fails nor waits: a lost word must not stop a call."""
    address = variables.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # Linux's abstract namespace
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return


def watchdog_seconds(variables: Mapping[str, str] = os.environ) -> float | None:
    """How often the watchdog wants to hear from us: half of its patience; None when there is none."""
    microseconds = variables.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and int(microseconds) > 0 else None
