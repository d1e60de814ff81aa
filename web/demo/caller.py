"""The demo's callers: SIP phones that dial into the PBX and, like any caller, know nothing of AIs and agents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .script import Script
from .sip import SipCall, SipPhone

ENDPOINT = "caller"
RING_S = 10.0


@asynccontextmanager
async def dialled(phone: SipPhone, host: str, port: int, extension: str, script: Script) -> AsyncIterator[SipCall]:
    """A call to `extension`, answered; hung up at the end of the block. Raises SipError."""
    number, name = script.caller_number, script.caller_name
    identity = f'"{name}" <sip:+{number}@{phone.host}>'  # what a carrier would assert (RFC 3325)
    call = await phone.call(f"sip:{extension}@{host}:{port}", headers={"P-Asserted-Identity": identity}, within=RING_S)
    try:
        yield call
    finally:
        await call.hangup()
