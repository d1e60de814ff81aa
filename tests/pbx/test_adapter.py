"""The Asterisk adapter on a real Asterisk, with the rights of manager_takeover.conf and no more."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from connector.domain.calls import Call, Mode, Topology
from connector.domain.errors import AlreadyTaken, ChannelGone, VerbRefused
from connector.domain.events import (
    AgentGone,
    AgentPresent,
    AgentRefused,
    AiGone,
    CallChanged,
    CallGone,
    Dtmf,
    FellBack,
    PbxDown,
    PbxUp,
    SnapshotTaken,
    Talking,
)
from tests.support.adapter import Agent, Watched, engage, patch, watched
from tests.support.hearing import longest_gap
from tests.support.lab import TOPOLOGIES, Lab, LabCall, expect
from tests.support.lab import Topology as LabTopology
from tests.support.network import TcpForwarder
from tests.support.peers import Leg
from web.demo.asterisk import Ami, Installation
from web.demo.audiosocket import AudioSocketServer
from web.demo.tones import CALLER_HZ
from web.demo.voice import Silence, Tone

pytestmark = pytest.mark.asyncio(loop_scope="session")

AIS = {"T1": "sip-bot", "T2": "socket-bot", "T4": "web-bot"}


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def no_call_left(lab: Lab) -> AsyncIterator[None]:
    """A test that fails must not spoil the next one's PBX."""
    yield
    for call in list(lab.phone.calls.values()):
        await call.hangup()


async def begin(lab: Lab, adapter: Watched, topology: LabTopology = "T1") -> tuple[LabCall, Call]:
    lab_call = await lab.call(topology)
    return lab_call, await adapter.call(lab_call)


# ---- seeing ----


