"""``Takeover-Signature: t=<unix seconds>,v1=<hex>``: HMAC-SHA256 with the webhook's secret of ``<t>.<body>``.

The time is part of what is signed, so that a recorded request cannot be sent again later.
"""

import hashlib
import hmac
import re

HEADER = "Takeover-Signature"
TOLERANCE_S = 300
"""How old, or ahead of our clock, a signature may be."""

_FORM = re.compile(r"t=(\d{1,15}),v1=([0-9a-f]{64})")


def sign(secret: str, body: bytes, at: int) -> str:
    """The header's value for a body that is sent at `at`, in seconds since 1970."""
    return f"t={at},v1={_mac(secret, body, at)}"


def verify(secret: str, header: str, body: bytes, now: float) -> bool:
    """Whether the header is this body's, made with this secret, not long ago."""
    found = _FORM.fullmatch(header)
    if found is None or abs(now - int(found[1])) > TOLERANCE_S:
        return False
    return hmac.compare_digest(found[2], _mac(secret, body, int(found[1])))


def _mac(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
