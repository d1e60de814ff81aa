"""The real service in a process of its own, on a free port, with a folder of its own: killed, frozen, restarted.

async with Server(pbx={"lab": {"host": ..., "port": ..., "username": ..., "secret": ...}}) as server:
    name = await server.add_user("anna")          # role agent; password is server.password
    token = await server.add_token("bot", role="ai", ai="acme")
    reply = await server.get("calls")             # as an administrator
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from connector.domain.people import ActorRole
from connector.store import Store
from web import settings, stores
from web.passwords import hash_password, hash_secret, new_secret

from .agent import Reply
from .processes import alive, gone, kill

ROOT = Path(__file__).parents[2]
START_S = 60.0
"""Longest start that is waited for; on an idle machine it takes about two seconds."""


class DidNotStart(Exception):
    """The service ended, or was not up in time; the text has the end of its log."""


@dataclass(eq=False)
class Server:
    """An async context manager; inside, the service is up and its PBXs are connected (`ready`)."""

    pbx: Mapping[str, Mapping[str, Any]]
    """As in the settings, without ``kind``."""
    instance: str = "test"
    media: Mapping[str, Any] = field(default_factory=lambda: {"workers": 1, "max_lateness_ms": 250})
    """A shared machine's ticks are late; admission under load has its own tests."""
    http: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other parts of the settings, like ``webhooks``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    wait: bool = True
    """Whether to wait for the PBXs too; without, only for HTTP."""
    url: str = field(default="", init=False)
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        self._hash = await hash_password(self.password)
        self._folder = tempfile.TemporaryDirectory(prefix="takeover-server-")
        self.folder = Path(self._folder.name)
        self.config = self.folder / "takeover.yaml"
        self.log = self.folder / "service.log"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        tree = {
            "instance": self.instance,
            "data_dir": str(self.folder / "data"),
            "http": {"host": "127.0.0.1", "port": port, **self.http},
            "pbx": {name: {"kind": "asterisk", **one} for name, one in self.pbx.items()},
            "media": dict(self.media),
            "log": {"format": "json", "level": "debug"},
            **self.more,
        }
        self.config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        (self.folder / "data").mkdir()
        self._client = aiohttp.ClientSession()
        try:
            self._token = await self.add_token("test-admin", role="admin")
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self.stop()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Of the service itself; its media workers are its children."""
        if self.process is None:
            raise RuntimeError("the service does not run")
        return self.process.pid

    # ---- life ----

    async def restart(self) -> None:
        """Starts it again, on the same port with the same folder; whatever is left of the old one is killed."""
        await self.stop()
        await self._start()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL to one that does not end within ten seconds."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            if not await gone(process.pid, within=10):
                kill(process.pid)
        await process.wait()

    async def ready(self, within: float = 30) -> None:
        """Returns when every PBX is connected and a media worker runs."""
        deadline = time.monotonic() + within
        why: object = "it does not answer"
        while time.monotonic() < deadline:
            try:
                async with self._client.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(2)) as answer:
                    body = await answer.json()
                if body["ready"]:
                    return
                why = body["why"]
            except (aiohttp.ClientError, TimeoutError):
                pass  # not up yet, or frozen by a test
            await asyncio.sleep(0.05)  # another process: there is no event to wait for
        raise DidNotStart(f"not ready after {within:g} s: {why}\n{self.tail()}")

    # ---- people ----

    async def add_user(self, name: str, *, role: ActorRole = "agent") -> str:
        """A person who may log in with `password`; returns the name. One that exists stays as it is."""
        async with self.store() as store:
            if await store.accounts.by_name(name) is None:
                await store.accounts.add(name, name.title(), role, self._hash)
        return name

    async def add_token(self, name: str, *, role: ActorRole, ai: str = "") -> str:
        """A machine's token."""
        secret = new_secret()
        async with self.store() as store:
            await store.tokens.add(name, role, ai, hash_secret(secret))
        return secret

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The service's store, opened beside it."""
        async with stores.opened(settings.load(self.config), command=True) as store:
            yield store

    # ---- asking ----

    async def get(self, path: str) -> Reply:
        """GET below /api/v1, as an administrator's machine."""
        return await self.ask("GET", path)

    async def ask(self, method: str, path: str, /, *, token: str = "", **body: Any) -> Reply:
        """One request below /api/v1 with a token, an administrator's unless another is given."""
        headers = {"Authorization": f"Bearer {token or self._token}"}
        sent = time.monotonic()
        url = f"{self.url}/api/v1/{path}"
        async with self._client.request(method, url, json=body or None, headers=headers) as answer:
            text = await answer.text()
            answered = time.monotonic()
        return Reply(sent, answered, answer.status, json.loads(text) if text else {})

    def tail(self, lines: int = 30) -> str:
        """The end of the service's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def _start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"),
                *(sys.executable, "-m", "web.cli", "serve", "--config", str(self.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self.environment},
            )
        try:
            async with asyncio.timeout(START_S):
                await self._answers()
        except TimeoutError:
            raise DidNotStart(f"no answer within {START_S:g} s\n{self.tail()}") from None
        if self.wait:
            await self.ready(START_S)

    async def _answers(self) -> None:
        while True:
            if not alive(self.pid):
                raise DidNotStart(f"the service ended\n{self.tail()}")
            try:
                async with self._client.get(f"{self.url}/healthz") as answer:
                    await answer.read()
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)  # another process: there is no event to wait for


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
