"""The outbox is bounded and keeps the newest word on each thing."""

from hypothesis import given
from hypothesis import strategies as st

from web.outbox import Outbox


def test_a_change_replaces_an_earlier_one_of_its_key_in_place() -> None:
    box = Outbox()
    box.change(("1", "call"), "old", 1)
    box.change(("1", "turn", "a"), "turn", 2)
    box.change(("1", "call"), "new", 3)
    batch = box.take()
    assert batch is not None
    assert (batch.changes, batch.rev) == (["new", "turn"], 3)
    assert box.take() is None


def test_what_waits_of_a_call_can_be_dropped() -> None:
    box = Outbox()
    box.change(("1", "call"), "a", 1)
    box.change(("2", "call"), "b", 2)
    box.change(("pbx", "lab"), "c", 3)
    box.drop("1")
    batch = box.take()
    assert batch is not None
    assert batch.changes == ["b", "c"]


def test_a_full_outbox_is_emptied_and_wants_a_snapshot() -> None:
    box = Outbox(limit_items=3)
    for number in range(10):
        box.change(("call", number), "x", number)
    assert (len(box), box.overflowed) == (0, True)
    box.reset()
    box.frame("snapshot", "all")
    batch = box.take()
    assert batch is not None
    assert batch.frames == ["all"]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.text(max_size=40), st.sampled_from(["frame", "change", "take", "drop"])),
        max_size=200,
    )
)
def test_it_never_holds_more_than_its_limits(steps: list[tuple[int, str, str]]) -> None:
    box = Outbox(limit_items=10, limit_bytes=200)
    for key, text, what in steps:
        match what:
            case "frame":
                box.frame(key, text)
            case "change":
                box.change((key, "call"), text, key)
            case "drop":
                box.drop(key)
            case "take":
                box.take()
        assert len(box) <= 10
        assert 0 <= box._bytes <= 200
        assert box._bytes == sum(map(len, (*box._frames.values(), *box._changes.values())))
