"""A call for a person, as panels and the AI's platform are told of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from connector.domain.escalation import Step
from connector.services.escalations import Policy

from .house import House, until


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A house with a ladder that is climbed at once."""
    one = House(tmp_path)
    ladder = (Step(0.05, priority="urgent", notify=("supervisors",)), Step(0.1, transfer="support"))
    one.escalation = Policy(ladder=ladder, ceilings={"acme": "normal"})
    async with one:
        yield one


async def test_panels_see_the_steps_and_the_caller_is_sent_on(house: House) -> None:
    anna, ai = await house.person("anna"), await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    asked = await ai.ask("POST", f"calls/{call}/escalation", {"reason": "help", "priority": "emergency"})
    assert (asked.body["priority"], asked.body["step"], asked.body["supervisors"]) == ("normal", 0, False)
    await until(lambda: ("transfer", str(call), "support") in house.pbx.did)
    shown: Any = (await anna.ask("GET", f"calls/{call}")).body["escalation"]
    assert (shown["priority"], shown["step"], shown["supervisors"]) == ("urgent", 2, True)
    assert shown["since"] < shown["raised_at"] < shown["escalated_at"]


async def test_the_ais_socket_tells_what_becomes_of_its_request(house: House) -> None:
    ai, other = await house.machine("bot", "ai", ai="acme"), await house.machine("spy", "ai", ai="other")
    mine, theirs = await ai.events(), await other.events()
    call = house.call("1", ref="r-1")
    assert (await mine.receive_json(timeout=5))["type"] == "call"
    await ai.ask("POST", f"calls/{call}/escalation", {"reason": "help"})
    told = [await mine.receive_json(timeout=5) for _ in range(3)]
    assert [one["type"] for one in told] == ["escalation.raised", "escalation.step", "escalation.step"]
    assert {(one["call"], one["ai_ref"], one["reason"]) for one in told} == {(call, "r-1", "help")}
    assert told[2]["transfer"] == "support"
    await ai.ask("DELETE", f"calls/{call}/escalation")
    assert (await mine.receive_json(timeout=5))["type"] == "escalation.withdrawn"
    await theirs.send_json({"type": "ping", "t": 1})
    assert (await theirs.receive_json(timeout=5))["type"] == "pong", "another AI is told nothing"
