"""Opens the store as the settings say: for the service, and for a command beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connector.store import Store

from . import keyfile
from .settings import Settings

_COMMAND_RESERVE = 4096
"""Bytes; a command that cannot write the audit just fails, nobody's call depends on it."""


@asynccontextmanager
async def opened(settings: Settings, *, command: bool = False) -> AsyncIterator[Store]:
    """The store. A `command` has a reserve of its own, as the running service's is that one's alone.

    Raises `KeyUnusable`, `BadValue` and `StoreUnavailable`.
    """
    key = keyfile.read_or_make(settings.audit_key_file)
    reserve = settings.data_dir / ("command.reserve" if command else "audit.reserve")
    if command:
        async with Store.open(settings.store_url, key, reserve, reserve_size=_COMMAND_RESERVE) as store:
            yield store
    else:
        async with Store.open(settings.store_url, key, reserve) as store:
            yield store
