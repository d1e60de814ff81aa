"""Addresses and ports that browsers are offered."""

import socket

from media.network import Ports, host_addresses, split_public


def test_own_addresses_are_never_loopback_unless_there_is_no_other() -> None:
    addresses = host_addresses()
    assert addresses
    assert addresses == ["127.0.0.1"] or "127.0.0.1" not in addresses


def test_a_port_within_the_range_is_found_and_the_last_one_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        first = probe.getsockname()[1]
        ports = Ports((first, first))
        assert ports.bind("127.0.0.1") is None
    sock = ports.bind("127.0.0.1")
    assert sock is not None
    assert sock.getsockname() == ("127.0.0.1", first)
    sock.close()


def test_an_address_that_is_not_ours_cannot_be_bound() -> None:
    assert Ports(None).bind("203.0.113.1") is None


def test_public_addresses_are_ours_or_translated() -> None:
    own = ["192.0.2.2", "198.51.100.2"]
    assert split_public([], own) == (own, [])
    assert split_public(["198.51.100.2"], own) == (["198.51.100.2"], [])
    assert split_public(["127.0.0.1"], own) == (["127.0.0.1"], [])
    assert split_public(["203.0.113.9"], own) == (own, ["203.0.113.9"])
    assert split_public(["203.0.113.9", "127.0.0.1"], own) == ([*own, "127.0.0.1"], ["203.0.113.9"])
