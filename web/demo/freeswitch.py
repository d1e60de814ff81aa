"""A FreeSWITCH of our own for the demo and the tests: one that is installed, with its own configuration, on free ports.

No package registry ships one that could be unpacked, so unlike Asterisk it is never fetched.
"""

import asyncio
import contextlib
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .freeswitchconfig import MODULES, FreeSwitchConfig, Ports, document
from .packages import NotProvided
from .ports import is_free

HOME = "FREESWITCH_HOME"
START_S = 60.0  # 4 s on an idle machine, 14 on one with five times the load it has cores for (measured)
ANSWER_S = 2.0
DIALPLAN = Path("dialplan") / "freeswitch" / "takeover.xml"
FOLDERS = ("conf", "log", "db", "run", "htdocs", "scripts", "temp", "storage", "cache", "recordings", "certs")
NEEDED = (
    "no FreeSWITCH was found: install one (1.10 or later), so that `freeswitch` is on PATH, or set FREESWITCH_HOME to "
    "its prefix, the folder with bin/freeswitch"
)


@dataclass(frozen=True)
class Installation:
    """A FreeSWITCH that can be started."""

    version: str
    program: Path


def find() -> Installation:
    """`$FREESWITCH_HOME/bin/freeswitch`, else `freeswitch` on PATH. Raises NotProvided with reason and remedy."""
    named = os.environ.get(HOME, "")
    found = str(Path(named) / "bin" / "freeswitch") if named else shutil.which("freeswitch")
    if found is None:
        raise NotProvided(NEEDED)
    if not os.access(found, os.X_OK):
        raise NotProvided(f"{HOME}: {named!r} has no bin/freeswitch that can be run; name a FreeSWITCH's prefix")
    try:
        said = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 - what the user named
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotProvided(f"{found} -version does not run ({error}); install FreeSWITCH again") from error
    version = re.search(r"FreeSWITCH version: (\d+\.\d+[.\d]*)", said)
    if version is None:
        raise NotProvided(f"{found} -version said {said[:80]!r}, which is no FreeSWITCH; name another by {HOME}")
    if tuple(int(part) for part in version[1].split(".")[:2]) < (1, 10):
        raise NotProvided(f"{found} is FreeSWITCH {version[1]}, which is too old: install 1.10 or later")
    return Installation(version[1], Path(found))


class Instance:
    """One running FreeSWITCH in a private folder; dies with the process that started it, however that ends.

    An async context manager; ready means that its event socket lets us in and its SIP profile runs. Bound to no event
    loop: what one loop started another may use.
    """

    def __init__(self, installation: Installation, config: FreeSwitchConfig | None = None) -> None:
        self.installation, self.config = installation, config or FreeSwitchConfig()
        self.ports = free_ports()
        self.password = secrets.token_hex(16)
        self._folder = tempfile.TemporaryDirectory(prefix="takeover-fs-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """FreeSWITCH's own full log."""
        return _text(self.folder / "freeswitch.log")

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("FreeSWITCH is not running")
        return self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()  # its own orderly end takes 4.5 s without a single call (measured): who wants it hangs up first
        self._folder.cleanup()

    async def start(self) -> None:
        """Starts it; returns when it is ready. Raises NotProvided with the end of its log."""
        process = self._launch()
        try:
            async with asyncio.timeout(START_S):
                why = await self._started(process)
        except TimeoutError:
            why = f"it was not ready after {START_S:.0f} s"
        except BaseException:
            self.kill()
            raise
        if why:
            self.kill()
            said = _text(self.folder / "console.log").splitlines()[-15:] + self.log.splitlines()[-15:]
            tail = "\n".join(line for line in said if line.strip())
            raise NotProvided(f"FreeSWITCH did not start: {why}; the end of its log:\n{tail}")

    def _launch(self) -> subprocess.Popen[bytes]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise NotProvided(
                "`setpriv` is missing, which ties FreeSWITCH to our process; install the package util-linux"
            )
        ours = _dialplan().read_text(encoding="utf-8")
        xml = self.folder / "freeswitch.xml"
        xml.touch(mode=0o600)  # the password is in it
        xml.write_text(document(self.config, self.ports, self.password, self.folder, ours), encoding="utf-8")
        folders = [word for name in FOLDERS for word in (f"-{name}", str(self.folder))]
        with (self.folder / "console.log").open("ab") as console:
            # The kernel kills it when we die; a hook between fork and exec would not be safe with threads.
            self._process = process = subprocess.Popen(  # noqa: S603 - what the user named, and words of ours
                [
                    *(setpriv, "--pdeathsig", "KILL", "--", str(self.installation.program)),
                    *("-nf", "-nc", "-nonat", "-nonatmap", "-nocal", *folders),  # without -nc its console spins
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is ours to handle: the PBX must outlive the service's hand-back
            )
        return process

    def kill(self) -> None:
        """SIGKILL: as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    async def api(self, command: str) -> str:
        """Carries out one command on a connection of its own. Raises OSError, TimeoutError."""
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(self.ports.host, self.ports.esl)
            try:
                writer.write(f"auth {self.password}\n\napi {command}\n\nexit\n\n".encode())
                said = (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
        _, _, answer = said.partition("Content-Type: api/response\nContent-Length: ")
        length, _, body = answer.partition("\n\n")
        return body[: int(length)].strip() if length.isdigit() else ""

    async def _started(self, process: subprocess.Popen[bytes]) -> str:
        """Returns when its SIP profile runs, or with the reason why it never will."""
        while process.poll() is None:
            with contextlib.suppress(OSError, TimeoutError):  # it does not listen yet
                if "RUNNING" in await self.api("sofia status"):
                    wanted = (*MODULES, *self.config.modules)
                    missing = [name for name in wanted if await self.api(f"module_exists {name}") != "true"]
                    return f"it lacks {', '.join(missing)}; install these modules" if missing else ""
            await asyncio.sleep(0.05)  # that a port begins to listen is no event anybody tells us
        return f"it ended with exit code {process.returncode}"


def _dialplan() -> Path:
    """Our dialplan file: in the source tree, or where the wheel put it."""
    tree = Path(__file__).parents[2] / DIALPLAN
    return tree if tree.is_file() else Path(sys.prefix) / "share" / "takeover" / DIALPLAN


def free_ports(host: str = "127.0.0.1") -> Ports:
    """Ports nobody uses, below the range the kernel gives to clients, so that none is taken before we are up."""
    picks = random.Random(os.urandom(8))  # noqa: S311 - no secret: two processes must not try the same ports
    while True:
        base = picks.randrange(10_000, 30_000, 200)
        if all(is_free(port, host) for port in (base, base + 1)):
            return Ports(base, base + 1, (base + 10, base + 199), host)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
