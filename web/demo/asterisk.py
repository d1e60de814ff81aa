"""An Asterisk of our own for the demo and the tests: found on PATH or unpacked without root, any number side by side.

`python -m web.demo.asterisk install|remove|path` does by hand what `provide` does by itself.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from . import packages, pbxconfig, speech
from .ami import AmiLink, AmiRefused
from .packages import NotProvided, PackageSet, Progress
from .pbxconfig import PbxConfig, Ports, Secrets
from .ports import free_ports

ASTERISK = PackageSet("asterisk", ("asterisk", "asterisk-core-sounds-en-wav", "asterisk-moh-opsound-wav"), disk_mb=600)
REQUIRED = (
    "app_bridgeaddchan",
    "app_channelredirect",
    "app_chanspy",
    "app_confbridge",
    "app_softhangup",
    "app_userevent",
    "bridge_softmix",
    "chan_audiosocket",
    "chan_pjsip",
    "func_channel",
    "func_export",
    "func_groupcount",
    "func_rand",
    "func_talkdetect",
    "res_mutestream",
)
# Where EXPORT() and chan_audiosocket's fixes came in; an older one cannot run our dialplan.
OLDEST = {18: 16, 19: 8, 20: 1}
START_S = 30.0
STOP_S = 10.0
DIALPLAN = Path(__file__).parents[2] / "dialplan" / "asterisk"
INSTALLED_DIALPLAN = Path(sys.prefix) / "share" / "takeover" / "dialplan" / "asterisk"


@dataclass(frozen=True)
class Installation:
    """An Asterisk that can be started."""

    version: str
    command: tuple[str, ...]
    modules: Path
    data: Path
    own: bool  # unpacked by us, so `remove` can remove it

    def has(self, module: str) -> bool:
        return (self.modules / f"{module}.so").is_file()

    @property
    def sounds(self) -> Path:
        """English core sounds as WAV, 8 kHz."""
        return self.data / "sounds" / "en"


@dataclass(frozen=True)
class Ami:
    """How to reach an instance's AMI."""

    host: str
    port: int
    user: str
    secret: str


def new_enough(version: str) -> bool:
    """True for a version text such as "20.6.0~dfsg" that has what our dialplan needs."""
    numbers = re.findall(r"\d+", version)[:2]
    if len(numbers) < 2:
        return False
    major, minor = int(numbers[0]), int(numbers[1])
    return major > max(OLDEST) or (major in OLDEST and minor >= OLDEST[major])


async def provide(progress: Progress) -> Installation:
    """An Asterisk on PATH if it is new enough and complete, else our own, fetched when it is not there yet.

    Raises NotProvided with the reason and the remedy.
    """
    found = await _on_path(progress)
    if found:
        return found
    unpacked = await packages.provide(ASTERISK, progress)
    return await _own(unpacked)


def remove() -> bool:
    """Removes the Asterisk and the synthesiser we unpacked. True if there was either."""
    return any([packages.remove(ASTERISK), speech.remove()])


async def _own(unpacked: packages.Unpacked) -> Installation:
    root = unpacked.root
    data = root / "usr/share/asterisk"
    english = data / "sounds" / "en"
    if not english.exists():
        with contextlib.suppress(FileExistsError):  # Debian's alternatives would have made this link
            english.symlink_to("en_US_f_Allison")
    command = unpacked.command("usr/sbin/asterisk")
    modules = next(iter(root.glob("usr/lib/*/asterisk/modules")), root)
    version = await _version(command)
    if version is None:
        raise NotProvided(
            f"the Asterisk in {root} does not start; `python -m web.demo.asterisk remove`, then try again"
        )
    return Installation(version, command, modules, data, own=True)


