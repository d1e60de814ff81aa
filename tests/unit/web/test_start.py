"""A start that comes to nothing: what is in the way is named, and the next start finds nothing broken."""

import errno
import os
from pathlib import Path

import pytest

from connector.domain.errors import StoreUnavailable
from web import ground, keyfile, stores
from web.errors import StartFailed
from web.keyfile import KeyUnusable
from web.settings import Settings

PBX = {"main": {"kind": "asterisk", "username": "t", "secret": "s"}}


def settings(folder: Path) -> Settings:
    return Settings.model_validate({"pbx": PBX, "data_dir": folder})


def test_a_full_disk_leaves_no_empty_key_that_looks_like_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.key"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(KeyUnusable, match=r"audit.key_file: .*audit.key.*No space left on device\); make room"):
            keyfile.read_or_make(path)
    assert list(tmp_path.iterdir()) == []
    key = keyfile.read_or_make(path)
    assert (len(key), keyfile.read_or_make(path)) == (32, key)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_instance_that_was_cut_off_is_made_anew_and_one_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("")  # as a full disk leaves it
    name = ground.instance_in(tmp_path)
    assert name == ground.instance_in(tmp_path) != ""
    (tmp_path / "instance").write_text("a b")
    with pytest.raises(StartFailed, match=r"instance' holds 'a b', which is no name; delete it"):
        ground.instance_in(tmp_path)
    (tmp_path / "instance").unlink()
    (tmp_path / "instance").mkdir()
    with pytest.raises(StartFailed, match="Is a directory"):
        ground.instance_in(tmp_path)


async def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "takeover.db").write_text("no database at all" * 100)
    with pytest.raises(StoreUnavailable, match=r"file is not a database \(.*takeover.db and .*put the backup back"):
        async with stores.opened(settings(tmp_path)):
            pass


async def test_what_fails_in_an_open_store_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"^the store is unavailable: later$"):
        async with stores.opened(settings(tmp_path)):
            raise StoreUnavailable("later")
