"""Opens the store as the settings say: for the service, and for a command beside it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from connector.domain.errors import StoreUnavailable
from connector.store import Store
from connector.store.engine import is_sqlite, parsed, readable
from connector.store.reserve import SIZE

from . import keyfile
from .settings import Settings

_COMMAND_RESERVE = 4096
"""Bytes; a command that cannot write the audit just fails, nobody's call depends on it."""

_REMEDIES = {
    True: "is the disk full, do they belong to another user, are they no databases? If damaged, put the backup back",
    False: "does that server run, and may this user use the database?",
}
"""Whether it is SQLite to what helps."""


@asynccontextmanager
async def opened(settings: Settings, *, command: bool = False) -> AsyncIterator[Store]:
    """The store. A `command` has a reserve of its own, as the running service's is that one's alone.

    Raises `KeyUnusable`, `BadValue` and `StoreUnavailable`.
    """
    key = keyfile.read_or_make(settings.audit_key_file)
    reserve = settings.data_dir / ("command.reserve" if command else "audit.reserve")
    size = _COMMAND_RESERVE if command else SIZE
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(Store.open(settings.store_url, key, reserve, reserve_size=size))
        except StoreUnavailable as error:
            url = parsed(settings.store_url)
            where = f"{url.database} and the audit beside it" if is_sqlite(url) else readable(url)
            raise StoreUnavailable(f"{error.why} ({where}); {_REMEDIES[is_sqlite(url)]}") from error
        yield store
