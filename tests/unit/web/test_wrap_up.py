"""What came of one's part in a call is taken also when the store has not yet written that it ended."""

import asyncio
from typing import Any

import pytest

from tests.unit.web.house import House, until


class SlowStore:
    """Engagements that are written when it is open."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.asked = asyncio.Event(), 0
        put = house.store.engagements.put

        async def slow(*given: Any, **more: Any) -> None:
            self.asked += 1
            await self.open.wait()
            await put(*given, **more)

        monkeypatch.setattr(house.store.engagements, "put", slow)


@pytest.mark.parametrize("knew", [True, False])
async def test_it_waits_for_a_slow_store(house: House, monkeypatch: pytest.MonkeyPatch, knew: bool) -> None:
    """Without a word of the beginning it was 404, without the end "you are still in it"."""
    anna = await house.person("anna")
    call, leg = house.call(), await anna.leg()
    store = None if knew else SlowStore(house, monkeypatch)
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    if knew:
        async with asyncio.timeout(30):
            while not await house.store.engagements.of_call(call):  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.01)
        store = SlowStore(house, monkeypatch)
    assert store is not None
    await anna.ask("POST", f"engagements/{made.body['id']}/release", {"note": "be kind"})
    said = asyncio.create_task(anna.ask("POST", f"calls/{call}/wrap-up", {"outcome": "sold", "note": "two"}))
    await until(lambda: store.asked > 0)
    store.open.set()
    assert (await said).status == 204
    (past,) = await house.store.engagements.of_call(call)
    assert (past.ended, past.outcome, past.note) == ("released", "sold", "be kind\ntwo")


async def test_a_store_that_hangs_is_said_to_be_the_reason(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    conductors = house.takeovers._conductors
    monkeypatch.setattr(conductors, "_patience", 0.1)
    anna = await house.person("anna")
    call, leg = house.call(), await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    store = SlowStore(house, monkeypatch)
    await anna.ask("POST", f"engagements/{made.body['id']}/release", {})
    answer = await anna.ask("POST", f"calls/{call}/wrap-up", {"outcome": "sold", "note": ""})
    assert (answer.status, answer.slug) == (503, "store-unavailable")
    assert "Try again" in answer.body["detail"]
    store.open.set()


async def test_who_has_come_back_into_the_call_is_still_in_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = await house.person("anna")
    call, leg = house.call(), await anna.leg()
    for mode in ("takeover", "monitor"):
        made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": mode, "leg": leg})
        if mode == "takeover":
            await anna.ask("POST", f"engagements/{made.body['id']}/release", {})
    answer = await anna.ask("POST", f"calls/{call}/wrap-up", {"outcome": "sold", "note": ""})
    assert answer.body["detail"] == "call: you are still in it; leave it first"
