"""Ports for exchanges that run side by side."""

import os
import random
import socket

from .pbxconfig import Ports


def free_ports(host: str = "127.0.0.1") -> Ports:
    """Ports nobody uses, below the range the kernel gives to clients, so that none is taken before we are up."""
    picks = random.Random(os.urandom(8))  # noqa: S311 - no secret: two processes must not try the same ports
    while True:
        base = picks.randrange(10_000, 30_000, 200)
        ports = Ports(base, base + 1, base + 2, base + 10, base + 199, host)
        if all(is_free(port, host) for port in (ports.ami, ports.sip, ports.http)):
            return ports


def is_free(port: int, host: str) -> bool:
    """Whether nobody uses a port, by TCP and by UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
