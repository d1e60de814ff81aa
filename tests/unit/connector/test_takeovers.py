"""Claims, modes, ways out and failures of engagements, over an exchange in memory and in virtual time."""

import asyncio
from collections import deque
from dataclasses import replace

import pytest

from connector.domain.calls import CallId, EngagementId, Mode, Phase
from connector.domain.errors import (
    AlreadyEngaged,
    AlreadyTaken,
    BadValue,
    CallEnded,
    CallUnknown,
    EngagementUnknown,
    LegNotReady,
    ModeNotPossible,
    NotAllowed,
    PbxTimeout,
    PbxUnavailable,
    StoreUnavailable,
    VerbRefused,
)
from connector.domain.events import AgentGone, AiGone
from tests.contract.fake_pbx import FakeExchange

from .parts import ANNA, BEN, BOT, SUE, service, settle
from .virtual import virtual_time

SPEAKING = [mode for mode in Mode if mode.speaks]
LISTENING = [mode for mode in Mode if not mode.speaks]

# ---- coming and going ----


@pytest.mark.parametrize("mode", Mode)
@virtual_time
async def test_an_agent_comes_and_goes(mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, mode, "leg-a")
        assert (engagement.mode, engagement.phase, engagement.agent_name) == (mode, Phase.ACTIVE, "Anna")
        assert call.ai_audible is (mode is not Mode.TAKEOVER)
        assert [e.id for e in s.registry.engagements(call.call.id)] == [engagement.id]
        await s.takeovers.release(ANNA, engagement.id, "told her the refund is approved", "solved")
        assert call.ai_audible
        assert call.agents == {}
        await settle()
        assert s.ends == ["released"]
        assert s.registry.engagements() == []
        assert s.legs.open == []
        assert s.journal.acts == [mode.value, "release"]
        assert set(s.journal.outcomes.values()) == {"ok"}
        assert s.engagements.kept[engagement.id][1:] == ("released", "told her the refund is approved", "solved")


@virtual_time
async def test_every_switch_is_live() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        for mode in (Mode.TAKEOVER, Mode.BARGE, Mode.WHISPER, Mode.TAKEOVER, Mode.MONITOR, Mode.BARGE):
            changed = await s.takeovers.change(ANNA, engagement.id, mode)
            assert changed.mode is mode
            assert call.ai_audible is (mode is not Mode.TAKEOVER)
        assert len(s.legs.patches) == 1


@virtual_time
async def test_asking_for_the_present_mode_changes_nothing() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.BARGE, "leg-a")
        assert await s.takeovers.change(ANNA, engagement.id, Mode.BARGE) == engagement
        assert "switch" not in s.pbx.said