async def _on_path(progress: Progress) -> Installation | None:
    program = shutil.which("asterisk", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    version = await _version((program,)) if program else None
    if program is None or version is None:
        return None
    modules, data = _folders(program)
    lacking = [name for name in REQUIRED if modules and not (modules / f"{name}.so").is_file()]
    if modules and data and new_enough(version) and not lacking:
        return Installation(version, (program,), modules, data, own=False)
    progress(f"asterisk: {program} ({version}) is not used: too old or lacks {', '.join(lacking) or 'its folders'}")
    return None


def _folders(program: str) -> tuple[Path | None, Path | None]:
    """Where an installed Asterisk has its modules and its data."""
    prefix = Path(program).resolve().parents[1]
    modules = (
        *prefix.glob("lib/*/asterisk/modules"),
        prefix / "lib/asterisk/modules",
        prefix / "lib64/asterisk/modules",
    )
    datas = (prefix / "share/asterisk", Path("/var/lib/asterisk"))
    return (
        next((folder for folder in modules if folder.is_dir()), None),
        next((folder for folder in datas if (folder / "documentation").is_dir()), None),
    )


async def _version(command: tuple[str, ...]) -> str | None:
    process = await asyncio.create_subprocess_exec(
        *command, "-V", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    text = output.decode(errors="replace").strip()
    return text.removeprefix("Asterisk ") if process.returncode == 0 and text.startswith("Asterisk") else None


class Instance:
    """One running Asterisk in a private folder on free loopback ports; an async context manager.

    It dies with the process that started it, however that ends. Ready means AMI said FullyBooted.
    """

    def __init__(
        self, installation: Installation, config: PbxConfig | None = None, *, ports: Ports | None = None
    ) -> None:
        self.installation, self.config = installation, config or PbxConfig()
        self.ports = ports or free_ports()
        self.secrets = Secrets(secrets.token_hex(16), secrets.token_hex(16))
        self._folder = tempfile.TemporaryDirectory(prefix="takeover-pbx-", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name)
        self._process: asyncio.subprocess.Process | None = None
        self._link: AmiLink | None = None

    @property
    def ami(self) -> Ami:
        """The service's access, with the rights of manager_takeover.conf and no more."""
        return Ami(self.ports.host, self.ports.ami, "takeover", self.secrets.service)

    @property
    def admin(self) -> Ami:
        """All rights; for tests."""
        return Ami(self.ports.host, self.ports.ami, "lab", self.secrets.admin)

    @property
    def log(self) -> Path:
        """Asterisk's own full log."""
        return self.home / "log" / "full"

    @property
    def recordings(self) -> Path:
        """Where MixMonitor puts a file with a bare name."""
        return self.home / "spool" / "monitor"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("Asterisk is not running")
        return self._process.pid

    @property
    def link(self) -> AmiLink:
        """The administrator's AMI connection; a new one after each start."""
        if self._link is None:
            raise RuntimeError("Asterisk is not running")
        return self._link

    async def command(self, text: str) -> list[str]:
        """Runs a CLI command; returns its lines."""
        return await self.link.command(text)

    async def channels(self) -> list[str]:
        """Full names of the channels that exist."""
        lines = await self.command("core show channels concise")
        return [line.partition("!")[0] for line in lines if "!" in line]

    async def __aenter__(self) -> Self:
        self._write()
        try:
            await self.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._folder.cleanup()

    async def start(self) -> None:
        """Starts it; returns when it is fully booted. Raises NotProvided with the end of its log."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise NotProvided(
                "`setpriv` is missing, which ties Asterisk to our process; install the package util-linux"
            )
        with (self.home / "console.log").open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                # The kernel kills it when we die; a hook between fork and exec would not be safe with threads.
                *(setpriv, "--pdeathsig", "KILL", "--"),
                *self.installation.command,
                *("-f", "-C", str(self.home / "etc/asterisk.conf")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=self.home,
                env={**os.environ, "HOME": str(self.home)},
                start_new_session=True,  # Ctrl-C is ours to handle: the PBX must outlive the service's hand-back
            )
        try:
            async with asyncio.timeout(START_S):
                self._link = await self._booted(self._process)
        except BaseException as error:
            told = "it ended" if self._process.returncode is not None else f"not ready after {START_S:.0f} s"
            tail = self._tail()
            await self.kill()
            if isinstance(error, TimeoutError | _Ended):
                raise NotProvided(f"Asterisk did not start: {told}; the end of its log:\n{tail}") from error
            raise

    async def stop(self) -> None:
        """Ends it in order, or by force if that takes too long."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(AmiRefused, TimeoutError, ProcessLookupError):
                process.send_signal(signal.SIGCONT)  # it may be frozen
                await self.command("core stop now")
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            pass  # killed below
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL: as a crash would."""
        process, self._process = self._process, None
        link, self._link = self._link, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if link is not None:
            await link.close()

    async def restart(self) -> None:
        """Kills it and starts it again on the same ports."""
        await self.kill()
        await self.start()

    async def _booted(self, process: asyncio.subprocess.Process) -> AmiLink:
        """Connects to AMI as soon as it listens and waits for FullyBooted, unless the process ends before."""
        boot = asyncio.create_task(self._connect())
        end = asyncio.create_task(process.wait())
        try:
            await asyncio.wait((boot, end), return_when=asyncio.FIRST_COMPLETED)
            if not boot.done():
                raise _Ended
            return await boot
        finally:
            for task in (boot, end):
                task.cancel()
            await asyncio.gather(boot, end, return_exceptions=True)

    async def _connect(self) -> AmiLink:
        booted = asyncio.Event()
        while True:
            try:
                link = await AmiLink.open(self.admin.host, self.admin.port, self.admin.user, self.admin.secret)
                break
            except (OSError, AmiRefused):
                await asyncio.sleep(0.02)  # that a port begins to listen is no event anybody tells us
        link.listen(lambda message: booted.set() if message.event == "FullyBooted" else None)
        # A link that logs in after the boot gets its FullyBooted with the login, perhaps before we listened.
        status = await link.action("CoreStatus")
        if not status.get("CoreStartupTime"):
            await booted.wait()
        await link.action("Command", Command="core waitfullybooted")
        return link

    def _write(self) -> None:
        for folder in ("etc", "lib/keys", "log", "spool/monitor"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        config, ports, ours = self.config, self.ports, dialplan_folder()
        template = (ours / "manager_takeover.conf").read_text()
        files = {
            **pbxconfig.simple_files(ports),
            "asterisk.conf": pbxconfig.asterisk_conf(self.home, self.installation.modules, self.installation.data),
            "modules.conf": pbxconfig.modules_conf([path.name for path in self.installation.modules.glob("*.so")]),
            "manager.conf": pbxconfig.manager_conf(ports, self.secrets, template, config.users),
            "pjsip.conf": pbxconfig.pjsip_conf(ports, config.endpoints),
            "websocket_client.conf": pbxconfig.websocket_client_conf(config.websocket_clients),
            "extensions.conf": pbxconfig.extensions_conf(ours / "extensions_takeover.conf", config),
            **config.extra,
        }
        for name, text in files.items():
            path = self.home / "etc" / name
            path.write_text(text)
            path.chmod(0o600)  # secrets are in some of them

    def _tail(self) -> str:
        lines: list[str] = []
        for path in (self.home / "console.log", self.log):
            if path.is_file():
                lines += path.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(lines)


class _Ended(Exception):
    """The process ended while it was starting."""


def dialplan_folder() -> Path:
    """Our dialplan files: in the source tree, or where the wheel put them."""
    return DIALPLAN if DIALPLAN.is_dir() else INSTALLED_DIALPLAN


def main(arguments: list[str]) -> int:
    """`install`, `remove` or `path`; returns the exit code."""
    match arguments:
        case ["install"]:
            try:
                installation = asyncio.run(provide(lambda line: print(line, file=sys.stderr)))
            except NotProvided as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            print(f"Asterisk {installation.version}: {installation.command[-1]}")
            return 0
        case ["remove"]:
            print("removed" if remove() else "there was none")
            return 0
        case ["path"]:
            unpacked = packages.find(ASTERISK)
            print(unpacked.root if unpacked else "not installed")
            return 0 if unpacked else 1
        case _:
            print("usage: python -m web.demo.asterisk install|remove|path", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
