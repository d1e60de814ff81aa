"""The real service as a child of the demo, so that it can be killed like any service and the calls go on.

The child reads who may log in from its standard input and writes where it is to its standard output, one JSON line
each. Its standard input is also what it lives on: when the demo ends, however that is, it reads the end and stops
in order, giving every call back.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from connector.domain.people import ActorRole
from connector.store import Store
from web import logs, main, settings
from web.passwords import hash_password, hash_secret

START_S = 60.0
"""A service that ends by itself is noticed at once; this is for one that hangs, and generous to a machine that is busy
with two exchanges and their callers."""
STOP_S = 15.0
AGAIN_S = 1.0


@dataclass(frozen=True)
class Person:
    """An account of the demo."""

    username: str
    name: str
    role: ActorRole
    password: str


@dataclass(frozen=True)
class Known:
    """Who may come in: people, and the AIs' tokens by AI."""

    people: Sequence[Person]
    tokens: Mapping[str, str]


@dataclass(frozen=True)
class Address:
    """Where the service is, and a link that logs the first of the people in, once."""

    url: str
    link: str


class DidNotStart(Exception):
    """The service ended before it served; what it wrote stands on standard error or in its log."""


class Child:
    """The service's process."""

    def __init__(self, config: Path, log: Path, known: Known) -> None:
        self._config, self._log, self._known = config, log, known
        self._process: asyncio.subprocess.Process | None = None
        self.address = Address("", "")

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the service is not running")
        return self._process.pid

    async def start(self) -> None:
        """Starts it; returns when it serves. Raises DidNotStart with the end of its log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "web.demo.service", str(self._config)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the demo's to handle: calls are given back before anything ends
            )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - as asked for
        self._process.stdin.write(json.dumps(asdict(self._known)).encode() + b"\n")
        what = "did not start"
        try:
            async with asyncio.timeout(START_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line, what = b"", f"did not serve within {START_S:.0f} s"
        if not line:
            await self.stop()
            raise DidNotStart(f"the service {what}: {_why(self._log.read_text(errors='replace'))}")
        self.address = Address(**json.loads(line))

    async def again(self) -> None:
        """What a service manager does: waits until it ended by itself, and starts it again."""
        if self._process is not None:
            await self._process.wait()
        await asyncio.sleep(AGAIN_S)
        await self.start()

    async def stop(self) -> None:
        """Lets it give every call back and end; by force if that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _why(log: str) -> str:
    """What the service itself said last about it, else the end of its log."""
    lines = log.splitlines()
    for line in reversed(lines):
        if '"not-started"' in line:
            return str(json.loads(line)["why"])
    return "\n".join(["the end of its log:", *lines[-12:]])


async def _introduce(store: Store, known: Known) -> None:
    """Makes the accounts and tokens that are not there yet: after a crash they are."""
    for person in known.people:
        if await store.accounts.by_name(person.username) is None:
            await store.accounts.add(person.username, person.name, person.role, await hash_password(person.password))
    present = {token.name for token in await store.tokens.list()}
    for ai, token in known.tokens.items():
        if ai not in present:
            await store.tokens.add(ai, "ai", ai, hash_secret(token))


async def _serve(config: Path) -> None:
    parent, stop = os.getppid(), asyncio.Event()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    told = json.loads(await reader.readline())
    known = Known([Person(**person) for person in told["people"]], told["tokens"])
    async with main.running(settings.load(config)) as service:
        await _introduce(service.store, known)
        link = service.login_link(known.people[0].username)
        print(json.dumps(asdict(Address(service.url, link))), flush=True)
        ended = asyncio.create_task(reader.read())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, stopped):
            task.cancel()
    if os.getppid() != parent:  # the demo was killed: nobody else will tidy up, and passwords stand there
        shutil.rmtree(config.parent, ignore_errors=True)


def run(arguments: list[str]) -> int:
    """The child's side: the configuration's path is the one argument."""
    logs.configure(form="json", level="info")
    code = 0
    try:
        asyncio.run(_serve(Path(arguments[0])))
    except* main.StartFailed as failures:
        structlog.get_logger().error("not-started", why=str(failures.exceptions[0]))
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
