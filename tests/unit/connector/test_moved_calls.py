"""A call that goes to another queue: who only listens there without the right is put out, who speaks is left."""

import asyncio
from collections import deque
from dataclasses import replace

import pytest

from connector.domain.calls import Mode, Phase
from connector.domain.errors import NotAllowed
from connector.domain.events import SnapshotTaken

from .parts import ANNA, BEN, SUE, service, settle
from .virtual import virtual_time

SELLER = replace(ANNA, queues=frozenset({"sales"}))
OTHER_SELLER = replace(BEN, queues=frozenset({"sales"}))


@pytest.mark.parametrize("mode", [mode for mode in Mode if not mode.speaks])
@virtual_time
async def test_who_listens_is_out_when_the_call_goes_to_a_queue_that_is_not_theirs(mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(SELLER, call.call.id, mode, "leg-a")
        await s.takeovers.engage(SUE, call.call.id, Mode.MONITOR, "leg-s")
        s.exchange.move(call, queue="support")
        await settle()
        assert s.ends == ["not-yours"]
        assert [agent.name for agent in call.agents.values()] == ["Sue"], "who may be in every queue stays"
        assert s.journal.intents[-1].facts["why"] == "not-yours"
        assert len(s.legs.open) == 1


@virtual_time
async def test_who_listens_is_out_when_the_call_goes_to_another_tenant() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(replace(ANNA, tenants=frozenset({"default"})), call.call.id, Mode.MONITOR, "leg-a")
        s.exchange.move(call, tenant="acme")
        await settle()
        assert s.ends == ["not-yours"]


@virtual_time
async def test_who_listens_stays_when_another_thing_changes() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(SELLER, call.call.id, Mode.MONITOR, "leg-a")
        s.exchange.move(call, recording="a.wav")
        await settle(1)
        assert s.ends == []


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode.speaks])
@virtual_time
async def test_who_speaks_is_never_cut_off(mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(SELLER, call.call.id, mode, "leg-a")
        s.exchange.move(call, queue="support")
        await asyncio.sleep(60)
        assert [one.phase for one in s.registry.engagements()] == [Phase.ACTIVE]
        await s.takeovers.release(SELLER, engagement.id, "she wants her money back")
        assert call.ai_audible
        await settle()
        assert s.ends == ["released"]


@virtual_time
async def test_who_is_about_to_speak_is_left_and_who_is_refused_the_floor_is_not() -> None:
    async with service() as s:
        for fault, ends in ((None, []), ("refused", ["not-yours"])):
            call = s.make_call()
            await settle()
            engagement = await s.takeovers.engage(SELLER, call.call.id, Mode.MONITOR, "leg-a")
            s.pbx.delay = 0.1
            s.pbx.faults["switch"] = deque([fault] if fault else [])  # type: ignore[list-item]
            wish = asyncio.create_task(s.takeovers.change(SELLER, engagement.id, Mode.TAKEOVER))
            await asyncio.sleep(0.05)
            s.exchange.move(call, queue="support")
            await asyncio.gather(wish, return_exceptions=True)
            await settle(1)
            assert s.ends == ends
            assert len(call.agents) == (not ends)
            s.pbx.delay = 0
            s.exchange.caller_hangs_up(call)
            await settle(1)
            s.changes.clear()


@virtual_time
async def test_who_ends_to_speak_in_the_moment_of_the_move_does_not_go_on_listening() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(SELLER, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.delay = 0.1
        wish = asyncio.create_task(s.takeovers.change(SELLER, engagement.id, Mode.MONITOR))
        await asyncio.sleep(0.05)
        s.exchange.move(call, queue="support")
        assert (await wish).mode is Mode.MONITOR
        await settle(1)
        assert s.ends == ["not-yours"]
        assert call.ai_audible


@virtual_time
async def test_who_is_still_being_connected_is_told_why_not() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.pbx.delay = 0.1
        wish = asyncio.create_task(s.takeovers.engage(SELLER, call.call.id, Mode.MONITOR, "leg-a"))
        await asyncio.sleep(0.05)
        s.exchange.move(call, queue="support")
        with pytest.raises(NotAllowed, match="queue or tenant that is not yours"):
            await wish
        await settle(1)
        assert call.agents == {}
        assert s.legs.open == []


@virtual_time
async def test_a_move_while_we_were_not_connected_is_seen_afterwards() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(SELLER, call.call.id, Mode.MONITOR, "leg-a")
        await s.takeovers.engage(OTHER_SELLER, call.call.id, Mode.TAKEOVER, "leg-b")
        s.pbx.cut()
        await settle()
        s.exchange.move(call, queue="support")
        s.pbx.connect()
        await settle(1)
        assert s.ends == ["not-yours"]
        assert [one.agent for one in s.registry.engagements()] == ["ben"]


@virtual_time
async def test_a_snapshot_without_the_call_ends_it_for_that_reason() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(SELLER, call.call.id, Mode.MONITOR, "leg-a")
        s.registry.apply(SnapshotTaken("main", ()))
        await settle(1)
        assert s.ends == ["call-ended-unseen"]
