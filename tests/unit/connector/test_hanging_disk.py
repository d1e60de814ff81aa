"""A service whose disk hangs: no error, no answer, for ever. Nobody on the telephone may notice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from connector.domain.calls import Mode
from connector.domain.errors import StoreUnavailable
from connector.services.hands import Timing
from connector.services.registry import follow
from connector.services.takeovers import Takeovers
from connector.store import Store
from connector.store import audit as audit_module
from connector.store import engine as engine_module
from tests.contract.fake_pbx import FakeCall, FakeExchange
from tests.support.hanging_disk import HangingDisk

from .parts import ANNA, BEN, Service

TIMING = Timing(renew=0.05, unfit=0.2, settle=0.05)
MOMENT_S = 8.0
"""Generous, for a crowded machine: what hangs hangs for ever."""


@dataclass
class Running:
    """A service on a real store."""

    s: Service
    store: Store
    takeovers: Takeovers
    renewed: int = 0

    async def a_call(self) -> FakeCall:
        call = self.s.make_call()
        await until(lambda: any(one.id == call.call.id for one in self.s.registry.calls()))
        return call


async def until(true: Callable[[], bool], seconds: float = MOMENT_S) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> HangingDisk:
    return HangingDisk(monkeypatch)


@asynccontextmanager
async def running(folder: Path, disk: HangingDisk) -> AsyncIterator[Running]:
    exchange = FakeExchange()
    s = Service(exchange)
    url = f"sqlite+aiosqlite:///{folder}/takeover.db"
    async with Store.open(url, bytes(32), folder / "audit.reserve") as store:
        takeovers = Takeovers(
            s.registry, {exchange.name: s.pbx}, s.legs, store.audit, store.engagements, s.transcripts, TIMING
        )
        tasks = [asyncio.create_task(takeovers.run()), asyncio.create_task(follow(s.pbx, s.registry))]
        try:
            yield Running(s, store, takeovers)
        finally:
            disk.heal()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("hangs", ["before-the-takeover", "during-the-takeover"])
async def test_takeover_heartbeat_return_and_hangup_go_on(hangs: str, tmp_path: Path, disk: HangingDisk) -> None:
    async with running(tmp_path, disk) as r:
        call, other = await r.a_call(), await r.a_call()
        if hangs == "before-the-takeover":
            disk.hang()
        async with asyncio.timeout(MOMENT_S):
            engagement = await r.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert not call.ai_audible
        disk.hang()
        (agent,) = call.agents.values()
        fed = agent.deadman.when()
        await until(lambda: agent.deadman.when() > fed)  # the loop turns, and the dead-man is fed
        async with asyncio.timeout(MOMENT_S):
            await r.takeovers.release(ANNA, engagement.id, note="it is refunded")
        assert call.ai_audible
        async with asyncio.timeout(MOMENT_S):
            await r.takeovers.engage(BEN, other.call.id, Mode.TAKEOVER, "leg-b")
        async with asyncio.timeout(MOMENT_S):
            await r.takeovers.hangup(BEN, other.call.id)
        await until(lambda: [one.id for one in r.s.registry.calls()] == [call.call.id])


async def test_the_record_of_what_was_done_meanwhile_is_whole(
    tmp_path: Path, disk: HangingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "RECOVERY_S", 0.05)
    monkeypatch.setattr(audit_module, "COMMIT_S", 0.3)
    async with running(tmp_path, disk) as r:
        call = await r.a_call()
        disk.hang()
        engagement = await r.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await r.takeovers.release(ANNA, engagement.id)
        await until(lambda: not r.s.registry.engagements())
        disk.heal()

        async def acts() -> set[tuple[str, str | None]]:
            return {(row.act, row.facts.get("result")) for row in await r.store.audit.read()}

        async with asyncio.timeout(10):
            while not {("takeover", "ok"), ("release", "ok")} <= await acts():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        assert await r.store.audit.verify() == []


async def test_whoever_waits_for_the_store_is_told_and_the_stop_does_not_wait_for_ever(
    tmp_path: Path, disk: HangingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "ANSWER_S", 0.2)
    monkeypatch.setattr(engine_module, "CLOSING_S", 0.2)
    monkeypatch.setattr(audit_module, "COMMIT_S", 0.2)
    async with asyncio.timeout(MOMENT_S * 4):
        opened = Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db", bytes(32), tmp_path / "audit.reserve")
        store = await opened.__aenter__()
        disk.hang()
        with pytest.raises(StoreUnavailable, match="no answer"):
            await store.accounts.list()
        with pytest.raises(StoreUnavailable):
            await store.audit.intent("anna", "monitor", None, {})
        await store.audit.emergency_intent("anna", "takeover", None, {})
        await opened.__aexit__(None, None, None)
    disk.heal()


async def test_a_caller_comes_off_hold(tmp_path: Path, disk: HangingDisk) -> None:
    async with running(tmp_path, disk) as r:
        call = await r.a_call()
        engagement = await r.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await r.takeovers.hold(ANNA, engagement.id, on=True)
        disk.hang()
        async with asyncio.timeout(MOMENT_S):
            await r.takeovers.hold(ANNA, engagement.id, on=False)
        assert r.s.legs.held["leg-a"] is False
