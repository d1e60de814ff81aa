"""The demo's own private place: a folder with the service's settings, who may log in, and the running service."""

import secrets
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Self

import yaml

from .exchanges import AI_NAMES
from .scene import Scene
from .service import Address, Child, Known, Person


class House:
    """The service in front of a scene's PBXs; an async context manager. All of it is gone afterwards."""

    def __init__(self, scene: Scene, port: int) -> None:
        self._scene, self._port = scene, port
        self._exits = AsyncExitStack()
        self.people = (
            Person("anna", "Anna", "agent", secrets.token_urlsafe(9)),
            Person("admin", "Admin", "admin", secrets.token_urlsafe(9)),
        )
        self.tokens: Mapping[str, str] = {name: secrets.token_urlsafe(32) for name in AI_NAMES.values()}
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        if self._child is None:
            raise RuntimeError("the house is not open; use it as `async with House(...)`")
        return self._child

    @property
    def address(self) -> Address:
        """Where the service is, with a link that was not used yet."""
        return self.child.address

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="takeover-demo-")))
            config = folder / "takeover.yaml"
            config.touch(mode=0o600)
            config.write_text(yaml.safe_dump(self._settings(folder)))
            self._child = Child(config, folder / "service.log", Known(self.people, self.tokens))
            exits.push_async_callback(self._child.stop)
            await self._child.start()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def keep(self, again: Callable[[Address], None]) -> None:
        """Starts the service again whenever it ended by itself, and tells its new link. Until cancelled."""
        while True:
            await self.child.again()
            again(self.address)

    def _settings(self, folder: Path) -> Mapping[str, object]:
        return {
            "data_dir": str(folder / "data"),
            "http": {"host": "127.0.0.1", "port": self._port},
            "media": {"workers": 1},
            "log": {"format": "json"},
            "pbx": dict(self._scene.settings()),
        }


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, else a free port of the loopback."""
    for port in (wanted, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
