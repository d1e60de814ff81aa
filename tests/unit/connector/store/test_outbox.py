"""Events that wait for their webhook."""

from connector.ports import Undelivered
from connector.store import Store

from .conftest import Place


def one(number: int, hook: str = "a") -> Undelivered:
    return Undelivered(hook, f"e{number}", 1_700_000_000.25 + number, '{"text": "é"}')


async def test_what_waits_is_there_after_a_restart_in_its_order(place: Place) -> None:
    async with place.open() as store:
        await store.outbox.change([one(2), one(1), one(1, "b")], [])
    async with place.open() as store:
        assert await store.outbox.waiting() == [one(2), one(1), one(1, "b")]


async def test_what_is_removed_is_gone_for_its_webhook_only(store: Store) -> None:
    await store.outbox.change([one(1), one(1, "b"), *(one(number, "c") for number in range(250))], [])
    await store.outbox.change(
        [one(2)], [("a", "e1"), ("a", "unknown"), *(("c", f"e{number}") for number in range(250))]
    )
    assert await store.outbox.waiting() == [one(1, "b"), one(2)]


async def test_what_is_added_twice_is_there_once(store: Store) -> None:
    for _ in range(2):
        await store.outbox.change([one(1)], [])
    assert await store.outbox.waiting() == [one(1)]
