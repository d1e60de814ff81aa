"""What a start stands on: folder, name, store and media workers. Each says as `StartFailed` what is in its way."""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from connector.domain.errors import BadValue, StoreUnavailable
from connector.store import Store
from media import pool as media

from . import configured, stores
from .errors import StartFailed
from .keyfile import KeyUnusable
from .settings import Settings


def prepare_folder(folder: Path) -> None:
    """Makes `data_dir`, or proves that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".write-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartFailed(
            f"data_dir: {str(folder)!r} cannot be written ({error.strerror}); "
            "create it for the service's user, or name another folder"
        ) from None


def instance_in(folder: Path) -> str:
    """Names this service towards the PBXs, the same after a restart: what it left there is recognised as its own."""
    path = folder / "instance"
    try:
        known = path.read_text(encoding="ascii").strip() if path.exists() else ""
        if not known:  # not even the first start came to its end
            known = secrets.token_hex(4)
            draft = path.with_name(".instance")
            draft.write_text(known + "\n", encoding="ascii")
            draft.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise StartFailed(
            f"data_dir: {str(path)!r} cannot be read or made ({why}); make room, or put it right"
        ) from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", known):
        raise StartFailed(f"data_dir: {str(path)!r} holds {known[:64]!r}, which is no name; delete it for a new one")
    return known


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The store; what fails inside the block is told as it is."""
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(stores.opened(settings))
        except (KeyUnusable, BadValue, StoreUnavailable) as error:
            raise StartFailed(f"store: {error}") from None
        yield store


@asynccontextmanager
async def started_pool(settings: Settings) -> AsyncIterator[media.Pool]:
    """The media workers, up."""
    try:
        pool = media.Pool(configured.media_settings(settings))
    except ValueError as error:
        raise StartFailed(f"media.{error}") from None
    try:
        await pool.__aenter__()
    except (media.WorkerFailed, OSError) as error:
        raise StartFailed(f"media: {error}") from None
    try:
        yield pool
    finally:
        await pool.__aexit__(None, None, None)
