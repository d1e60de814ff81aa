"""Credentials for coturn."""

import base64
import hashlib
import hmac
import time

from media.messages import IceServer
from media.turn import VALID_S, current, login


def test_a_login_ends_after_a_day_and_proves_the_secret() -> None:
    user, password = login("north", "anna", 1_700_000_000.9)
    assert user == f"{1_700_000_000 + VALID_S}:anna"
    assert base64.b64decode(password) == hmac.digest(b"north", user.encode(), hashlib.sha1)


def test_only_a_secret_is_replaced_and_it_is_never_shown() -> None:
    stun, fixed = IceServer("stun:a"), IceServer("turn:b", "u", "p")
    servers = current([stun, fixed, IceServer("turn:c", secret="north")], "anna")
    assert servers[:2] == [stun, fixed]
    made = servers[2]
    assert made.secret is None
    assert made.username is not None
    assert abs(int(made.username.partition(":")[0]) - time.time() - VALID_S) < 60
    assert made.credential not in (None, "north")
