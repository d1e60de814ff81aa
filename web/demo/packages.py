"""Private Debian packages: fetched and unpacked without root into a cache of ours, run through their own loader.

apt does the work with directories of ours (lists, cache, state), so that the machine's own package state is
neither read nor touched and signatures stay checked. The result is atomic: a set is either complete or absent.
"""

import asyncio
import contextlib
import fcntl
import os
import platform
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str], None]

SUITE = "sid"  # the one suite whose Asterisk is new enough for AudioSocket at 16 kHz, EXPORT() and chan_websocket
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/etc/apt/trusted.gpg.d/debian-archive-keyring.gpg"),
)
TOOLS = ("apt-get", "dpkg-deb", "dpkg")


class NotProvided(Exception):
    """A program the demo needs cannot be had here; the message says why and what to do."""


@dataclass(frozen=True)
class PackageSet:
    """Packages that are unpacked together with all they depend on."""

    name: str
    packages: tuple[str, ...]
    disk_mb: int  # free space needed: download and unpacked files together


@dataclass(frozen=True)
class Unpacked:
    """A complete set on disk."""

    root: Path

    def command(self, program: str) -> tuple[str, ...]:
        """Argument vector that starts `program` (path inside the root) with the set's own libc and libraries."""
        loaders = sorted(self.root.glob("usr/lib/*/ld-linux*.so.*"))
        if not loaders:
            raise NotProvided(f"{self.root} has no dynamic loader; remove that folder and start again")
        libraries = loaders[0].parent
        return (str(loaders[0]), "--library-path", str(libraries), str(self.root / program))


def cache_dir() -> Path:
    """Where everything is kept: $TAKEOVER_CACHE, else ~/.cache/takeover."""
    named = os.environ.get("TAKEOVER_CACHE")
    if named:
        return Path(named).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "takeover"


def find(wanted: PackageSet) -> Unpacked | None:
    """The set as it lies in the cache, or None."""
    root = _place(wanted) / "root"
    return Unpacked(root) if root.is_dir() else None


async def provide(wanted: PackageSet, progress: Progress) -> Unpacked:
    """The set, fetched if it is not in the cache yet. Parallel processes wait for the one that fetches.

    Raises NotProvided with the reason and the remedy.
    """
    present = find(wanted)
    if present:
        return present
    async with _lock(wanted, progress):
        present = find(wanted)  # somebody else may have fetched it while we waited
        return present or await _fetch(wanted, progress)


def remove(wanted: PackageSet) -> bool:
    """Deletes the set. True if there was one, complete or not."""
    place = _place(wanted)
    present = place.is_dir()
    shutil.rmtree(place, ignore_errors=True)
    return present


def _place(wanted: PackageSet) -> Path:
    return cache_dir() / wanted.name


@contextlib.asynccontextmanager
async def _lock(wanted: PackageSet, progress: Progress) -> AsyncIterator[None]:
    """One fetching process at a time; the lock goes with its holder, so a crash leaves none behind."""
    path = cache_dir() / f"{wanted.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        raise NotProvided(f"cannot write {path}: {error.strerror}; set TAKEOVER_CACHE to a folder of yours") from error
    with handle:
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress(f"{wanted.name}: another process is fetching it, waiting")
                told = True
                await asyncio.sleep(0.2)  # a file lock raises no event, and a blocked thread could not be cancelled
        yield


async def _fetch(wanted: PackageSet, progress: Progress) -> Unpacked:
    place = _place(wanted)
    _check_machine(place, wanted)
    mirrors = await _mirrors()
    architecture = (await _output("dpkg", "--print-architecture")).strip()
    last = ""
    for mirror in mirrors:
        options = _private_apt(place / "apt", mirror)
        progress(f"{wanted.name}: reading the package index of Debian {SUITE} ({architecture})")
        last = await _run(("apt-get", "update", "-q"), options)
        if not last:
            break
    if last:
        raise NotProvided(
            f"no Debian mirror answered for {SUITE}: {last}; check the network and /etc/apt/sources.list*, "
            "then start again (what was fetched is kept)"
        )
    progress(f"{wanted.name}: downloading {', '.join(wanted.packages)} and all that belongs to it")
    install = ("apt-get", "install", "-q", "-y", "--download-only", "--no-install-recommends", *wanted.packages)
    failure = await _run(install, options)
    if failure:
        raise NotProvided(f"downloading {wanted.name} failed: {failure}; start again, what was fetched is kept")
    return await _unpack(place, wanted, progress)


