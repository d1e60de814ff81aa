"""Credentials for a TURN server that end by themselves, as coturn takes them with `use-auth-secret`.

The name is the moment of its end, the password proves that whoever made it knows the secret (the draft "A REST API for
access to TURN services", 2013). A browser that was shown them can use the server for a day, never the secret.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable

from .messages import IceServer

VALID_S = 24 * 3600
"Longer than a shift: a page that stays open must still be able to connect anew."


def login(secret: str, name: str, now: float) -> tuple[str, str]:
    """(user name, password) from now on for `VALID_S`; `now` in seconds since 1970."""
    user = f"{int(now) + VALID_S}:{name}"
    mac = hmac.new(secret.encode(), user.encode(), hashlib.sha1)  # the server's choice, not ours
    return user, base64.b64encode(mac.digest()).decode()


def current(servers: Iterable[IceServer], name: str) -> list[IceServer]:
    """The servers as they are to be used now: each secret is replaced by a login in the name of `name`."""
    now = time.time()
    return [IceServer(one.url, *login(one.secret, name, now)) if one.secret is not None else one for one in servers]
