"""Room for emergency records: durable, bounded, and unforgeable."""

from pathlib import Path

import pytest

from connector.domain.errors import StoreUnavailable
from connector.store.reserve import Reserve

KEY = b"k" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reserve"


def entries(count: int) -> list[dict[str, object]]:
    return [{"act": f"takeover-{number}", "facts": {"ü": "☎"}} for number in range(count)]


def test_what_was_appended_is_there_after_a_crash(path: Path) -> None:
    reserve = Reserve(path, KEY)
    for entry in entries(5):
        reserve.append(entry)
    assert Reserve(path, KEY).entries == entries(5)  # the first one was never closed


def test_its_blocks_are_allocated_in_advance(path: Path) -> None:
    reserve = Reserve(path, KEY, 64 * 1024)
    before = path.stat()
    assert before.st_blocks * 512 >= 64 * 1024
    for entry in entries(100):
        reserve.append(entry)
    after = path.stat()
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)


def test_clearing_forgets_all_and_keeps_the_room(path: Path) -> None:
    reserve = Reserve(path, KEY, 4096)
    for entry in entries(5):
        reserve.append(entry)
    reserve.clear()
    assert reserve.entries == []
    assert Reserve(path, KEY, 4096).entries == []
    assert path.stat().st_size == 4096
    reserve.append(entries(1)[0])
    assert Reserve(path, KEY, 4096).entries == entries(1)


def test_a_full_reserve_says_so_and_keeps_what_it_has(path: Path) -> None:
    reserve = Reserve(path, KEY, 300)
    reserve.append({"act": "a"})
    with pytest.raises(StoreUnavailable, match="is full"):
        reserve.append({"act": "b" * 300})
    assert Reserve(path, KEY, 300).entries == [{"act": "a"}]


@pytest.mark.parametrize("keep", range(0, 90, 7))
def test_a_torn_write_ends_the_list_before_it(path: Path, keep: int) -> None:
    reserve = Reserve(path, KEY)
    reserve.append({"act": "whole"})
    end = reserve._end
    reserve.append({"act": "torn", "facts": {"x": "y" * 40}})
    raw = bytearray(path.read_bytes())
    raw[end + keep : reserve._end] = bytes(len(raw[end + keep : reserve._end]))
    path.write_bytes(raw)
    assert Reserve(path, KEY).entries == [{"act": "whole"}]


def test_without_the_key_nothing_can_be_added_or_changed(path: Path) -> None:
    forger = Reserve(path, b"f" * 32)
    forger.append({"act": "forged"})
    assert Reserve(path, KEY).entries == []


def test_an_entry_cannot_be_moved(path: Path) -> None:
    reserve = Reserve(path, KEY)
    reserve.append({"act": "first"})
    end = reserve._end
    reserve.append({"act": "other"})
    raw = path.read_bytes()
    path.write_bytes(raw[end : 2 * end] + raw[:end] + raw[2 * end :])
    assert Reserve(path, KEY).entries == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        Reserve(tmp_path / "nowhere" / "reserve", KEY)
