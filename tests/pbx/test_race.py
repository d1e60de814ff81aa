"""Two agents want the same call at the same moment: exactly one gets it, the other is told who has it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from tests.support.agent import Agent, Reply
from tests.support.server import Server
from tests.support.stack import Stack
from web.demo.asterisk import Installation

ROUNDS = 200
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


async def _race(pair: Pair, call: str, number: int) -> tuple[Agent, Reply, Reply]:
    """One round: the winner, what it was told, and what the other was told. Who asks first takes turns."""
    first, second = pair if number % 2 else pair[::-1]
    one, other = await asyncio.gather(first.engage(call), second.engage(call))
    assert sorted((one.status, other.status)) == [201, 409], (one.body, other.body)
    return (first, one, other) if one.status == 201 else (second, other, one)


async def test_of_two_agents_exactly_one_gets_the_call(stack: Stack) -> None:
    async with AsyncExitStack() as parts:
        pairs = [await _pair(parts, number, stack.server, stack.server) for number in range(CALLS)]
        await _rounds(stack, pairs)


async def test_of_two_services_exactly_one_gets_the_call(stack: Stack) -> None:
    """Neither service knows of the other's claim: the PBX is the judge, and tells the winner's name."""
    other = await stack.other_service()
    async with AsyncExitStack() as parts:
        pairs = [await _pair(parts, number, stack.server, other) for number in range(CALLS)]
        await _rounds(stack, pairs)


async def _pair(parts: AsyncExitStack, number: int, first: Server, second: Server) -> Pair:
    return await _on_duty(parts, first, f"anna-{number}"), await _on_duty(parts, second, f"boris-{number}")


async def _rounds(stack: Stack, pairs: list[Pair]) -> None:
    """`ROUNDS` races altogether, each pair for a call of its own; nobody is hurt by them."""
    calls = [await stack.lab.call("T1") for _ in pairs]
    wins: Counter[str] = Counter()

    async def go(pair: Pair, call: str) -> None:
        for agent in pair:
            await agent.seen(call)
        for number in range(ROUNDS // CALLS):
            winner, got, refused = await _race(pair, call, number)
            assert refused.slug == "already-taken"
            assert refused.body["speaker"] == winner.username.title()
            wins[winner.username] += 1
            (await winner.release(got.body["id"])).expect(204)

    async with asyncio.TaskGroup() as tasks:
        for pair, call in zip(pairs, calls, strict=True):
            tasks.create_task(go(pair, stack.id_of(call)))
    assert wins.total() == ROUNDS
    assert not any(call.caller.ended.is_set() for call in calls)
    assert await stack.lab.agent_channels() == []
