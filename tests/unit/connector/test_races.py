"""Two things at the same moment, and a PBX that obeys late: nobody waits for ever, no AI is silent unknown to us."""

import asyncio
from collections import deque
from dataclasses import replace

import pytest

from connector.domain.calls import Call, Mode
from connector.domain.errors import EngagementUnknown, LegNotReady, PbxTimeout, TakeoverError
from connector.domain.events import AgentGone, CallChanged
from connector.ports import Endpoint, Engaged

from .parts import ANNA, SUE, service, settle
from .virtual import virtual_time


@virtual_time
async def test_a_change_at_the_moment_of_the_callers_hangup_is_answered() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        await settle()
        (agent,) = call.agents.values()
        s.registry.apply(AgentGone(call.call.id, agent.patch, "caller-hangup"))
        async with asyncio.timeout(30):
            with pytest.raises(TakeoverError):
                await s.takeovers.change(ANNA, engagement.id, Mode.TAKEOVER)


@virtual_time
async def test_a_change_is_answered_when_the_engagement_ends_while_it_waits_for_the_floor() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await s.takeovers.engage(SUE, call.call.id, Mode.MONITOR, "leg-s")
        s.pbx.faults["release"] = deque(["stuck"])
        wish = asyncio.create_task(s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "because"))
        await settle(0.5)
        s.takeovers.leg_down("leg-s", "browser-gone")
        async with asyncio.timeout(30):
            with pytest.raises(TakeoverError):
                await wish


@pytest.mark.parametrize("was", Mode)
@pytest.mark.parametrize("mode", Mode)
@virtual_time
async def test_a_switch_that_the_pbx_makes_long_after_it_was_asked_for_is_known(was: Mode, mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, was, "leg-a")
        if mode is was:
            return
        s.pbx.faults["switch"] = deque(["late"])
        with pytest.raises(PbxTimeout):
            await s.takeovers.change(ANNA, engagement.id, mode)
        await settle(30)
        assert [e.mode for e in s.registry.engagements()] == [agent.mode for agent in call.agents.values()]
        if mode.speaks and not was.speaks:  # the floor was given up when the change was taken for failed
            assert call.agents == {}
        assert call.ai_audible or s.registry.engagements()[0].mode is Mode.TAKEOVER


@virtual_time
async def test_a_hold_that_comes_too_late_does_not_wait_for_the_next_call() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.journal.delay = 0.2
        wish = asyncio.create_task(s.takeovers.hold(ANNA, engagement.id, True))
        await settle(0.01)
        await s.takeovers.release(ANNA, engagement.id)
        with pytest.raises(EngagementUnknown):
            await wish
        assert not s.legs.held.get("leg-a")


@virtual_time
async def test_a_fault_of_ours_does_not_leave_the_ai_waiting_for_the_humans_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert s.notices("takeover.started")
        monkeypatch.setattr(s.takeovers._conductors[engagement.id], "_tell", lambda _: 1 / 0)
        s.takeovers.leg_down("leg-a", "no-microphone")
        await settle(10)
        assert call.ai_audible
        assert s.notices("takeover.ended")


@virtual_time
async def test_who_is_leaving_puts_nobody_on_hold() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.cut()
        await settle()
        await s.takeovers.release(
            ANNA, engagement.id
        )  # the patch is closed, and the PBX will say later that she is out
        with pytest.raises(EngagementUnknown):
            await s.takeovers.hold(ANNA, engagement.id, True)
        assert s.legs.held == {}


@virtual_time
async def test_a_microphone_that_dies_while_a_colleague_is_put_out_silences_nobody() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.delay = 0.2
        wish = asyncio.create_task(s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "because"))
        await settle(0.05)
        s.legs.unfit["leg-s"] = "no-microphone"
        with pytest.raises(LegNotReady):
            await wish
        await settle(1)
        assert s.pbx.said.count("engage") == 1
        assert call.ai_audible
        assert call.agents == {}
        assert s.registry.engagements() == []


@pytest.mark.parametrize("was", [Mode.MONITOR, Mode.BARGE])
@virtual_time
async def test_a_microphone_that_dies_while_the_change_is_put_on_record_silences_nobody(was: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, was, "leg-a")
        s.journal.delay = 0.2
        wish = asyncio.create_task(s.takeovers.change(ANNA, engagement.id, Mode.TAKEOVER))
        await settle(0.05)
        s.legs.unfit["leg-a"] = "no-microphone"
        with pytest.raises(LegNotReady):
            await wish
        await settle(0.5)
        assert "switch" not in s.pbx.said
        assert call.ai_audible
        assert [e.mode for e in s.registry.engagements()] == [was]


@virtual_time
async def test_who_waits_for_the_floor_silences_the_ai_that_is_there_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.delay = 0.2
        wish = asyncio.create_task(s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "because"))
        await settle(0.05)
        channels = replace(call.call.channels, ai="PJSIP/ai-new", ai_id="9.9")
        s.registry.apply(CallChanged(replace(call.call, channels=channels)))
        asked: list[Call] = []
        engage = s.pbx.engage

        async def noted(given: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
            asked.append(given)
            return await engage(given, endpoint, mode, name)

        monkeypatch.setattr(s.pbx, "engage", noted)
        await wish
        assert [one.channels.ai for one in asked] == ["PJSIP/ai-new"]
