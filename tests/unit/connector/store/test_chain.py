"""The chain of the audit, without a database: each way to falsify it is a fault that names the place."""

from dataclasses import replace

import pytest

from connector.store.chain import GENESIS, MAX_FAULTS, Entry, Head, Walk, mac, verify

KEY = b"k" * 32
ROWS = 6


def chained(count: int = ROWS, key: bytes = KEY) -> list[tuple[int, Entry, str]]:
    rows: list[tuple[int, Entry, str]] = []
    previous = GENESIS
    for number in range(1, count + 1):
        entry = Entry(f"2026-01-31T12:00:{number:02}Z", "intent", "anna", "takeover", "main~1", {"leg": f"l{number}"})
        previous = mac(key, previous, number, entry)
        rows.append((number, entry, previous))
    return rows


def head(rows: list[tuple[int, Entry, str]]) -> Head:
    return Head(rows[-1][0], rows[-1][2]) if rows else Head()


def test_a_sound_chain_has_no_fault() -> None:
    rows = chained()
    assert verify(KEY, rows, head(rows)) == []
    assert verify(KEY, [], Head()) == []
    for journal in rows:
        assert verify(KEY, rows, head(rows), Head(journal[0], journal[2])) == []
    assert verify(KEY, rows, head(rows), Head()) == []


@pytest.mark.parametrize("field", ["at", "kind", "actor", "act", "call", "facts", "refers", "reserve"])
@pytest.mark.parametrize("index", range(ROWS))
def test_a_changed_field_is_found_where_it_is(field: str, index: int) -> None:
    rows = chained()
    changed = {"facts": {"leg": "other"}, "refers": 1}.get(field, "other")
    rows[index] = (rows[index][0], replace(rows[index][1], **{field: changed}), rows[index][2])  # type: ignore[arg-type]
    assert [(fault.number, fault.kind) for fault in verify(KEY, rows, head(rows))] == [(index + 1, "changed")]


@pytest.mark.parametrize("index", range(ROWS - 1))
def test_a_removed_row_is_found(index: int) -> None:
    rows = chained()
    kept = head(rows)
    del rows[index]
    assert [(fault.number, fault.kind) for fault in verify(KEY, rows, kept)] == [(index + 1, "missing")]


def test_a_removed_row_with_the_rest_renumbered_is_found() -> None:
    rows = chained()
    moved = [*rows[:2], *((number - 1, entry, found) for number, entry, found in rows[3:])]
    first = verify(KEY, moved, head(moved))[0]
    assert (first.number, first.kind) == (3, "changed")


def test_swapped_rows_are_found() -> None:
    rows = chained()
    (a, first, mac_a), (b, second, mac_b) = rows[2:4]
    rows[2:4] = [(a, second, mac_b), (b, first, mac_a)]
    assert {fault.number for fault in verify(KEY, rows, head(rows))} >= {3, 4}


def test_an_inserted_row_is_found_whatever_key_the_forger_has() -> None:
    rows = chained()
    forged = chained(ROWS + 1, b"x" * 32)
    rows.append(forged[-1])
    assert [(fault.number, fault.kind) for fault in verify(KEY, rows, head(rows))] == [(ROWS + 1, "changed")]


def test_a_cut_tail_shows_against_the_kept_head_and_against_the_journal() -> None:
    rows = chained()
    full = head(rows)
    cut = rows[:-2]
    assert [fault.kind for fault in verify(KEY, cut, full)] == ["cut"]
    assert verify(KEY, cut, head(cut)) == [], "the forger moved the kept head along: only the journal knows"
    assert [fault.kind for fault in verify(KEY, cut, head(cut), full)] == ["cut"]


def test_a_chain_that_was_written_anew_shows_against_the_journal() -> None:
    rows = chained()
    known = head(rows)
    rewritten = chained()
    rewritten[2] = (3, replace(rewritten[2][1], actor="ben"), "")
    previous = rewritten[1][2]
    for index in range(2, ROWS):
        number, entry, _ = rewritten[index]
        previous = mac(KEY, previous, number, entry)
        rewritten[index] = (number, entry, previous)
    assert verify(KEY, rewritten, head(rewritten)) == [], "with the key anything can be forged"
    assert [fault.kind for fault in verify(KEY, rewritten, head(rewritten), known)] == ["changed"]


def test_the_wrong_key_fits_nothing() -> None:
    rows = chained()
    assert len(verify(b"w" * 32, rows, head(rows))) == ROWS


def test_a_head_reads_what_it_wrote() -> None:
    known = head(chained())
    assert Head.parse(f" {known}\n") == known
    for bad in ("", "1", "x:" + "0" * 64, "1:00"):
        with pytest.raises(ValueError, match="is no audit head"):
            Head.parse(bad)


def test_a_row_before_the_first_is_found() -> None:
    rows = chained()
    forged = (-5, rows[0][1], rows[0][2])
    assert [(fault.number, fault.kind) for fault in verify(KEY, [forged, *rows], head(rows))] == [(-5, "changed")]


def test_a_row_that_is_there_twice_is_found() -> None:
    rows = chained()
    assert [fault.number for fault in verify(KEY, [*rows[:3], rows[2], *rows[3:]], head(rows))] == [3]


def test_who_writes_on_meanwhile_is_no_fault() -> None:
    rows = chained()
    walk = Walk(KEY, head(rows[:3]))
    for row in rows:
        walk.step(*row)
    assert walk.finish(head(rows)) == []


def test_a_kept_head_that_was_set_back_is_a_fault() -> None:
    rows = chained()
    walk = Walk(KEY, head(rows[:3]))
    for row in rows:
        walk.step(*row)
    assert [fault.kind for fault in walk.finish(head(rows[:3]))] == ["head"]


def test_under_a_wrong_key_the_list_of_faults_is_bounded() -> None:
    rows = chained(MAX_FAULTS + 50)
    faults = verify(b"w" * 32, rows, head(rows))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1].detail == "50 more faults are not listed"