@virtual_time
async def test_the_pbx_is_asked_only_when_the_intent_is_on_record() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.journal.delay = 0.05
        task = asyncio.create_task(s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a"))
        await settle(0.04)
        assert len(s.legs.open) == 1, "the patch is opened meanwhile"
        assert "engage" not in s.pbx.said
        await task
        assert "engage" in s.pbx.said


# ---- claims ----


@virtual_time
async def test_of_two_agents_who_ask_at_once_exactly_one_wins() -> None:
    async with service() as s:
        for turn in range(200):
            call = s.make_call()
            await settle()
            first, second = (ANNA, BEN) if turn % 2 else (BEN, ANNA)
            answers = await asyncio.gather(
                s.takeovers.engage(first, call.call.id, SPEAKING[turn % 2], f"leg-{first.id}"),
                s.takeovers.engage(second, call.call.id, SPEAKING[turn // 2 % 2], f"leg-{second.id}"),
                return_exceptions=True,
            )
            (lost,) = [answer for answer in answers if isinstance(answer, BaseException)]
            (won,) = [answer for answer in answers if not isinstance(answer, BaseException)]
            assert isinstance(lost, AlreadyTaken)
            assert lost.speaker == won.agent_name
            assert len(call.agents) == 1
            await s.takeovers.release(next(a for a in (ANNA, BEN) if a.id == won.agent), won.id)
            await settle()


@virtual_time
async def test_many_may_listen_while_one_speaks() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await s.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-b")
        await s.takeovers.engage(SUE, call.call.id, Mode.WHISPER, "leg-s")
        assert len(call.agents) == 3
        assert not call.ai_audible


@virtual_time
async def test_a_listener_cannot_become_a_second_speaker() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        listening = await s.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-b")
        with pytest.raises(AlreadyTaken) as caught:
            await s.takeovers.change(BEN, listening.id, Mode.BARGE)
        assert caught.value.speaker == "Anna"
        assert [e.mode for e in s.registry.engagements()] == [Mode.TAKEOVER, Mode.MONITOR]


@virtual_time
async def test_two_switches_to_speaking_at_once_have_one_winner() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        one = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        other = await s.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-b")
        answers = await asyncio.gather(
            s.takeovers.change(ANNA, one.id, Mode.TAKEOVER),
            s.takeovers.change(BEN, other.id, Mode.BARGE),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == ["Engagement", "AlreadyTaken"]


@virtual_time
async def test_the_floor_is_free_again_after_a_release_and_after_a_refusal() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.pbx.faults["engage"] = deque(["refused"])
        with pytest.raises(VerbRefused):
            await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await settle()
        engagement = await s.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")
        await s.takeovers.release(BEN, engagement.id)
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert not call.ai_audible


@virtual_time
async def test_one_leg_carries_one_engagement() -> None:
    async with service() as s:
        first, second = s.make_call(), s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, first.call.id, Mode.MONITOR, "leg-a")
        with pytest.raises(AlreadyEngaged) as caught:
            await s.takeovers.engage(ANNA, second.call.id, Mode.MONITOR, "leg-a")
        assert caught.value.call == first.call.id


@virtual_time
async def test_to_engage_again_in_the_same_call_is_a_change_of_mode() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        first = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        second = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert second.id == first.id
        assert second.mode is Mode.TAKEOVER
        with pytest.raises(AlreadyEngaged):
            await s.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-a")


# ---- override ----


@virtual_time
async def test_a_supervisor_takes_over_with_a_reason() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        engagement = await s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "caller asked for a manager")
        assert [a.mode for a in call.agents.values()] == [Mode.TAKEOVER]
        assert [e.id for e in s.registry.engagements()] == [engagement.id]
        await settle()
        assert s.ends == ["taken-over-by-supervisor"]
        reasons = [act.facts.get("override") for act in s.journal.intents if act.act in ("release", "takeover")]
        assert reasons == [None, "caller asked for a manager", "caller asked for a manager"]


@virtual_time
async def test_an_overrides_reason_is_on_record_of_the_override_alone() -> None:
    """Not of what the supervisor does later in the call, nor of a wish that was withdrawn."""
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        listening = await s.takeovers.engage(SUE, call.call.id, Mode.MONITOR, "leg-s")
        s.legs.stuck = True
        s.pbx.faults["release"] = deque(["refused"] * 100)
        with pytest.raises(AlreadyTaken):
            await s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "complaint")
        await s.takeovers.change(SUE, listening.id, Mode.WHISPER)
        s.legs.stuck = False
        s.pbx.faults.clear()
        await settle(5)
        await s.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")
        await s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "complaint")
        await s.takeovers.change(SUE, listening.id, Mode.BARGE)
        await s.takeovers.release(SUE, listening.id)
        await settle()
        told = [(act.actor, act.act, act.facts.get("by")) for act in s.journal.intents if "override" in act.facts]
        assert told == [("anna", "release", "sue"), ("ben", "release", "sue"), ("sue", "takeover", None)]


@virtual_time
async def test_a_listening_supervisor_takes_over_with_the_same_leg() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.BARGE, "leg-a")
        listening = await s.takeovers.engage(SUE, call.call.id, Mode.MONITOR, "leg-s")
        speaking = await s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "complaint")
        assert speaking.id == listening.id
        assert [e.agent for e in s.registry.engagements()] == ["sue"]


