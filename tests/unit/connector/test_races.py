"""Two things at the same moment, and a PBX that obeys late: nobody waits for ever, no AI is silent unknown to us."""

import asyncio
from collections import deque
from dataclasses import replace

import pytest

from connector.domain.calls import Call, CallId, Mode, Phase
from connector.domain.errors import EngagementUnknown, LegNotReady, PbxTimeout, TakeoverError
from connector.domain.events import AgentGone, CallChanged
from connector.domain.people import Actor
from connector.ports import Endpoint, Engaged
from tests.contract.fake_pbx import FakeExchange

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
        monkeypatch.setattr(s.takeovers._conductors.find(engagement.id), "_tell", lambda _: 1 / 0)
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


@virtual_time
async def test_a_claim_that_is_withdrawn_keeps_nobody_waiting() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.delay = 0.5
        first = asyncio.create_task(s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "because"))
        await settle()
        max_ = Actor("max", "Max", "supervisor")
        second = asyncio.create_task(s.takeovers.engage(max_, call.call.id, Mode.TAKEOVER, "leg-m", "because"))
        await settle()
        first.cancel()
        await second
        assert [(e.agent, e.mode) for e in s.registry.engagements()] == [("max", Mode.TAKEOVER)]


@virtual_time
async def test_a_second_release_does_not_lose_the_note_of_the_first() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.delay = 0.5
        first = asyncio.create_task(s.takeovers.release(ANNA, engagement.id, "he wants a refund", "sold"))
        await settle()
        await s.takeovers.release(SUE, engagement.id)
        await first
        (told,) = s.notices("takeover.ended")
        assert (told.data["note"], told.data["outcome"]) == ("he wants a refund", "sold")
        await settle(1)
        assert s.engagements.kept[engagement.id][2:] == ("he wants a refund", "sold")
        assert [act.facts.get("by") for act in s.journal.intents if act.act == "release"] == [None]


@virtual_time
async def test_a_change_is_answered_although_nobody_learns_what_came_of_it() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.faults["switch"] = deque(["carried-out-but-lost"])
        s.pbx.faults["snapshot"] = deque(["lost"] * 1000)
        s.pbx.delay = 0.1
        async with asyncio.timeout(30):
            with pytest.raises(PbxTimeout):
                await s.takeovers.change(ANNA, engagement.id, Mode.MONITOR)
        s.pbx.faults.clear()
        await settle(1)
        assert [(e.mode, e.phase) for e in s.registry.engagements()] == [(Mode.MONITOR, Phase.ACTIVE)]
        assert call.ai_audible
        await s.takeovers.change(ANNA, engagement.id, Mode.TAKEOVER)


@virtual_time
async def test_a_hold_that_meets_a_change_to_listening_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        set_leg = s.legs.set_leg

        async def slow(leg: str, *, hold: bool) -> None:
            await set_leg(leg, hold=hold)
            await asyncio.sleep(0.2)

        monkeypatch.setattr(s.legs, "set_leg", slow)
        wish = asyncio.create_task(s.takeovers.hold(ANNA, engagement.id, True))
        await settle(0.05)
        await s.takeovers.change(ANNA, engagement.id, Mode.MONITOR)
        await asyncio.gather(wish, return_exceptions=True)
        await settle(1)
        assert not s.legs.held["leg-a"]
        assert [e.hold for e in s.registry.engagements()] == [False]


@virtual_time
async def test_a_journal_that_breaks_in_an_unknown_way_keeps_no_orphan_in_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exchange = FakeExchange()
    async with service(exchange) as before:
        call, other = exchange.make_call(), exchange.make_call()
        await settle()
        await before.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
    async with service(exchange, away=True) as after:

        async def broken(actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
            raise KeyError(act)

        with monkeypatch.context() as patched:
            patched.setattr(after.journal, "intent", broken)
            after.pbx.connect()
            await settle(1)
        assert call.agents == {}
        assert [act.facts["why"] for act in after.journal.reserve] == ["orphan"]
        await after.takeovers.engage(ANNA, other.call.id, Mode.TAKEOVER, "leg-a")
