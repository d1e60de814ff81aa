"""Everything at once, at random and in virtual time: afterwards registry, legs and PBX agree, and no AI is silent."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Coroutine
from typing import get_args

import pytest

from connector.domain.calls import Mode, Phase
from connector.domain.errors import TakeoverError
from connector.domain.people import Actor
from tests.contract.fake_pbx import FakeExchange, Fault

from .parts import Service, service, settle
from .virtual import virtual_time

AGENTS = [Actor(f"agent-{number}", f"Agent {number}", "supervisor") for number in range(4)]
VERBS = ("engage", "switch", "release", "renew", "snapshot")
FAULTS: tuple[Fault, ...] = get_args(Fault)
STEPS = 60


class Chaos:
    """One run of random acts of agents, callers, AIs, networks, disks and workers."""

    def __init__(self, s: Service, rng: random.Random) -> None:
        self.s = s
        self.rng = rng
        self.acts: set[asyncio.Task[None]] = set()

    async def rage(self) -> None:
        for _ in range(STEPS):
            act = self.rng.choice([self._agent] * 6 + [self._people] * 2 + [self._world] * 3)
            act()
            await asyncio.sleep(self.rng.choice((0, 0.001, 0.05, 0.7, 2.5)))
            self.check()

    async def calm(self) -> None:
        """Everything works again, and there is time."""
        self.s.legs.stuck, self.s.journal.failing, self.s.pbx.delay = False, False, 0.0
        self.s.legs.unfit.clear()
        self.s.pbx.faults.clear()
        if not self.s.pbx.up:
            self.s.pbx.connect()
        await asyncio.sleep(60)
        await asyncio.gather(*self.acts)

    def check(self) -> None:
        """What holds in the middle of it."""
        for call in self.s.exchange.calls.values():
            assert sum(agent.mode.speaks for agent in call.agents.values()) <= 1

    def check_at_the_end(self) -> None:
        there = {agent.patch: agent for call in self.s.exchange.calls.values() for agent in call.agents.values()}
        here = {c.patch: c for c in self.s.takeovers._conductors.values() if c.patch is not None}
        assert len(here) == len(self.s.takeovers._conductors)
        assert there.keys() == here.keys()
        for patch, conductor in here.items():
            assert (conductor.engagement.mode, conductor.engagement.phase) == (there[patch].mode, Phase.ACTIVE)
        assert {e.id for e in self.s.registry.engagements()} == {c.engagement.id for c in here.values()}
        assert set(self.s.legs.open) == set(there)
        assert {call.id for call in self.s.registry.calls()} == set(self.s.exchange.calls)

    def _agent(self) -> None:
        actor = self.rng.choice(AGENTS)
        leg = f"leg-{actor.id}"
        mine = [e for e in self.s.registry.engagements() if e.agent == actor.id]
        calls = self.s.registry.calls()
        mode = self.rng.choice(list(Mode))
        if mine and self.rng.random() < 0.4:
            self._try(self.s.takeovers.release(actor, mine[0].id))
        elif mine and self.rng.random() < 0.7:
            self._try(self.s.takeovers.change(actor, mine[0].id, mode))
        elif calls:
            override = "because" if self.rng.random() < 0.3 else None
            self._try(self.s.takeovers.engage(actor, self.rng.choice(calls).id, mode, leg, override))

    def _try(self, act: Coroutine[None, None, object]) -> None:
        async def tried() -> None:
            with contextlib.suppress(TakeoverError):  # refusals are part of the game
                await act

        task = asyncio.create_task(tried())
        self.acts.add(task)

    def _people(self) -> None:
        exchange = self.s.exchange
        calls = list(exchange.calls.values())
        if len(calls) < 3 or self.rng.random() < 0.3:
            exchange.make_call()
            return
        call = self.rng.choice(calls)
        match self.rng.randrange(3):
            case 0:
                exchange.caller_hangs_up(call)
            case 1 if call.ai:
                exchange.ai_hangs_up(call)
            case _ if call.agents:
                exchange.out(self.rng.choice(list(call.agents.values())), "hangup")

    def _world(self) -> None:
        s, rng = self.s, self.rng
        match rng.randrange(7):
            case 0 if s.pbx.up:
                s.pbx.cut()
            case 0 | 1 if not s.pbx.up:
                s.pbx.connect()
            case 2:
                s.pbx.faults[rng.choice(VERBS)] = deque(rng.choices(FAULTS, k=rng.randrange(1, 4)))
            case 3:
                s.legs.stuck = rng.random() < 0.3
            case 4:
                s.journal.failing = rng.random() < 0.3
            case 5:
                s.pbx.delay = rng.choice((0.0, 0.03, 0.4))
            case 6:
                leg = f"leg-{rng.choice(AGENTS).id}"
                if leg in s.legs.unfit:
                    del s.legs.unfit[leg]
                else:
                    s.legs.unfit[leg] = "no-microphone"
                    if rng.random() < 0.5:
                        s.takeovers.leg_down(leg, "no-microphone")


@pytest.mark.parametrize("seed", range(40))
@virtual_time
async def test_after_any_chaos_everybody_agrees(seed: int) -> None:
    async with service(FakeExchange()) as s:
        chaos = Chaos(s, random.Random(seed))
        for _ in range(2):
            s.make_call()
        await settle()
        await chaos.rage()
        await chaos.calm()
        chaos.check_at_the_end()
        await s.takeovers.drain()
        await settle(1)
        assert all(call.ai_audible or not call.ai for call in s.exchange.calls.values())
        assert not any(call.agents for call in s.exchange.calls.values())
