"""Requests for a human: who may ask how urgently, the ladder while nobody comes, and what survives a restart."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.calls import Call, CallId, Mode
from connector.domain.errors import NotAllowed, PbxUnavailable, StoreUnavailable, VerbRefused
from connector.domain.escalation import Escalation, Step, climbed, joined, next_step
from connector.domain.events import Dtmf, HumanAsked
from connector.services.escalations import Escalations, Means, Policy
from connector.services.notices import Notices
from tests.contract.fake_pbx import FakeExchange

from .parts import ANNA, BOT, SUE, Service, service, settle
from .virtual import virtual_time

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LADDER = (
    Step(30, priority="urgent"),
    Step(60, notify=("supervisors", "chat")),
    Step(10, after="deadline", priority="emergency", transfer="support"),
)


@dataclass
class Keeper:
    """Implements `ports.EscalationKeeper`."""

    failing: bool = False
    delay: float = 0.0
    kept: dict[CallId, Escalation] = field(default_factory=dict)

    async def put(self, escalation: Escalation) -> None:
        await asyncio.sleep(self.delay)
        if self.failing:
            raise StoreUnavailable("the disk is full")
        self.kept[escalation.call] = escalation

    async def remove(self, call: CallId) -> None:
        await asyncio.sleep(0)
        self.kept.pop(call, None)

    async def open(self) -> Sequence[Escalation]:
        await asyncio.sleep(0)
        return list(self.kept.values())


@dataclass
class Desk:
    """A service with its escalations; `sent` is where callers were sent."""

    s: Service
    escalations: Escalations
    keeper: Keeper
    sent: list[tuple[CallId, str]]
    failures: list[Exception]

    def kinds(self) -> list[str]:
        return [change.kind for change in self.s.changes if getattr(change, "kind", "").startswith("escalation")]  # type: ignore[union-attr]

    def of(self, call: CallId) -> Escalation:
        found = self.escalations.of(call)
        assert found is not None
        return found


@asynccontextmanager
async def desk(
    policy: Policy = Policy(),  # noqa: B008 - frozen
    keeper: Keeper | None = None,
    exchange: FakeExchange | None = None,
) -> AsyncIterator[Desk]:
    async with service(exchange) as s:
        sent: list[tuple[CallId, str]] = []
        failures: list[Exception] = []

        async def transfer(call: Call, destination: str) -> None:
            await asyncio.sleep(0)
            if failures:
                raise failures.pop(0)
            sent.append((call.id, destination))

        kept = keeper or Keeper()
        loop = asyncio.get_running_loop()
        means = Means(s.journal, kept, Notices(s.registry, s.transcripts), transfer, s.takeovers.spoken_for)
        began = loop.time()
        escalations = Escalations(
            s.registry, means, policy, clock=lambda: START + timedelta(seconds=loop.time() - began)
        )
        await escalations.restore()
        running = asyncio.create_task(escalations.run())
        await settle()
        try:
            yield Desk(s, escalations, kept, sent, failures)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def a_call(d: Desk) -> CallId:
    call = d.s.make_call()
    await settle()
    return call.call.id


# ---- the pure part ----


def escalation(**more: object) -> Escalation:
    made = Escalation(CallId("lab~1"), "help", "normal", "bot", START, START)
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_second_request_makes_the_open_one_only_more_urgent() -> None:
    later = START + timedelta(seconds=20)
    first = escalation(priority="urgent", deadline=START + timedelta(seconds=60))
    again = escalation(reason="still", priority="normal", since=later, raised_at=later, deadline=None, by="other")
    same = joined(first, again)
    assert (same.priority, same.since, same.raised_at, same.deadline, same.by) == (
        "urgent",
        START,
        START,
        first.deadline,
        "bot",
    )
    worse = joined(first, replace(again, priority="emergency", deadline=START + timedelta(seconds=30)))
    assert (worse.priority, worse.since, worse.raised_at) == ("emergency", START, later)
    assert worse.deadline == START + timedelta(seconds=30)


def test_steps_come_in_order_and_those_of_a_deadline_only_with_one() -> None:
    assert next_step(LADDER, escalation()) == (0, START + timedelta(seconds=30))
    assert next_step(LADDER, escalation(step=2)) is None
    early = escalation(step=2, deadline=START, escalated_at=START + timedelta(seconds=60))
    assert next_step(LADDER, early) == (2, START + timedelta(seconds=60)), "no step comes before the one above it"
    after = climbed(early, 2, LADDER[2], START)
    assert (after.priority, after.step, after.supervisors) == ("emergency", 3, False)
    assert climbed(after, 0, LADDER[0], START).priority == "emergency", "no step makes it less urgent"


# ---- who may ask ----


@virtual_time
async def test_an_ai_asks_up_to_its_ceiling_and_people_beyond() -> None:
    async with desk(Policy(ceilings={"bot": "urgent"})) as d:
        call = await a_call(d)
        assert d.escalations.ask(BOT, call, "fire", "emergency").priority == "urgent"
        assert d.escalations.ask(ANNA, call, "fire", "emergency").priority == "emergency"
        assert d.kinds() == ["escalation.raised", "escalation.raised"]


@virtual_time
async def test_an_ai_takes_back_only_its_own_request() -> None:
    async with desk() as d:
        call = await a_call(d)
        d.escalations.ask(ANNA, call, "odd call", "urgent")
        with pytest.raises(NotAllowed, match="Anna"):
            d.escalations.withdraw(BOT, call)
        assert d.escalations.withdraw(SUE, call)
        assert not d.escalations.withdraw(SUE, call)
        assert d.kinds() == ["escalation.raised", "escalation.withdrawn"]


@virtual_time
async def test_a_caller_asks_with_a_digit_alone_and_not_too_often() -> None:
    async with desk(Policy(caller_digit="0")) as d:
        call = d.s.make_call()
        await settle()
        d.s.exchange.press(call, "0")
        await settle(1.9)
        assert d.escalations.of(call.call.id) is None, "another digit may follow"
        await settle(0.2)
        asked = d.of(call.call.id)
        assert (asked.priority, asked.by) == ("normal", "caller")
        assert [(act.actor, act.act) for act in d.s.journal.intents] == [("caller", "escalate")]
        d.escalations.withdraw(SUE, call.call.id)
        d.s.exchange.press(call, "0")
        await settle(5)
        assert d.escalations.of(call.call.id) is None, "twice within 30 s is one wish"
        await settle(30)
        d.s.exchange.press(call, "0")
        await settle(3)
        assert d.escalations.of(call.call.id) is not None


@virtual_time
async def test_a_digit_within_a_number_or_of_another_leg_is_no_request() -> None:
    async with desk(Policy(caller_digit="0")) as d:
        call = d.s.make_call()
        await settle()
        for digits in ("10", "05", "00"):
            for digit in digits:
                d.s.exchange.press(call, digit)
                await settle(0.3)
            await settle(10)
        d.s.registry.apply(Dtmf(call.call.id, "ai", "0"))
        await settle(10)
        assert d.escalations.of(call.call.id) is None


@virtual_time
async def test_the_digit_means_nothing_during_a_takeover_or_where_it_is_not_enabled() -> None:
    async with desk(Policy(caller_digit="0")) as d:
        call = d.s.make_call()
        await settle()
        d.s.exchange.press(call, "0")
        await d.s.takeovers.engage(ANNA, call.call.id, Mode.TAKEOVER, "leg-a")
        await settle(3)
        d.s.exchange.press(call, "0")
        await settle(3)
        assert d.escalations.of(call.call.id) is None
    async with desk() as d:
        call = d.s.make_call()
        await settle()
        d.s.exchange.press(call, "0")
        await settle(3)
        assert d.escalations.of(call.call.id) is None


# ---- the ladder ----


@virtual_time
async def test_the_ladder_is_climbed_while_nobody_comes() -> None:
    async with desk(Policy(ladder=LADDER, deadline_s=90)) as d:
        call = await a_call(d)
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(29)
        assert d.of(call).step == 0
        await settle(2)
        first = d.of(call)
        assert (first.step, first.priority, first.supervisors) == (1, "urgent", False)
        assert first.raised_at - first.since == timedelta(seconds=30)
        await settle(30)
        assert (d.of(call).step, d.of(call).supervisors) == (2, True)
        assert d.sent == []
        await settle(40)
        assert d.sent == [(call, "support")]
        assert d.kinds() == ["escalation.raised", *["escalation.step"] * 3]
        steps = d.s.notices("escalation.step")
        assert [notice.notify for notice in steps] == [(), ("supervisors", "chat"), ()]
        acts = [act for act in d.s.journal.intents if act.act == "escalation-step"]
        assert [act.facts.get("to") for act in acts] == [None, None, "support"]
        assert [d.s.journal.outcomes[act.number] for act in acts] == ["ok"] * 3


@virtual_time
async def test_asking_again_does_not_hold_the_ladder_up() -> None:
    async with desk(Policy(ladder=LADDER[:1])) as d:
        call = await a_call(d)
        for _ in range(7):
            d.escalations.ask(BOT, call, "help", "normal")
            await settle(5)
        assert d.of(call).step == 1


@virtual_time
async def test_who_speaks_ends_the_ladder() -> None:
    async with desk(Policy(ladder=LADDER, deadline_s=1)) as d:
        call = await a_call(d)
        d.escalations.ask(BOT, call, "help", "normal")
        await d.s.takeovers.engage(ANNA, call, Mode.TAKEOVER, "leg-a")
        await settle(300)
        assert d.escalations.of(call) is None
        assert d.sent == []
        assert d.kinds() == ["escalation.raised", "escalation.answered"]
        assert d.s.notices("escalation.answered")[0].data["agent"] == "Anna"


@virtual_time
async def test_no_step_is_taken_while_somebody_is_about_to_speak() -> None:
    """The claim holds the caller back from the fallback; when it fails the ladder goes on."""
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(9.9)
        d.s.legs.stuck = True
        d.s.pbx.delay = 3.0
        d.s.legs.stuck = False
        claim = asyncio.create_task(d.s.takeovers.engage(ANNA, call, Mode.TAKEOVER, "leg-a"))
        await settle(2)
        assert d.sent == []
        await claim
        await settle(60)
        assert d.sent == []


@virtual_time
async def test_a_listener_who_is_about_to_speak_keeps_the_caller() -> None:
    """While the mode changes the engagement still shows as listening; the claim is what counts."""
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        listening = await d.s.takeovers.engage(ANNA, call, Mode.MONITOR, "leg-a")
        d.escalations.ask(BOT, call, "help", "urgent")
        d.s.journal.delay = 0.25
        await settle(10.05)  # the step's record is being written
        change = asyncio.create_task(d.s.takeovers.change(ANNA, listening.id, Mode.TAKEOVER))
        await settle(0.22)
        assert not change.done(), "its record takes longer than the step's"
        await change
        await settle(20)
        assert d.sent == []
        assert d.kinds()[-1] == "escalation.answered"


@virtual_time
async def test_a_claim_that_fails_while_a_step_is_taken_leaves_the_step() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.escalations.ask(BOT, call, "help", "urgent")
        d.s.pbx.faults["engage"] = deque(["refused"])
        d.s.journal.delay = 0.25
        await settle(10.05)  # the step's record is being written
        with pytest.raises(VerbRefused):
            await d.s.takeovers.engage(ANNA, call, Mode.TAKEOVER, "leg-a")
        await settle(5)
        assert d.sent == [(call, "support")], "nobody came, so the caller goes on"


@virtual_time
async def test_a_second_request_is_not_sent_on_by_the_step_of_the_first() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.failures += [PbxUnavailable("lab", "away")] * 2
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(11)
        d.escalations.withdraw(BOT, call)
        await settle(0.5)
        d.escalations.ask(BOT, call, "help after all", "normal")
        await settle(9)
        assert d.sent == []
        await settle(6)
        assert d.sent == [(call, "support")]


@virtual_time
async def test_a_step_that_waits_for_its_record_is_not_taken_for_the_next_request() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.escalations.ask(BOT, call, "help", "normal")
        d.s.journal.delay = 0.25
        await settle(10.05)  # the step's record is being written
        d.escalations.withdraw(BOT, call)
        d.escalations.ask(BOT, call, "help after all", "normal")
        await settle(9)
        assert d.sent == []
        await settle(6)
        assert d.sent == [(call, "support")]


@virtual_time
async def test_a_transfer_that_fails_is_tried_again() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.failures += [PbxUnavailable("lab", "away")] * 2
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(11)
        assert d.sent == []
        await settle(8)
        assert d.sent == [(call, "support")]


@virtual_time
async def test_a_pbx_that_is_away_for_long_gets_the_transfer_when_it_is_back() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.failures += [PbxUnavailable("lab", "away")] * 20
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(60)
        assert d.sent == []
        d.failures.clear()
        await settle(11)
        assert d.sent == [(call, "support")]


@virtual_time
async def test_a_transfer_that_the_pbx_refuses_is_given_up() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.failures += [VerbRefused("lab", "transfer", "no such place")] * 20
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(200)
        assert len(d.failures) == 16
        assert set(d.s.journal.outcomes.values()) == {"verb-refused"}


@virtual_time
async def test_a_fault_in_one_transfer_ends_neither_the_tries_nor_the_service() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call, other = await a_call(d), await a_call(d)
        d.failures += [RuntimeError("a fault of the adapter")]
        d.escalations.ask(BOT, call, "help", "normal")
        d.escalations.ask(BOT, other, "help", "normal")
        await settle(13)
        assert sorted(d.sent) == sorted([(call, "support"), (other, "support")])


@virtual_time
async def test_a_store_that_fails_leaves_no_caller_alone() -> None:
    async with desk(Policy(ladder=(Step(10, transfer="support"),))) as d:
        call = await a_call(d)
        d.escalations.ask(BOT, call, "help", "normal")
        d.s.journal.failing = d.keeper.failing = True
        await settle(12)
        assert d.sent == [(call, "support")]
        assert [act.act for act in d.s.journal.reserve] == ["escalation-step"]


@virtual_time
async def test_a_caller_who_leaves_is_told_to_the_teams() -> None:
    async with desk(Policy(ladder=LADDER)) as d:
        call = d.s.make_call()
        await settle()
        d.s.registry.apply(HumanAsked(call.call.id, "pressed 9", "emergency"))
        d.s.exchange.caller_hangs_up(call)
        await settle(300)
        assert d.kinds() == ["escalation.raised", "escalation.ended"]
        assert d.keeper.kept == {}


# ---- restarts ----


@virtual_time
async def test_a_stop_waits_for_the_disk_a_moment() -> None:
    for delay, kept in ((1.0, True), (60.0, False)):
        keeper = Keeper(delay=delay)
        async with desk(keeper=keeper) as d:
            call = await a_call(d)
            d.escalations.ask(BOT, call, "help", "normal")
            await settle()
        assert (call in keeper.kept) is kept


@virtual_time
async def test_a_restart_forgets_no_request_and_waits_for_the_panels() -> None:
    """Overdue steps are taken after a moment; the request of a call that ended meanwhile is dropped."""
    keeper = Keeper()
    old = START - timedelta(seconds=100)
    async with desk(Policy(ladder=LADDER), keeper) as d:
        d.s.pbx.cut()
        live = d.s.make_call().call.id
        gone = CallId(f"{d.s.exchange.name}~gone")
        for call in (live, gone):
            keeper.kept[call] = Escalation(call, "help", "normal", "bot", old, old, step=1, escalated_at=old)
        await d.escalations.restore()
        d.s.pbx.connect()
        await settle(9)
        assert d.of(live).step == 1
        assert list(keeper.kept) == [live]
        await settle(2)
        assert (d.of(live).step, d.of(live).supervisors) == (2, True)
        assert keeper.kept[live].step == 2


@virtual_time
async def test_a_transfer_that_a_stop_interrupted_is_made_after_the_restart() -> None:
    keeper, policy = Keeper(), Policy(ladder=(Step(10, transfer="support"),))
    exchange = FakeExchange()
    async with desk(policy, keeper, exchange) as d:
        call = await a_call(d)
        d.failures += [PbxUnavailable("lab", "away")] * 2
        d.escalations.ask(BOT, call, "help", "normal")
        await settle(11)
        exchange.services.clear()
    async with desk(policy, keeper, exchange) as d:
        d.s.pbx.cut()
        await d.escalations.restore()
        d.s.pbx.connect()
        await settle(12)
        assert d.sent == [(call, "support")]