@pytest.mark.parametrize("hook", [True, False], ids=["hook", "bare"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_call_is_seen_with_all_its_facts(lab: Lab, topology: LabTopology, hook: bool) -> None:
    async with watched(lab) as adapter:
        lab_call = await lab.call(topology, ai_hook=hook, hook="acme,sales,ref-1,", options="g")
        call = await adapter.call(lab_call)
        assert call.id == f"lab~{lab_call.uniqueid}"
        assert (call.channels.caller, call.channels.ai) == (lab_call.channel, lab_call.ai_channel)
        assert (call.ai.name, call.topology) == (AIS[topology], Topology.DIALLED)
        assert (call.tenant, call.queue) == (("acme", "sales") if hook else ("default", ""))
        assert call.ai.ref == ("ref-1" if hook else lab_call.key if topology == "T2" else "")
        assert [(choice.mode, choice.possible, choice.how) for choice in call.modes] == [
            (mode, True, "live") for mode in Mode
        ]
        await lab_call.hangup()
        assert (await adapter.kind(CallGone)).why == "hangup"
    await lab.no_channels()


async def test_a_marked_leg_is_an_ai_though_no_rule_names_it(lab: Lab) -> None:
    async with watched(lab, ais=()) as adapter:
        lab_call = await lab.call("T1", ai_hook=False)
        assert (await adapter.call(lab_call)).ai.name == "ai"
        await lab_call.hangup()
    await lab.no_channels()


async def test_a_call_without_mark_hook_or_rule_is_not_ours(lab: Lab) -> None:
    async with watched(lab, ais=(("other", "^PJSIP/other"),)) as adapter:
        lab_call = await lab.call("T1", ai_hook=False, options="g")
        assert adapter.calls() == {}
        await lab_call.hangup()
    await lab.no_channels()


@pytest.mark.parametrize(("hook", "notes"), [(True, ()), (False, ("same-codec-without-hook",))])
async def test_packets_that_pass_unseen_are_noted_and_the_hook_prevents_them(
    lab: Lab, hook: bool, notes: tuple[str, ...]
) -> None:
    async with watched(lab) as adapter:
        lab_call = await lab.call("T1", ai_hook=hook, options="g", settle=1)
        await adapter.call(lab_call)
        assert tuple(adapter.calls()[f"lab~{lab_call.uniqueid}"].notes) == notes
        await lab_call.hangup()
    await lab.no_channels()


async def test_direct_media_is_noted(installation: Installation) -> None:
    async with Lab(installation, direct_media=True) as lab, watched(lab) as adapter:
        lab_call = await lab.call("T1", ai_hook=False, options="g", settle=1)
        await adapter.call(lab_call)
        assert tuple(adapter.calls()[f"lab~{lab_call.uniqueid}"].notes) == ("direct-media",)
        await lab_call.hangup()


async def test_the_callers_digits_are_seen_once(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        agent = await engage(adapter, lab, call, Mode.TAKEOVER)
        lab_call.caller.media.send_dtmf("7")
        await adapter.kind(Dtmf)
        await asyncio.sleep(0.3)
        digits = [event for event in adapter.events if isinstance(event, Dtmf)]
        assert [(event.role, event.digit) for event in digits] == [("caller", "7")]
        await adapter.pbx.release(agent.engaged)
        await lab_call.hangup()
    await lab.no_channels()


async def test_a_spy_of_somebody_else_changes_nothing(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, _ = await begin(lab, adapter)
        mark = len(adapter.events)
        endpoint = patch(lab)
        await lab.pbx.link.action(
            "Originate",
            Channel=lab.agents.dial_string(endpoint.uuid),
            Application="ChanSpy",
            Data=f"{lab_call.channel},qS",
            Async="true",
        )
        spy = await lab.agents.leg(endpoint.uuid)
        await asyncio.sleep(0.3)
        spy.abort()
        await asyncio.sleep(0.3)
        assert adapter.events[mark:] == []
        await lab_call.hangup()
    await lab.no_channels()


# ---- doing ----


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_takeover_is_heard_at_once_and_given_back(lab: Lab, topology: LabTopology) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter, topology)
        asked = time.monotonic()
        agent = await engage(adapter, lab, call, Mode.TAKEOVER)
        await asyncio.sleep(0.5)
        first = lab_call.caller.recording.trace(1500, asked).first(asked)
        assert first is not None
        assert first - asked < 0.3  # 24 ms on a quiet machine
        present = await adapter.kind(AgentPresent)
        assert (present.patch, present.mode, present.instance) == (agent.engaged.patch, Mode.TAKEOVER, "test")
        await expect(lab_call.caller.recording, {"agent"})
        await adapter.pbx.release(agent.engaged)
        assert (await adapter.kind(AgentGone)).why == "hangup"
        await asyncio.sleep(0.2)
        await expect(lab_call.caller.recording, {"ai"})
        await adapter.pbx.release(agent.engaged)
        await lab_call.hangup()
    await lab.no_channels()


async def test_a_closed_patch_gives_the_call_back_and_is_told(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        agent = await engage(adapter, lab, call, Mode.TAKEOVER)
        agent.leg.abort()
        gone = await adapter.kind(AgentGone)
        assert gone.patch == agent.engaged.patch
        await asyncio.sleep(0.2)
        await expect(lab_call.caller.recording, {"ai"})
        for verb in (adapter.pbx.renew(agent.engaged), adapter.pbx.switch(agent.engaged, Mode.MONITOR)):
            with pytest.raises(ChannelGone):
                await verb
        await adapter.pbx.release(agent.engaged)
        await lab_call.hangup()
    await lab.no_channels()


async def test_unrenewed_the_dead_man_gives_the_call_back(lab: Lab) -> None:
    async with watched(lab, deadman_s=2.0) as adapter:
        lab_call, call = await begin(lab, adapter)
        agent = await engage(adapter, lab, call, Mode.TAKEOVER)
        for _ in range(3):
            await asyncio.sleep(1)
            await adapter.pbx.renew(agent.engaged)
        assert not any(isinstance(event, AgentGone) for event in adapter.events)
        assert (await adapter.kind(AgentGone)).why == "deadman"
        await asyncio.sleep(0.2)
        await expect(lab_call.caller.recording, {"ai"})
        await lab_call.hangup()
    await lab.no_channels()


async def test_nobody_answers_at_the_patchs_port(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        with pytest.raises(VerbRefused, match="could not be connected"):
            await adapter.pbx.engage(call, replace(patch(lab), port=9), Mode.TAKEOVER)
        await expect(lab_call.caller.recording, {"ai"})
        await lab_call.hangup()
    await lab.no_channels()


async def test_a_call_that_has_ended_cannot_be_engaged(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        await lab_call.hangup()
        await adapter.kind(CallGone)
        with pytest.raises(ChannelGone):
            await adapter.pbx.engage(call, patch(lab), Mode.TAKEOVER)
    await lab.no_channels()


async def test_release_overtakes_an_engage(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        endpoint = patch(lab)
        engaging = asyncio.create_task(adapter.pbx.engage(call, endpoint, Mode.TAKEOVER))
        await asyncio.sleep(0)
        await adapter.pbx.release(Agent.unanswered(call, endpoint, Mode.TAKEOVER))
        await asyncio.gather(engaging, return_exceptions=True)
        await asyncio.sleep(0.3)
        await expect(lab_call.caller.recording, {"ai"})
        assert len(await lab.pbx.channels()) == 2
        await lab_call.hangup()
    await lab.no_channels()


async def test_the_ai_gets_digits(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        await adapter.pbx.send_dtmf(call, "42#")
        await asyncio.sleep(0.5)
        assert lab_call.ai.media.digits == "42#"  # type: ignore[attr-defined]  # T1's leg is a SipCall
        await lab_call.hangup()
    await lab.no_channels()


async def test_a_transfer_leaves_neither_agent_nor_ai_behind(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        await engage(adapter, lab, call, Mode.TAKEOVER)
        there = lab.event("UserEvent", UserEvent="LabDestination", Uid=lab_call.uniqueid)
        await adapter.pbx.transfer(call, "support")
        await there
        assert (await adapter.kind(CallGone)).why == "transferred"
        await adapter.kind(AgentGone)
        async with asyncio.timeout(2):
            await lab_call.ai.ended.wait()
        assert await lab.pbx.channels() == [lab_call.channel]
        await lab_call.hangup()
    await lab.no_channels()


async def test_a_transfer_by_another_service_is_told_as_one(lab: Lab) -> None:
    async with watched(lab, "one") as one, watched(lab, "two") as two:
        lab_call, call = await begin(lab, one)
        await engage(two, lab, await two.call(lab_call), Mode.TAKEOVER)
        await one.pbx.transfer(call, "support")
        assert (await two.kind(CallGone)).why == "transferred"
        assert (await two.kind(AgentGone)).why == "transferred"
        assert not lab_call.caller.ended.is_set()
        await lab_call.hangup()
    await lab.no_channels()


async def test_somebody_elses_redirect_does_not_leave_agent_and_ai_talking(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        await engage(adapter, lab, call, Mode.TAKEOVER)
        await asyncio.sleep(0.3)
        await lab.pbx.link.action(
            "Redirect", Channel=lab_call.channel, Context="lab-destination", Exten="s", Priority="1"
        )
        await adapter.kind(AgentGone)
        await asyncio.sleep(0.5)
        assert await lab.pbx.channels() == [lab_call.channel]
        await lab_call.hangup()
    await lab.no_channels()


async def test_hangup_ends_every_leg(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        await engage(adapter, lab, call, Mode.TAKEOVER)
        await engage(adapter, lab, call, Mode.MONITOR)
        await adapter.pbx.hangup(call)
        await lab.no_channels()
        assert lab_call.caller.ended_by == "them"
        await adapter.pbx.hangup(call)


async def test_a_caller_who_hangs_up_leaves_nobody_behind(lab: Lab) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter)
        await engage(adapter, lab, call, Mode.TAKEOVER)
        await engage(adapter, lab, call, Mode.WHISPER)
        await lab_call.hangup()
        await lab.no_channels()
        await adapter.kind(CallGone)


# ---- one speaker ----


async def test_of_two_services_that_want_one_call_exactly_one_gets_it(lab: Lab) -> None:
    async with watched(lab, "one") as one, watched(lab, "two") as two:
        lab_call, _ = await begin(lab, one)
        for _ in range(10):
            calls = [await adapter.call(lab_call) for adapter in (one, two)]
            answers = await asyncio.gather(
                *(engage(adapter, lab, call, Mode.TAKEOVER) for adapter, call in zip((one, two), calls, strict=True)),
                return_exceptions=True,
            )
            won = [answer for answer in answers if isinstance(answer, Agent)]
            lost = [answer for answer in answers if isinstance(answer, AlreadyTaken)]
            assert (len(won), len(lost)) == (1, 1), answers
            winner = one if isinstance(answers[0], Agent) else two
            await winner.pbx.release(won[0].engaged)
            await asyncio.sleep(0.1)
        await lab_call.hangup()
    await lab.no_channels()


async def test_the_other_services_agent_is_seen_and_named(lab: Lab) -> None:
    async with watched(lab, "one") as one, watched(lab, "two") as two:
        lab_call, call = await begin(lab, one)
        agent = await engage(one, lab, call, Mode.TAKEOVER, "Zoë, a=b ${EXTEN}")
        seen = await two.kind(AgentPresent)
        assert (seen.instance, seen.patch, seen.name) == ("one", agent.engaged.patch, "Zoë, a=b ${EXTEN}")
        with pytest.raises(AlreadyTaken) as caught:
            await engage(two, lab, await two.call(lab_call), Mode.BARGE)
        assert caught.value.speaker == "Zoë, a=b ${EXTEN}"
        again = (await two.pbx.snapshot()).events
        assert [event.name for event in again if isinstance(event, AgentPresent)] == ["Zoë, a=b ${EXTEN}"]
        assert (await one.kind(AgentRefused)).by == agent.engaged.channel
        await expect(lab_call.caller.recording, {"agent"})
        await lab_call.hangup()
    await lab.no_channels()


# ---- failures ----


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_the_ai_dies_and_then_the_agent(lab: Lab, topology: LabTopology) -> None:
    async with watched(lab) as adapter:
        lab_call, call = await begin(lab, adapter, topology)
        agent = await engage(adapter, lab, call, Mode.TAKEOVER)
        await asyncio.sleep(0.3)
        await lab_call.ai.hangup()
        assert (await adapter.kind(AiGone)).paired
        await expect(lab_call.caller.recording, {"agent"})
        with pytest.raises(VerbRefused, match="would part them"):
            await adapter.pbx.switch(agent.engaged, Mode.MONITOR)
        snapshot = await adapter.pbx.snapshot()
        assert [type(event) for event in snapshot.events] == [CallChanged, AgentPresent]
        await adapter.pbx.renew(agent.engaged)
        agent.leg.abort()
        await adapter.kind(FellBack)
        assert not lab_call.caller.ended.is_set()
        await lab_call.hangup()
    await lab.no_channels()


async def test_an_ami_cut_of_two_seconds_is_survived_and_the_truth_read_again(lab: Lab) -> None:
    async with TcpForwarder((lab.pbx.ami.host, lab.pbx.ami.port)) as wire:
        through = Ami(lab.pbx.ami.host, wire.port, lab.pbx.ami.user, lab.pbx.ami.secret)
        async with watched(lab, ami=through) as adapter:
            lab_call, call = await begin(lab, adapter)
            ends = await lab.call("T2")
            await adapter.call(ends)
            agent = await engage(adapter, lab, call, Mode.TAKEOVER)
            wire.refuse = True
            wire.abort()
            await adapter.kind(PbxDown)
            mark = len(adapter.events)
            await ends.hangup()
            comes = await lab.call("T4")
            await expect(lab_call.caller.recording, {"agent"})
            await asyncio.sleep(1.5)
            wire.refuse = False
            snapshot = await adapter.kind(SnapshotTaken, since=mark, within=8)
            expected = await adapter.pbx.snapshot()
            assert {type(event).__name__: event for event in snapshot.events}.keys() == {"CallChanged", "AgentPresent"}
            assert adapter.calls().keys() == {f"lab~{lab_call.uniqueid}", f"lab~{comes.uniqueid}"}
            assert sorted(map(str, snapshot.events)) == sorted(map(str, expected.events))
            await adapter.pbx.switch(agent.engaged, Mode.BARGE)
            await lab_call.hangup()
            await comes.hangup()
    await lab.no_channels()


async def test_a_pulled_cable_is_noticed(lab: Lab) -> None:
    async with TcpForwarder((lab.pbx.ami.host, lab.pbx.ami.port)) as wire:
        through = Ami(lab.pbx.ami.host, wire.port, lab.pbx.ami.user, lab.pbx.ami.secret)
        async with watched(lab, ami=through) as adapter:
            wire.cut()
            down = await adapter.kind(PbxDown, within=10)
            assert "ping" in down.why
            wire.mend()
            await adapter.kind(SnapshotTaken, since=len(adapter.events), within=10)


async def test_after_a_restart_of_the_pbx_nothing_is_believed_that_is_not_there(installation: Installation) -> None:
    async with Lab(installation) as lab, watched(lab) as adapter:
        _, call = await begin(lab, adapter)
        await engage(adapter, lab, call, Mode.TAKEOVER)
        mark = len(adapter.events)
        await lab.pbx.restart()
        lab.watch()
        await adapter.kind(PbxDown, since=mark)
        up = await adapter.kind(PbxUp, since=mark, within=15)
        assert up.version.startswith(installation.version.partition("+")[0].partition("~")[0])
        assert (await adapter.kind(SnapshotTaken, since=mark)).events == ()
        again, call = await begin(lab, adapter)
        await engage(adapter, lab, call, Mode.TAKEOVER)
        await asyncio.sleep(0.3)
        await expect(again.caller.recording, {"agent"})
        await again.hangup()


async def test_a_wrong_password_is_told_by_a_real_asterisk(lab: Lab) -> None:
    wrong = Ami(lab.pbx.ami.host, lab.pbx.ami.port, lab.pbx.ami.user, "wrong")
    adapter = Watched.to(lab, wrong)
    follower = asyncio.create_task(adapter.follow())
    down = await adapter.kind(PbxDown)
    assert down.why == "authentication refused: check pbx.lab.username/secret (Authentication failed)"
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


async def silence_ms(leg: Leg, since: float, until: float) -> float:
    """The longest time without a packet that began in this span, by the kernel's time stamps: when this process read
    them says nothing. Waits until a packet from after the span is here; AssertionError if none comes."""
    media = leg.media  # type: ignore[attr-defined]  # a SipCall
    deadline = time.monotonic() + 5
    while not media.packets or media.packets[-1].at < until:
        assert time.monotonic() < deadline, "no packet comes any more"
        await asyncio.sleep(0.02)
    later = min(packet.at for packet in media.packets if packet.at >= until)
    return longest_gap(media.packets, since, later)[0]


async def test_no_stalled_join_stays_stalled(lab: Lab) -> None:
    """Barge is the mode in which joins stall most; each leg must get packets again within 250 ms, by the cure. What
    a caller goes through whom nobody joins is the machine's doing, and is forgiven."""
    async with watched(lab) as adapter:
        bystander = await lab.call("T1")
        lab_call, call = await begin(lab, adapter)
        for _ in range(15):
            since = time.monotonic()
            agent = await engage(adapter, lab, call, Mode.BARGE)
            await asyncio.sleep(0.5)
            until = time.monotonic()
            machine = await silence_ms(bystander.caller, since, until)
            for leg in (lab_call.caller, lab_call.ai):
                assert await silence_ms(leg, since, until) - machine < 400
            await adapter.pbx.release(agent.engaged)
            await asyncio.sleep(0.2)
        assert adapter.pbx.joins.checked == 15
        assert adapter.pbx.joins.unhealed == 0
        assert adapter.pbx.joins.healed == adapter.pbx.joins.stalled
        await lab_call.hangup()
        await bystander.hangup()
    await lab.no_channels()


INLINE = """
[incoming]
exten => inline,1,Answer()
 same => n,Set(LAB_KEY=${PJSIP_HEADER(read,X-Lab-Key)})
 same => n,Gosub(takeover,register,1(acme,sales,,))
 same => n,AudioSocket(${LAB_KEY},${LAB_INLINE})
"""


async def test_an_ai_on_the_callers_own_channel_is_shown_with_the_reason(installation: Installation) -> None:
    async with AudioSocketServer() as ai:
        place = {"LAB_INLINE": f"{ai.host}:{ai.port}"}
        async with Lab(installation, dialplan=INLINE, globals=place) as lab, watched(lab) as adapter:
            key = str(uuid.uuid4())
            uri = f"sip:inline@{lab.pbx.ports.host}:{lab.pbx.ports.sip}"
            caller = await lab.phone.call(uri, headers={"X-Lab-Key": key})
            call = (await adapter.kind(CallChanged)).call
            assert (call.topology, call.ai.ref, call.tenant) == (Topology.INLINE, key, "acme")
            assert not any(choice.possible for choice in call.modes)
            assert "Dial(AudioSocket/" in call.choice(Mode.TAKEOVER).why
            with pytest.raises(ChannelGone):
                await adapter.pbx.engage(call, patch(lab), Mode.TAKEOVER)
            async with watched(lab, "another") as later:
                assert [found.topology for found in later.calls().values()] == [Topology.INLINE]
            await caller.hangup()
            await adapter.kind(CallGone)


async def test_who_talks_is_told_to_an_account_that_may_know(lab: Lab) -> None:
    """The hook's TALK_DETECT raises events of class `class`, which the least-privilege account does not read."""
    async with watched(lab, ami=lab.pbx.admin) as adapter:
        lab_call, call = await begin(lab, adapter)
        for source, on in ((Silence(), False), (Tone(CALLER_HZ), True)):
            mark = len(adapter.events)
            lab_call.caller.source = source
            talking = await adapter.kind(Talking, since=mark)
            assert (talking.call, talking.role, talking.on) == (call.id, "caller", on)
        await lab_call.hangup()
    await lab.no_channels()
