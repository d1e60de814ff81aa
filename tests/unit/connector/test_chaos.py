"""Everything at once, at random and in virtual time: afterwards registry, legs and PBX agree, and no AI is silent."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Coroutine
from typing import get_args

import pytest

from connector.domain.calls import CallId, Mode, Phase
from connector.domain.errors import TakeoverError
from connector.domain.people import Actor, may
from tests.contract.fake_pbx import FakeExchange, Fault

from .parts import Service, service, settle
from .virtual import virtual_time

QUEUES = ("sales", "support")
REACH = (frozenset({"*"}), frozenset({"*"}), frozenset(QUEUES[:1]), frozenset(QUEUES[1:]))
AGENTS = [Actor(f"agent-{number}", f"Agent {number}", "supervisor", queues) for number, queues in enumerate(REACH)]
VERBS = ("engage", "switch", "release", "renew", "snapshot", "hangup", "transfer")
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
        self.s.legs.stuck, self.s.journal.failing = False, False
        self.s.pbx.delay, self.s.journal.delay = 0.0, 0.0
        self.s.legs.unfit.clear()
        self.s.pbx.faults.clear()
        if not self.s.pbx.up:
            self.s.pbx.connect()
        await asyncio.sleep(60)
        await asyncio.gather(*self.acts)

    async def give_up(self) -> None:
        """Nobody waits for an answer any more."""
        for act in self.acts:
            act.cancel()
        await asyncio.gather(*self.acts, return_exceptions=True)

    def check(self) -> None:
        """What holds in the middle of it."""
        for call in self.s.exchange.calls.values():
            assert sum(agent.mode.speaks for agent in call.agents.values()) <= 1

    def check_at_the_end(self) -> None:
        everybody = {agent.patch: agent for call in self.s.exchange.calls.values() for agent in call.agents.values()}
        there = {patch: agent for patch, agent in everybody.items() if agent.instance == self.s.pbx.instance}
        here = {c.patch: c for c in self.s.takeovers._conductors if c.patch is not None}
        assert len(here) == len(list(self.s.takeovers._conductors))
        assert there.keys() == here.keys()
        for patch, conductor in here.items():
            assert (conductor.engagement.mode, conductor.engagement.phase) == (there[patch].mode, Phase.ACTIVE)
            allowed = may(AGENTS[int(conductor.engagement.agent[-1])], "monitor", conductor.call_now)
            assert allowed or conductor.engagement.mode.speaks, "nobody listens in another queue"
        others = everybody.keys() - there.keys()
        assert {e.id for e in self.s.registry.engagements()} == {c.engagement.id for c in here.values()} | others
        assert not any(held for leg, held in self.s.legs.held.items() if leg not in self._held())
        assert set(self.s.legs.open) == set(there)
        assert {call.id for call in self.s.registry.calls()} == set(self.s.exchange.calls)

    def _held(self) -> set[str]:
        return {e.leg for e in self.s.registry.engagements() if e.hold}

    def _agent(self) -> None:
        actor = self.rng.choice(AGENTS)
        leg = f"leg-{actor.id}"
        mine = [e for e in self.s.registry.engagements() if e.agent == actor.id]
        calls = self.s.registry.calls()
        mode = self.rng.choice(list(Mode))
        if calls and self.rng.random() < 0.1:
            one = self.rng.choice(calls).id
            act = self.s.takeovers.hangup(actor, one) if self.rng.random() < 0.5 else self._transfer(actor, one)
            self._try(act)
        elif mine and self.rng.random() < 0.1:
            self._try(self.s.takeovers.hold(actor, mine[0].id, self.rng.random() < 0.5))
        elif mine and self.rng.random() < 0.4:
            self._try(self.s.takeovers.release(actor, mine[0].id))
        elif mine and self.rng.random() < 0.7:
            self._try(self.s.takeovers.change(actor, mine[0].id, mode))
        elif calls:
            override = "because" if self.rng.random() < 0.3 else None
            self._try(self.s.takeovers.engage(actor, self.rng.choice(calls).id, mode, leg, override))

    def _transfer(self, actor: Actor, call: CallId) -> Coroutine[None, None, None]:
        return self.s.takeovers.transfer(actor, call, "support")

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
        match self.rng.randrange(4):
            case 0:
                exchange.caller_hangs_up(call)
            case 3:
                exchange.move(call, queue=self.rng.choice(QUEUES))
            case 1 if call.ai:
                exchange.ai_hangs_up(call)
            case _ if call.agents:
                exchange.out(self.rng.choice(list(call.agents.values())), "hangup")

    def _world(self) -> None:
        s, rng = self.s, self.rng
        match rng.randrange(8):
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
            case 7:
                s.journal.delay = rng.choice((0.0, 0.0, 0.05, 0.5))


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


@pytest.mark.parametrize("seed", range(20))
@virtual_time
async def test_two_services_at_one_exchange_never_speak_both(seed: int) -> None:
    exchange = FakeExchange()
    rng = random.Random(seed)
    async with service(exchange, "node-1") as one, service(exchange, "node-2") as two:
        chaoses = [Chaos(one, rng), Chaos(two, rng)]
        one.make_call()
        await settle()
        await asyncio.gather(*(chaos.rage() for chaos in chaoses))
        await asyncio.gather(*(chaos.calm() for chaos in chaoses))
        for chaos in chaoses:
            chaos.check_at_the_end()
        await asyncio.gather(one.takeovers.drain(), two.takeovers.drain())
        await settle(1)
        assert all(call.ai_audible or not call.ai for call in exchange.calls.values())


@pytest.mark.parametrize("seed", range(20))
@virtual_time
async def test_after_a_crash_the_next_life_finds_its_way(seed: int) -> None:
    """A crash ends the service in the middle of everything; its media workers go with it, now or some seconds later."""
    exchange = FakeExchange()
    rng = random.Random(seed)
    for _ in range(3):
        async with service(exchange) as s:
            s.make_call()
            await settle()
            chaos = Chaos(s, rng)
            await chaos.rage()
            await chaos.give_up()
        exchange.services.remove(s.pbx)
        for patch in s.legs.patches.values():
            asyncio.get_running_loop().call_later(rng.choice((0, 2)), patch.close)
    async with service(exchange) as s:
        chaos = Chaos(s, rng)
        await chaos.calm()
        chaos.check_at_the_end()
        assert all(call.ai_audible or not call.ai for call in exchange.calls.values())
