"""Private packages: which mirror, what is said when they cannot be had. Nothing is fetched here."""

import asyncio
import shutil
from pathlib import Path

import pytest

from web.demo import packages
from web.demo.packages import NotProvided, PackageSet, mirrors_in

TINY = PackageSet("tiny", ("tiny",), disk_mb=1)

LISTING = """\
http://mirror.one/debian/|bookworm|main
http://mirror.one/debian/|bookworm|contrib
http://mirror.two/debian/|bookworm-updates|main
http://mirror.one/debian-security/|bookworm-security|main
http://vendor.one/apt/|stable|main
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAKEOVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_debian_mirrors_only_each_once() -> None:
    assert mirrors_in(LISTING) == ["http://mirror.one/debian/", "http://mirror.two/debian/"]
    assert mirrors_in("") == []


def test_the_cache_is_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert packages.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("TAKEOVER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert packages.cache_dir() == tmp_path / "xdg" / "takeover"


def said() -> tuple[list[str], packages.Progress]:
    lines: list[str] = []
    return lines, lines.append


async def test_what_is_there_is_not_fetched(cache: Path) -> None:
    (cache / "tiny" / "root").mkdir(parents=True)
    lines, progress = said()
    assert (await packages.provide(TINY, progress)).root == cache / "tiny" / "root"
    assert lines == []
    assert packages.remove(TINY)
    assert not packages.remove(TINY)
    assert packages.find(TINY) is None


async def test_a_machine_without_apt_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _tool: None)
    with pytest.raises(NotProvided, match=r"no Debian \(apt-get, dpkg-deb, dpkg missing\).*package manager"):
        await packages.provide(TINY, print)


async def test_missing_keys_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "KEYRINGS", (tmp_path / "none.gpg",))
    with pytest.raises(NotProvided, match="debian-archive-keyring"):
        await packages.provide(TINY, print)


async def test_a_full_disk_is_told_before_anything_is_fetched(cache: Path) -> None:
    huge = PackageSet("huge", ("huge",), disk_mb=10**9)
    with pytest.raises(NotProvided, match=r"needs 1000000000 MB.*has \d+ MB free.*TAKEOVER_CACHE"):
        await packages.provide(huge, print)
    assert not list((cache / "huge").iterdir())


async def test_no_mirror_in_apts_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_command: str) -> str:
        return "http://vendor.one/apt/|stable|main\n"

    monkeypatch.setattr(packages, "_output", nothing)
    with pytest.raises(NotProvided, match=r"no Debian mirror.*sources\.list"):
        await packages.provide(TINY, print)


async def test_a_mirror_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mirrors() -> list[str]:
        return ["http://127.0.0.1:9/debian/"]

    monkeypatch.setattr(packages, "_mirrors", mirrors)
    with pytest.raises(NotProvided, match=r"no Debian mirror answered for sid: .*start again"):
        await packages.provide(TINY, print)


async def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TAKEOVER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NotProvided, match=r"cannot write .*TAKEOVER_CACHE"):
        await packages.provide(TINY, print)


async def test_two_at_once_fetch_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    fetched: list[str] = []

    async def fetch(wanted: PackageSet, _progress: packages.Progress) -> packages.Unpacked:
        fetched.append(wanted.name)
        await asyncio.sleep(0.3)
        root = cache / wanted.name / "root"
        root.mkdir(parents=True)
        return packages.Unpacked(root)

    monkeypatch.setattr(packages, "_fetch", fetch)
    lines, progress = said()
    one, other = await asyncio.gather(packages.provide(TINY, progress), packages.provide(TINY, progress))
    assert one == other
    assert fetched == ["tiny"]
    assert lines == ["tiny: another process is fetching it, waiting"]


def test_a_root_without_a_loader_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotProvided, match="no dynamic loader"):
        packages.Unpacked(tmp_path).command("usr/bin/x")