@virtual_time
async def test_an_override_needs_the_right_and_a_reason() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        with pytest.raises(NotAllowed):
            await s.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b", "because")
        with pytest.raises(BadValue, match=r"override\.reason"):
            await s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "  ")
        assert [e.agent for e in s.registry.engagements()] == ["anna"]


@virtual_time
async def test_an_override_that_cannot_put_the_speaker_out_leaves_no_claim() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.legs.stuck = True
        s.pbx.faults["release"] = deque(["refused"] * 100)
        with pytest.raises(AlreadyTaken):
            await s.takeovers.engage(SUE, call.call.id, Mode.TAKEOVER, "leg-s", "complaint")
        assert [e.agent for e in s.registry.engagements()] == ["anna"]


# ---- what is refused ----


@pytest.mark.parametrize("mode", SPEAKING)
@virtual_time
async def test_nobody_speaks_with_a_dead_microphone(mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.legs.unfit["leg-a"] = "no-microphone"
        with pytest.raises(LegNotReady) as caught:
            await s.takeovers.engage(ANNA, call.call.id, mode, "leg-a")
        assert caught.value.why == "no-microphone"
        assert s.journal.acts == []
        listening = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        with pytest.raises(LegNotReady):
            await s.takeovers.change(ANNA, listening.id, mode)


@virtual_time
async def test_a_leg_that_is_not_there_cannot_even_listen() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.legs.unfit["leg-a"] = "no-such-leg"
        with pytest.raises(LegNotReady):
            await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")


@virtual_time
async def test_unknown_and_ended_calls_are_told_apart() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.exchange.caller_hangs_up(call)
        await settle()
        with pytest.raises(CallEnded):
            await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        with pytest.raises(CallUnknown):
            await s.takeovers.engage(ANNA, CallId("main~nonsense"), Mode.MONITOR, "leg-a")


@virtual_time
async def test_a_mode_that_the_call_does_not_offer_is_refused_with_the_reason() -> None:
    async with service() as s:
        call = s.make_call()
        choice = replace(call.call.choice(Mode.TAKEOVER), possible=False, how=None, why="The AI is inline.")
        call.call = replace(call.call, modes=(choice,))
        s.pbx.cut()
        s.pbx.connect()
        await settle()
        with pytest.raises(ModeNotPossible, match="The AI is inline"):
            await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")


@virtual_time
async def test_only_who_may_may() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        elsewhere = replace(BEN, queues=frozenset({"billing"}))
        with pytest.raises(NotAllowed, match="not in the queue 'sales'"):
            await s.takeovers.engage(elsewhere, call.call.id, Mode.MONITOR, "leg-b")
        with pytest.raises(NotAllowed):
            await s.takeovers.engage(BOT, call.call.id, Mode.MONITOR, "leg-b")
        with pytest.raises(NotAllowed, match="another agent's"):
            await s.takeovers.change(BEN, engagement.id, Mode.BARGE)
        with pytest.raises(NotAllowed):
            await s.takeovers.release(BEN, engagement.id)
        restricted = replace(ANNA, queues=frozenset({"billing"}))
        with pytest.raises(NotAllowed):
            await s.takeovers.change(restricted, engagement.id, Mode.BARGE)
        with pytest.raises(EngagementUnknown):
            await s.takeovers.release(ANNA, EngagementId("nonsense"))
        await s.takeovers.release(SUE, engagement.id)
        assert s.registry.engagements() == []


@virtual_time
async def test_a_pbx_that_is_away_is_said_at_once() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.pbx.cut()
        await settle()
        with pytest.raises(PbxUnavailable):
            await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        assert s.journal.acts == []


# ---- answers that fail ----


@pytest.mark.parametrize("fault", ["refused", "lost", "carried-out-but-lost", "stuck"])
@pytest.mark.parametrize("mode", Mode)
@virtual_time
async def test_an_engaging_that_fails_leaves_nobody_in_the_call(fault: str, mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.pbx.faults["engage"] = deque([fault])  # type: ignore[list-item]
        with pytest.raises((VerbRefused, PbxTimeout)):
            await s.takeovers.engage(ANNA, call.call.id, mode, "leg-a")
        await settle(1)
        assert call.ai_audible
        assert call.agents == {}
        assert s.registry.engagements() == []
        assert s.legs.open == []


@pytest.mark.parametrize("fault", ["lost", "carried-out-but-lost", "stuck"])
@virtual_time
async def test_a_switch_without_an_answer_is_looked_up(fault: str) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        s.pbx.faults["switch"] = deque([fault])  # type: ignore[list-item]
        if fault == "carried-out-but-lost":
            changed = await s.takeovers.change(ANNA, engagement.id, Mode.TAKEOVER)
            assert changed.mode is Mode.TAKEOVER
            assert not call.ai_audible
        else:
            with pytest.raises(PbxTimeout):
                await s.takeovers.change(ANNA, engagement.id, Mode.TAKEOVER)
            (now,) = s.registry.engagements()
            assert (now.mode, now.phase) == (Mode.MONITOR, Phase.ACTIVE)
            assert call.ai_audible


@virtual_time
async def test_a_listener_whom_the_pbx_refuses_to_let_speak_goes_on_listening() -> None:
    exchange = FakeExchange()
    async with service(exchange) as s, service(exchange, "node-2") as rival:
        call = exchange.make_call()
        await settle()
        listening = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        s.pbx.delay = 0.1  # so that neither service knows of the other's claim
        wish = asyncio.create_task(s.takeovers.change(ANNA, listening.id, Mode.TAKEOVER))
        await asyncio.sleep(0.05)
        await rival.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")
        with pytest.raises(AlreadyTaken) as caught:
            await wish
        assert caught.value.speaker == "Ben"
        (mine,) = [e for e in s.registry.engagements() if e.agent == "anna"]
        assert (mine.mode, mine.phase) == (Mode.MONITOR, Phase.ACTIVE)
        assert sorted(a.mode for a in call.agents.values()) == [Mode.MONITOR, Mode.TAKEOVER]


@virtual_time
async def test_of_two_services_exactly_one_gets_the_call() -> None:
    exchange = FakeExchange()
    async with service(exchange) as one, service(exchange, "node-2") as other:
        for _ in range(50):
            call = exchange.make_call()
            await settle()
            answers = await asyncio.gather(
                one.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a"),
                other.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b"),
                return_exceptions=True,
            )
            (lost,) = [answer for answer in answers if isinstance(answer, BaseException)]
            (won,) = [answer for answer in answers if not isinstance(answer, BaseException)]
            assert isinstance(lost, AlreadyTaken)
            assert lost.speaker == won.agent_name
            assert len(call.agents) == 1
            exchange.caller_hangs_up(call)
            await settle(0.2)


@pytest.mark.parametrize("faults", [["refused"], ["refused"] * 3, ["lost"], ["stuck"], ["lost"] * 5, ["refused"] * 9])
@virtual_time
async def test_giving_back_is_tried_until_it_holds(faults: list[str]) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.faults["release"] = deque(faults)  # type: ignore[arg-type]
        await s.takeovers.release(ANNA, engagement.id)
        assert call.ai_audible
        await settle(10)
        assert s.registry.engagements() == []
        assert s.ends == ["released"]


@virtual_time
async def test_without_the_media_worker_the_pbx_alone_gives_back() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.legs.stuck = True
        s.pbx.faults["release"] = deque(["lost", "refused", "lost"])
        await s.takeovers.release(ANNA, engagement.id)
        await settle(10)
        assert call.ai_audible
        assert s.ends == ["released"]


# ---- what happens by itself ----


@pytest.mark.parametrize("mode", Mode)
@virtual_time
async def test_the_caller_hangs_up(mode: Mode) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, mode, "leg-a")
        s.exchange.caller_hangs_up(call)
        await settle(0.3)
        assert s.ends == ["caller-hangup"]
        assert s.legs.open == []


@virtual_time
@pytest.mark.parametrize("by_us", [True, False])
async def test_why_the_call_ended_does_not_wait_for_the_callers_own_end(by_us: bool) -> None:
    """The PBX puts the agent out before it reports the caller's end, which may take its time."""
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        agent = next(iter(call.agents.values()))
        if by_us:
            s.exchange.caller_hangs_up = lambda *_: None  # type: ignore[method-assign]  # its reports are those below
            await s.takeovers.hangup(ANNA, call.call.id)
        for event in (AiGone(call.call.id, paired=True), AgentGone(call.call.id, agent.patch, "caller-hangup")):
            s.registry.apply(event)
        await settle(0.05)
        assert s.ends == ["hangup" if by_us else "caller-hangup"]


@virtual_time
async def test_the_caller_hangs_up_while_the_agent_is_being_connected() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.pbx.delay = 0.1
        task = asyncio.create_task(s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a"))
        await asyncio.sleep(0.05)
        s.exchange.caller_hangs_up(call)
        with pytest.raises(CallEnded):
            await task
        await settle(1)
        assert s.registry.engagements() == []
        assert s.legs.open == []


@virtual_time
async def test_after_the_ai_is_gone_the_agent_goes_on_and_no_mode_is_offered() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.exchange.ai_hangs_up(call)
        await settle(10)
        assert [e.phase for e in s.registry.engagements()] == [Phase.ACTIVE]
        assert not any(choice.possible for choice in s.call(call).modes)
        with pytest.raises(ModeNotPossible, match="The AI has left"):
            await s.takeovers.change(ANNA, engagement.id, Mode.BARGE)
        await s.takeovers.release(ANNA, engagement.id)
        assert call.fallback
        await settle(1)
        assert s.ends == ["released"]


@virtual_time
async def test_ai_and_agent_die_and_the_caller_falls_back() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.exchange.ai_hangs_up(call)
        await settle()
        s.exchange.out(next(iter(call.agents.values())), "hangup")
        await settle(1)
        assert s.ends == ["ai-fallback"]


@virtual_time
async def test_the_agents_leg_dies_in_the_pbx() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.exchange.out(next(iter(call.agents.values())), "hangup")
        await settle(1)
        assert s.ends == ["agent-gone"]
        assert call.ai_audible


@pytest.mark.parametrize("why", ["no-microphone", "worker-lost", "signal-lost"])
@virtual_time
async def test_the_agents_leg_dies_in_the_browser(why: str) -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.takeovers.leg_down("leg-a", why)
        await settle(1)
        assert s.ends == [why]
        assert call.ai_audible


# ---- the dead-man ----


@virtual_time
async def test_a_living_leg_is_renewed_for_as_long_as_it_lives() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        for actor, mode in ((ANNA, Mode.TAKEOVER), (BEN, Mode.MONITOR)):
            await s.takeovers.engage(actor, call.call.id, mode, f"leg-{actor.id}")
        await asyncio.sleep(60)
        assert len(call.agents) == 2
        assert 110 <= s.pbx.said.count("renew") <= 122


@virtual_time
async def test_a_dead_microphone_leaves_a_speaker_unrenewed_and_then_out() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await s.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-b")
        await asyncio.sleep(1.5)
        s.legs.unfit |= {"leg-a": "no-microphone", "leg-b": "no-microphone"}
        renewed = s.pbx.said.count("renew")
        await asyncio.sleep(3)
        assert call.ai_audible
        assert s.ends == ["no-microphone"]
        assert [e.agent for e in s.registry.engagements()] == ["ben"], "who listens needs no microphone"
        assert s.pbx.said.count("renew") - renewed <= 3


@virtual_time
async def test_a_hiccup_of_the_leg_ends_nothing() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        for _ in range(5):
            s.legs.unfit["leg-a"] = "no-microphone"
            await asyncio.sleep(1.5)
            del s.legs.unfit["leg-a"]
            await asyncio.sleep(1.5)
        assert s.ends == []
        assert not call.ai_audible


@virtual_time
async def test_a_late_worker_is_unfit_for_listening_too() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        s.legs.unfit["leg-a"] = "worker-late"
        await asyncio.sleep(5)
        assert s.ends == ["worker-late"]


@virtual_time
async def test_a_cut_of_two_seconds_ends_nothing() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.cut()
        await asyncio.sleep(2)
        s.pbx.connect()
        await asyncio.sleep(20)
        assert [(e.id, e.phase) for e in s.registry.engagements()] == [(engagement.id, Phase.ACTIVE)]
        assert not call.ai_audible
        assert s.ends == []


@virtual_time
async def test_a_cut_longer_than_the_dead_man_ends_it_in_the_pbx_and_the_snapshot_tells() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.cut()
        await asyncio.sleep(20)
        assert call.ai_audible
        s.pbx.connect()
        await settle(1)
        assert s.registry.engagements() == []
        assert s.legs.open == []


@virtual_time
async def test_the_caller_hangs_up_during_a_cut() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.cut()
        await settle()
        s.exchange.caller_hangs_up(call)
        s.pbx.connect()
        await settle(1)
        assert s.registry.calls() == []
        assert len(s.ends) == 1


@virtual_time
async def test_a_release_during_a_cut_closes_the_patch_and_the_pbx_gives_back() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.cut()
        await settle()
        await s.takeovers.release(ANNA, engagement.id)
        assert call.ai_audible
        s.pbx.connect()
        await settle(1)
        assert s.ends == ["released"]


@virtual_time
async def test_a_cut_in_the_middle_of_a_switch_is_verified_after_it() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.pbx.faults["switch"] = deque(["stuck"])
        wish = asyncio.create_task(s.takeovers.change(ANNA, engagement.id, Mode.BARGE))
        await settle()
        s.pbx.cut()
        await asyncio.sleep(1)
        assert not wish.done()
        s.pbx.connect()
        with pytest.raises(PbxUnavailable):
            await wish
        (now,) = s.registry.engagements()
        assert (now.mode, now.phase) == (Mode.TAKEOVER, Phase.ACTIVE)


# ---- orphans and other services ----


@virtual_time
async def test_a_patch_of_ours_that_nobody_owns_is_released() -> None:
    exchange = FakeExchange()
    async with service(exchange) as before:
        call = exchange.make_call()
        await settle()
        await before.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
    async with service(exchange) as after:
        await settle()
        assert call.agents == {}
        assert call.ai_audible
        assert [(act.actor, act.facts["why"]) for act in after.journal.intents] == [("service", "orphan")]


@virtual_time
async def test_who_was_refused_may_ask_again_while_the_first_try_is_still_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exchange = FakeExchange()
    async with service(exchange) as s, service(exchange, "node-2") as rival:
        call = exchange.make_call()
        await settle()
        closes = s.legs.close_patch

        async def closes_late(patch: str) -> None:
            await asyncio.sleep(1)
            await closes(patch)

        monkeypatch.setattr(s.legs, "close_patch", closes_late)
        s.pbx.delay = 0.1  # so that neither service knows of the other's claim
        wish = asyncio.create_task(s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a"))
        await asyncio.sleep(0.05)
        theirs = await rival.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")
        with pytest.raises(AlreadyTaken, match="Ben already speaks"):
            await wish
        await rival.takeovers.release(BEN, theirs.id)
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")


@virtual_time
async def test_a_second_try_is_not_refused_because_of_the_first() -> None:
    exchange = FakeExchange()
    async with service(exchange) as s, service(exchange, "node-2") as rival:
        call = exchange.make_call()
        await settle()
        s.pbx.delay = 0.1  # so that neither service knows of the other's claim; and the first try is given back slowly
        wish = asyncio.create_task(s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a"))
        await asyncio.sleep(0.05)
        theirs = await rival.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")
        with pytest.raises(AlreadyTaken, match="Ben already speaks"):
            await wish
        with pytest.raises(AlreadyTaken, match="Ben already speaks"):
            await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await rival.takeovers.release(BEN, theirs.id)
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")


@virtual_time
async def test_a_patch_of_another_service_is_shown_and_holds_the_floor() -> None:
    exchange = FakeExchange()
    async with service(exchange, "node-2") as other, service(exchange) as s:
        call = exchange.make_call()
        await settle()
        theirs = await other.takeovers.engage(BEN, call.call.id, Mode.TAKEOVER, "leg-b")
        await settle()
        assert [e.agent_name for e in s.registry.engagements(call.call.id)] == ["Ben"]
        with pytest.raises(AlreadyTaken, match="Ben already speaks"):
            await s.takeovers.engage(ANNA, call.call.id, Mode.BARGE, "leg-a")
        with pytest.raises(AlreadyTaken):
            await s.takeovers.engage(SUE, call.call.id, Mode.BARGE, "leg-s", "complaint")
        await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        await other.takeovers.release(BEN, theirs.id)
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")


# ---- the store fails ----


@virtual_time
async def test_listening_is_refused_without_the_store() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.journal.failing = True
        for mode in LISTENING:
            with pytest.raises(StoreUnavailable):
                await s.takeovers.engage(ANNA, call.call.id, mode, "leg-a")
        await settle()
        assert "engage" not in s.pbx.said
        assert s.legs.open == []


@virtual_time
async def test_speaking_and_giving_back_go_through_without_the_store() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.journal.failing = True
        s.engagements.failing = True
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert not call.ai_audible
        listening = await s.takeovers.change(ANNA, engagement.id, Mode.MONITOR)  # this, too, gives the AI back
        assert listening.mode is Mode.MONITOR
        with pytest.raises(StoreUnavailable):
            await s.takeovers.change(ANNA, engagement.id, Mode.WHISPER)
        await s.takeovers.release(ANNA, engagement.id)
        await settle(1)
        assert call.agents == {}
        assert [act.act for act in s.journal.reserve] == ["takeover", "monitor", "release"]


@virtual_time
async def test_a_slow_store_does_not_hold_up_a_takeover_but_holds_up_listening() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.journal.delay = 2
        began = asyncio.get_running_loop().time()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert asyncio.get_running_loop().time() - began < 0.4
        assert [act.act for act in s.journal.reserve] == ["takeover"]
        await s.takeovers.engage(BEN, call.call.id, Mode.MONITOR, "leg-b")
        assert asyncio.get_running_loop().time() - began >= 2
        assert [act.act for act in s.journal.reserve] == ["takeover"]
        assert s.registry.engagements()[0].id == engagement.id


@virtual_time
async def test_an_end_that_the_store_did_not_take_is_kept_when_it_is_back() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await settle()
        s.engagements.failing = True
        await s.takeovers.release(ANNA, engagement.id, "be kind")
        again = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")  # who waits for it is not Anna
        await settle(5)
        assert s.engagements.end(engagement.id) is None
        s.engagements.failing = False
        await settle(60)
        assert s.engagements.kept[engagement.id][1:3] == ("released", "be kind")
        assert [e.id for e in s.registry.engagements()] == [again.id]


@virtual_time
async def test_a_slow_store_does_not_hold_up_giving_back() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.journal.delay = 30
        began = asyncio.get_running_loop().time()
        await s.takeovers.release(ANNA, engagement.id)
        assert asyncio.get_running_loop().time() - began < 0.2
        assert call.ai_audible
        assert [act.act for act in s.journal.reserve] == ["release"]


# ---- the end of the service ----


@virtual_time
async def test_a_shutdown_gives_everything_back_and_takes_nothing_new() -> None:
    async with service() as s:
        calls = [s.make_call() for _ in range(5)]
        await settle()
        for number, call in enumerate(calls):
            await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, f"leg-{number}")
        await s.takeovers.drain()
        assert all(call.ai_audible and not call.agents for call in calls)
        with pytest.raises(PbxUnavailable, match="shutting down"):
            await s.takeovers.engage(ANNA, calls[0].call.id, Mode.TAKEOVER, "leg-1")


@virtual_time
async def test_a_shutdown_does_not_wait_for_ever() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        s.legs.stuck = True
        s.pbx.faults["release"] = deque(["stuck"] * 100)
        began = asyncio.get_running_loop().time()
        await s.takeovers.drain()
        assert asyncio.get_running_loop().time() - began < 5


@virtual_time
async def test_a_fault_in_one_engagement_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as s:
        one, other = s.make_call(), s.make_call()
        await settle()
        await s.takeovers.engage(ANNA, one.call.id, Mode.TAKEOVER, "leg-a")
        await s.takeovers.engage(BEN, other.call.id, Mode.TAKEOVER, "leg-b")
        conductor = next(c for c in s.takeovers._conductors if c.engagement.agent == "anna")
        monkeypatch.setattr(conductor, "_tell", lambda _: 1 / 0)
        s.takeovers.leg_down("leg-a", "no-microphone")
        await settle(10)
        assert one.ai_audible
        assert [e.agent for e in s.registry.engagements()] == ["ben"]
        assert not other.ai_audible


# ---- acts on the call ----


@virtual_time
async def test_hold_is_music_from_the_worker_and_shown() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        assert (await s.takeovers.hold(ANNA, engagement.id, True)).hold
        assert s.legs.held == {"leg-a": True}
        assert [e.hold for e in s.registry.engagements()] == [True]
        assert not (await s.takeovers.hold(ANNA, engagement.id, False)).hold


@virtual_time
async def test_hold_is_for_speakers_and_ends_with_speaking() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        engagement = await s.takeovers.engage(ANNA, call.call.id, Mode.MONITOR, "leg-a")
        with pytest.raises(ModeNotPossible, match="Only who speaks"):
            await s.takeovers.hold(ANNA, engagement.id, True)
        await s.takeovers.change(ANNA, engagement.id, Mode.TAKEOVER)
        await s.takeovers.hold(ANNA, engagement.id, True)
        assert (await s.takeovers.change(ANNA, engagement.id, Mode.BARGE)).hold
        assert not (await s.takeovers.change(ANNA, engagement.id, Mode.MONITOR)).hold
        assert s.legs.held == {"leg-a": False}


@virtual_time
async def test_hangup_transfer_and_digits_reach_the_pbx_and_the_audit() -> None:
    async with service() as s:
        first, second, third = s.make_call(), s.make_call(), s.make_call()
        await settle()
        await s.takeovers.dtmf(ANNA, first.call.id, "12#")
        assert first.digits == "12#"
        await s.takeovers.engage(ANNA, first.call.id, Mode.TAKEOVER, "leg-a")
        await s.takeovers.hangup(ANNA, first.call.id)
        await s.takeovers.transfer(ANNA, second.call.id, "support")
        await settle(1)
        assert [call.id for call in s.registry.calls()] == [third.call.id]
        assert s.ends == ["hangup"]
        assert "12#" not in str(s.journal.intents), "digits may be a secret"
        assert [act for act in s.journal.acts if act not in ("takeover", "release")] == ["dtmf", "hangup", "transfer"]
        with pytest.raises(BadValue):
            await s.takeovers.transfer(ANNA, third.call.id, "+4990012345")
        with pytest.raises(BadValue):
            await s.takeovers.dtmf(ANNA, third.call.id, "1\r\nAction: Originate")
        assert s.journal.outcomes[len(s.journal.intents)] == "bad-value"


@virtual_time
async def test_acts_on_the_call_need_the_store() -> None:
    async with service() as s:
        call = s.make_call()
        await settle()
        s.journal.failing = True
        for act in (
            s.takeovers.hangup(ANNA, call.call.id),
            s.takeovers.dtmf(ANNA, call.call.id, "1"),
            s.takeovers.coach(ANNA, call.call.id, "be kind"),
        ):
            with pytest.raises(StoreUnavailable):
                await act
        assert s.exchange.calls
