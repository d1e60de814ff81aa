"""``takeover audit verify``: walks the chain."""

from argparse import Namespace

from connector.store import Store
from connector.store.chain import Head

from .outcome import CommandFailed, Outcome


async def verify(store: Store, options: Namespace) -> Outcome:
    """Faults of the chain, each in words; `--head` is one from the service's log."""
    faults = await store.audit.verify(head=_head(options.head) if options.head else None)
    head = await store.audit.head()
    if not faults:
        return Outcome(
            [f"The audit is whole: {head.number} entries, head {head}."], {"ok": True, "entries": head.number}
        )
    told = [f"row {fault.number}: {fault.detail}" for fault in faults]
    return Outcome(["The audit was changed:", *(f"  {one}" for one in told)], {"ok": False, "faults": told}, code=1)


def _head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError as error:
        raise CommandFailed(f"--head: {error}") from None
