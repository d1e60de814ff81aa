"""The outbox is bounded, and keeps the order."""

from hypothesis import given
from hypothesis import strategies as st

from web.outbox import Outbox


def test_frames_leave_in_the_order_they_came() -> None:
    box = Outbox()
    box.put(b"a")
    box.put(b"b")
    assert [box.take(), box.take(), box.take()] == [b"a", b"b", None]


def test_a_full_outbox_is_emptied_and_wants_a_snapshot() -> None:
    box = Outbox(limit_items=3)
    for _ in range(10):
        box.put(b"x")
    assert (len(box), box.overflowed) == (0, True)
    box.reset()
    box.put(b"all")
    assert box.take() == b"all"


@given(st.lists(st.tuples(st.binary(max_size=40), st.sampled_from(["put", "take", "reset"])), max_size=200))
def test_it_never_holds_more_than_its_limits(steps: list[tuple[bytes, str]]) -> None:
    box = Outbox(limit_items=10, limit_bytes=200)
    for frame, what in steps:
        match what:
            case "put":
                box.put(frame)
            case "take":
                box.take()
            case "reset":
                box.reset()
        assert len(box) <= 10
        assert box._bytes == sum(map(len, box._frames)) <= 200
