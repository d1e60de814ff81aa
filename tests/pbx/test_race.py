"""Two agents want the same call at the same moment: exactly one gets it, the other is told who has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from tests.support.agent import Agent, Reply
from tests.support.server import Server
from tests.support.stack import Stack
from web.demo.asterisk import Installation

ROUNDS = 200
ROUNDS_OF_SERVICES = 40
CALLS = 2
"Raced for at the same time, each by a pair of its own."

Pair = tuple[Agent, Agent]


@pytest_asyncio.fixture
async def stack(installation: Installation) -> AsyncIterator[Stack]:
    async with Stack(installation, staff=0) as stack:
        yield stack


async def _on_duty(parts: AsyncExitStack, server: Server, name: str) -> Agent:
    await server.add_user(name)
    agent = await parts.enter_async_context(Agent(server.url, name, server.password))
    await agent.on_duty()
    return agent


async def _race(pair: Pair, call: str, number: int) -> tuple[Agent, Reply, Agent, Reply]:
    """One round: winner and loser, each with what it was told. Who asks first takes turns."""
    first, second = pair if number % 2 else pair[::-1]
    one, other = await asyncio.gather(first.engage(call), second.engage(call))
    assert sorted((one.status, other.status)) == [201, 409], (one.body, other.body)
    if one.status == 201:
        return first, one, second, other
    return second, other, first, one


async def test_of_two_agents_exactly_one_gets_the_call(stack: Stack) -> None:
    wins: dict[str, int] = {}

    async def rounds(pair: Pair, call: str) -> None:
        for number in range(ROUNDS // CALLS):
            winner, got, _, refused = await _race(pair, call, number)
            assert refused.slug == "already-taken"
            assert refused.body["speaker"] == winner.username.title()
            wins[winner.username] = wins.get(winner.username, 0) + 1
            (await winner.release(got.body["id"])).expect(204)

    async with AsyncExitStack() as parts:
        calls = [await stack.lab.call("T1") for _ in range(CALLS)]
        names = [(f"anna-{number}", f"boris-{number}") for number in range(CALLS)]
        pairs = [
            (await _on_duty(parts, stack.server, anna), await _on_duty(parts, stack.server, boris))
            for anna, boris in names
        ]
        ids = [stack.id_of(call) for call in calls]
        for pair, identity in zip(pairs, ids, strict=True):
            await pair[0].seen(identity)
        async with asyncio.TaskGroup() as tasks:
            for pair, identity in zip(pairs, ids, strict=True):
                tasks.create_task(rounds(pair, identity))
        assert not any(call.caller.ended.is_set() for call in calls)
    assert sum(wins.values()) == ROUNDS
    assert await stack.agent_channels() == []


async def test_of_two_services_exactly_one_gets_the_call(stack: Stack) -> None:
    """Neither service knows of the other's claim: the PBX is the judge."""
    other = await stack.other_service()
    async with AsyncExitStack() as parts:
        call = await stack.lab.call("T1")
        identity = stack.id_of(call)
        pair = await _on_duty(parts, stack.server, "anna"), await _on_duty(parts, other, "boris")
        for agent in pair:
            await agent.seen(identity)
        for number in range(ROUNDS_OF_SERVICES):
            winner, got, _, refused = await _race(pair, identity, number)
            assert refused.slug == "already-taken"
            assert refused.body["speaker"], "the loser is told who has the call"
            assert len(await stack.agent_channels()) == 1
            (await winner.release(got.body["id"])).expect(204)
        assert not call.caller.ended.is_set()
    assert await stack.agent_channels() == []