async def _unpack(place: Path, wanted: PackageSet, progress: Progress) -> Unpacked:
    archives = sorted((place / "apt/cache/archives").glob("*.deb"))
    progress(f"{wanted.name}: unpacking {len(archives)} packages")
    fresh, root = place / "root.new", place / "root"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for archive in archives:
        failure = await _run(("dpkg-deb", "-x", str(archive), str(fresh)), None)
        if failure:
            raise NotProvided(f"unpacking {archive.name} failed: {failure}; is the disk of {place} full?")
    fresh.rename(root)
    shutil.rmtree(place / "apt")
    progress(f"{wanted.name}: ready in {root}")
    return Unpacked(root)


def _check_machine(place: Path, wanted: PackageSet) -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or platform.system() != "Linux":
        raise NotProvided(
            f"{wanted.name}: this is no Debian ({', '.join(missing) or platform.system()} missing); install it with "
            "the system's package manager so that it is on PATH"
        )
    if not any(ring.is_file() for ring in KEYRINGS):
        raise NotProvided(
            f"{wanted.name}: Debian's archive keys are not installed; install the package debian-archive-keyring, or "
            f"{wanted.name} itself with the system's package manager"
        )
    place.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(place).free // 1_000_000
    if free_mb < wanted.disk_mb:
        raise NotProvided(
            f"{wanted.name} needs {wanted.disk_mb} MB, {place} has {free_mb} MB free; make room or set TAKEOVER_CACHE"
        )


async def _mirrors() -> list[str]:
    """Debian mirrors the machine's own apt uses, so that none has to be named by us."""
    form = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    listing = await _output("apt-get", "indextargets", "--format", form, "Created-By: Packages")
    found = mirrors_in(listing)
    if not found:
        raise NotProvided(
            "apt knows no Debian mirror (apt-get indextargets lists none); add one to /etc/apt/sources.list, or "
            "install Asterisk 18.16 or later with the system's package manager"
        )
    return found


def mirrors_in(listing: str) -> list[str]:
    """Mirrors in lines `uri|release|component`, in apt's order: those with a main archive that is not security's."""
    found: list[str] = []
    for line in listing.splitlines():
        uri, _, rest = line.partition("|")
        release, _, component = rest.partition("|")
        debian = uri.rstrip("/").endswith("/debian")  # a vendor's archive has no suite of ours
        if debian and component == "main" and "security" not in release and uri not in found:
            found.append(uri)
    return found


def _private_apt(place: Path, mirror: str) -> dict[str, str]:
    """Writes apt's private configuration; returns the environment that makes apt use it."""
    ring = next(ring for ring in KEYRINGS if ring.is_file())
    for folder in ("lists/partial", "cache/archives/partial", "state"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    (place / "state/status").touch()  # empty: the closure must be complete, libc included
    (place / "sources.list").write_text(f"deb [signed-by={ring}] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::State": place / "state",
        "Dir::State::status": place / "state/status",
        "Dir::State::lists": place / "lists",
        "Dir::Cache": place / "cache",
        "Acquire::Check-Valid-Until": "false",  # a mirror's snapshot may be days old; its signature still counts
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",  # the lock of ours is enough, and it needs no root
    }
    config = place / "apt.conf"
    config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return {"APT_CONFIG": str(config), "LC_ALL": "C"}


async def _run(command: Sequence[str], extra: dict[str, str] | None) -> str:
    """Runs a tool; returns "" or, when it failed, its last error line."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(extra or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    text = output.decode(errors="replace")
    # apt-get update exits 0 when an index could not be fetched and an old one (or none) is used instead.
    errors = [line for line in text.splitlines() if line.startswith(("E:", "W: Failed", "Err:", "dpkg-deb: error"))]
    if process.returncode == 0 and not any(line.startswith("W: Failed") for line in errors):
        return ""
    return errors[-1] if errors else f"{command[0]} ended with {process.returncode}: {text.strip()[-300:]}"


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")
