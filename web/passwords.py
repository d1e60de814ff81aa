"""Password and secret hashing. Passwords: argon2id, off the event loop. Secrets of ours: SHA-256 of 256 random bits."""

import asyncio
import hashlib
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()  # argon2id with the library's current defaults, RFC 9106's low-memory profile
_NOBODY = _HASHER.hash(secrets.token_urlsafe())
"""Verified against when the account does not exist, so that the answer takes as long as for one that does."""


async def hash_password(password: str) -> str:
    """The argon2id hash to store."""
    return await asyncio.to_thread(_HASHER.hash, password)


async def password_fits(password: str, stored: str | None) -> bool:
    """Whether a password is right; `stored` None (no such account) takes just as long and is False."""
    fits = await asyncio.to_thread(_verify, stored or _NOBODY, password)
    return fits and stored is not None


def _verify(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def new_secret() -> str:
    """A session, link or token secret: 256 random bits, URL-safe."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is stored of a secret. It is random, so a plain hash is enough and is fast."""
    return hashlib.sha256(secret.encode()).hexdigest()
