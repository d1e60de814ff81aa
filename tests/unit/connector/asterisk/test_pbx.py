"""The adapter on a fake made of recorded messages: verbs, confirmations, failures, reconnection."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

import pytest

from connector.adapter import connected
from connector.asterisk import client, joins, legs, looks
from connector.asterisk import pbx as pbx_module
from connector.asterisk.pbx import AsteriskPbx, AsteriskSettings
from connector.domain.calls import Call, Mode, PatchId
from connector.domain.errors import (
    AlreadyTaken,
    BadValue,
    ChannelGone,
    PbxTimeout,
    PbxUnavailable,
    VerbRefused,
)
from connector.domain.events import (
    AgentGone,
    AgentPresent,
    AiGone,
    CallChanged,
    CallGone,
    FellBack,
    PbxDown,
    PbxUp,
    SnapshotTaken,
)
from connector.ports import Engaged
from tests.support.adapter import Patch, Watched
from tests.support.fake_ami import Block, FakeAsterisk, FakeCall


def fresh(rate: int = 8000) -> Patch:
    return Patch("127.0.0.1", 9092, str(uuid.uuid4()), rate)


@dataclass
class Site:
    """A fake Asterisk and an adapter that follows it."""

    fake: FakeAsterisk
    adapter: Watched

    @property
    def pbx(self) -> AsteriskPbx:
        return self.adapter.pbx

    async def call(self) -> tuple[FakeCall, Call]:
        fake_call = self.fake.call()
        event = await self.adapter.event(
            lambda event: isinstance(event, CallChanged) and event.call.channels.caller_id == fake_call.caller.uniqueid
        )
        return fake_call, cast("CallChanged", event).call


def refusal(action: Block, message: str) -> str:
    return f"Response: Error\r\nActionID: {action.get('ActionID')}\r\nMessage: {message}\r\n\r\n"


def adapter_for(fake: FakeAsterisk, secret: str = "right", **other: object) -> Watched:
    given: dict[str, object] = {"ais": (("bot", "^PJSIP/ai"),), "destinations": {"support": "help,100,1"}}
    settings = AsteriskSettings("takeover", secret, port=fake.port, **{**given, **other})  # type: ignore[arg-type]
    return Watched(AsteriskPbx("main", settings, "node-1"))


@asynccontextmanager
async def following(adapter: Watched) -> AsyncIterator[Watched]:
    task = asyncio.create_task(adapter.follow())
    try:
        yield adapter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with FakeAsterisk() as fake, following(adapter_for(fake)) as adapter:
        await adapter.kind(SnapshotTaken)
        yield Site(fake, adapter)


# ---- coming up ----


async def test_it_comes_up_with_its_version_and_an_empty_snapshot(site: Site) -> None:
    assert site.adapter.events == [PbxUp("main", "22.10.1"), SnapshotTaken("main", ())]


async def test_a_wrong_password_is_told_once_and_not_hammered() -> None:
    async with FakeAsterisk() as fake, following(adapter_for(fake, "wrong")) as adapter:
        down = await adapter.kind(PbxDown)
        assert down.why.startswith("authentication refused: check pbx.main.username/secret")
        await asyncio.sleep(0.5)
        assert fake.logins == 1
        assert adapter.events == [down]
        with pytest.raises(PbxUnavailable, match="authentication refused"):
            await adapter.pbx.snapshot()


async def test_a_corrected_password_is_taken_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "REFUSED_BACKOFF_S", (0.1, 0.1))
    async with FakeAsterisk() as fake, following(adapter_for(fake, "wrong")) as adapter:
        await adapter.kind(PbxDown)
        fake.secret = "wrong"
        await adapter.kind(SnapshotTaken)


async def test_a_pbx_that_is_not_there_at_start_is_told_and_found_later() -> None:
    async with FakeAsterisk() as fake:
        await fake.vanish()
        async with following(adapter_for(fake)) as adapter:
            down = await adapter.kind(PbxDown)
            assert "cannot connect to 127.0.0.1" in down.why
            await fake.listen()
            await adapter.kind(SnapshotTaken)


async def test_an_asterisk_that_is_too_old_is_refused_with_the_versions_that_are_not() -> None:
    async with FakeAsterisk() as fake:
        settings = fake.answers["CoreSettings"]
        fake.answers["CoreSettings"] = lambda action: [
            text.replace("22.10.1", "16.28.0") for text in settings(action) or ()
        ]
        async with following(adapter_for(fake)) as adapter:
            down = await adapter.kind(PbxDown)
            assert "16.28.0" in down.why
            assert "18.16, 19.8, 20.1" in down.why


async def test_an_account_without_rights_is_told_which() -> None:
    async with FakeAsterisk() as fake:
        del fake.answers["CoreSettings"]
        async with following(adapter_for(fake)) as adapter:
            assert "write=originate,call,reporting" in (await adapter.kind(PbxDown)).why


async def test_a_missing_dialplan_is_said_on_every_call_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "RECHECK_S", (0.05, 0.1))
    async with FakeAsterisk() as fake:
        there = fake.answers["ShowDialPlan"]
        fake.answers["ShowDialPlan"] = lambda action: [refusal(action, f"Did not find context {action.get('Context')}")]
        async with following(adapter_for(fake)) as adapter:
            await adapter.kind(SnapshotTaken)
            _, call = await Site(fake, adapter).call()
            why = call.choice(Mode.TAKEOVER).why
            assert "takeover-agent" in why
            assert "takeover dialplan --for asterisk --install DIR" in why
            fake.answers["ShowDialPlan"] = there
            await adapter.event(lambda event: isinstance(event, CallChanged) and event.call.modes[0].possible)


async def test_calls_that_were_there_before_us_are_in_the_snapshot() -> None:
    async with FakeAsterisk() as fake:
        fake_call = fake.call()
        async with following(adapter_for(fake)) as adapter:
            snapshot = await adapter.kind(SnapshotTaken)
            assert [type(event) for event in snapshot.events] == [CallChanged]
            fake.caller_hangs_up(fake_call)
            await adapter.kind(CallGone)


async def test_what_happens_while_the_snapshot_is_read_is_not_lost() -> None:
    async with FakeAsterisk() as fake:
        before = fake.call()
        status = fake.answers["Status"]
        during: list[FakeCall] = []

        def interrupted(action: Block) -> list[str]:
            rows = list(status(action) or ())
            fake.caller_hangs_up(before)  # its row is under way, its end comes first
            during.append(fake.call())
            return rows

        fake.answers["Status"] = interrupted
        async with following(adapter_for(fake)) as adapter:
            await adapter.event(
                lambda event: (
                    isinstance(event, CallChanged) and event.call.channels.caller_id == during[0].caller.uniqueid
                )
            )
            assert [call.channels.caller_id for call in adapter.calls().values()] == [during[0].caller.uniqueid]


# ---- verbs ----


async def test_engaging_is_one_originate_and_nothing_before_it(site: Site) -> None:
    fake_call, call = await site.call()
    await asyncio.sleep(2 * looks.SETTLE_S)  # the look at the new call is over
    before, endpoint = len(site.fake.received), fresh()
    engaged = await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    sent = [action for action in site.fake.received[before:] if action.get("Action") not in ("Ping", "Getvar")]
    assert [action.get("Action") for action in sent] == ["Originate"]
    assert site.fake.received[before].get("Action") in ("Originate", "Ping")
    assert sent[0].get("Channel") == f"AudioSocket/127.0.0.1:9092/{endpoint.uuid}/c(slin)"
    assert f"TK_UID={fake_call.caller.uniqueid}" in sent[0].all("Variable")
    channel = f"AudioSocket/127.0.0.1:9092-{endpoint.uuid}"
    assert engaged == Engaged(call.id, PatchId(endpoint.uuid), channel, Mode.TAKEOVER)
    assert not site.fake.audible[fake_call.caller.uniqueid]
    present = await site.adapter.kind(AgentPresent)
    assert (present.instance, present.mode, present.patch) == ("node-1", Mode.TAKEOVER, endpoint.uuid)


async def test_the_legs_own_id_is_younger_than_any_callers(site: Site) -> None:
    """Asterisk keeps the Linkedid of the oldest: an id without seconds would take over the call's."""
    _, call = await site.call()
    await site.pbx.engage(call, fresh(), Mode.MONITOR)
    channel_id = (await site.fake.action("Originate")).get("ChannelId")
    name, _, serial = channel_id.rpartition("-")[2].partition(".")
    assert channel_id.startswith("takeover-")
    assert name.isdigit()
    assert serial.isdigit()


async def test_wideband_is_asked_for_where_the_pbx_has_it(site: Site) -> None:
    _, call = await site.call()
    await site.pbx.engage(call, fresh(16_000), Mode.MONITOR)
    assert (await site.fake.action("Originate")).get("Channel").endswith("/c(slin16)")


async def test_a_second_speaker_is_refused_by_the_pbx_and_the_first_stays(site: Site) -> None:
    fake_call, call = await site.call()
    first = await site.pbx.engage(call, fresh(), Mode.TAKEOVER, "Zoë, a=b")
    assert (await site.adapter.kind(AgentPresent)).name == "Zoë, a=b"
    with pytest.raises(AlreadyTaken) as caught:
        await site.pbx.engage(call, fresh(), Mode.BARGE, "Ben")
    assert caught.value.speaker == "Zoë, a=b"
    assert [leg.name for leg in fake_call.agents] == [first.channel]


async def test_a_listener_who_may_not_speak_goes_on_listening(site: Site) -> None:
    _, call = await site.call()
    await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    listener = await site.pbx.engage(call, fresh(), Mode.MONITOR)
    with pytest.raises(AlreadyTaken):
        await site.pbx.switch(listener, Mode.BARGE)
    assert (await site.pbx.switch(listener, Mode.WHISPER)).mode is Mode.WHISPER


async def test_every_switch_is_confirmed_by_the_dialplan(site: Site) -> None:
    fake_call, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.MONITOR)
    for mode in (Mode.TAKEOVER, Mode.WHISPER, Mode.BARGE, Mode.TAKEOVER, Mode.TAKEOVER):
        engaged = await site.pbx.switch(engaged, mode)
        assert engaged.mode is mode
        assert site.fake.audible[fake_call.caller.uniqueid] is (mode is not Mode.TAKEOVER)


async def test_release_is_confirmed_and_can_be_repeated(site: Site) -> None:
    fake_call, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    await site.pbx.release(engaged)
    assert site.fake.audible[fake_call.caller.uniqueid]
    assert fake_call.agents == []
    gone = await site.adapter.kind(AgentGone)
    assert (gone.patch, gone.why) == (engaged.patch, "hangup")
    await site.pbx.release(engaged)


async def test_release_of_a_patch_the_pbx_never_got_is_done(site: Site) -> None:
    _, call = await site.call()
    await site.pbx.release(Engaged(call.id, PatchId(str(uuid.uuid4())), "", Mode.TAKEOVER))


async def test_release_overtakes_an_engage_that_has_not_answered(site: Site) -> None:
    fake_call, call = await site.call()
    originate = site.fake.answers["Originate"]
    held: list[Block] = []

    def later(action: Block) -> list[str]:
        held.append(action)
        return [f"Response: Success\r\nActionID: {action.get('ActionID')}\r\n\r\n"]

    site.fake.answers["Originate"] = later
    endpoint = fresh()
    engaging = asyncio.create_task(site.pbx.engage(call, endpoint, Mode.TAKEOVER))
    await site.fake.action("Originate")
    releasing = asyncio.create_task(site.pbx.release(Engaged(call.id, PatchId(endpoint.uuid), "", Mode.TAKEOVER)))
    await asyncio.sleep(0.05)
    assert not releasing.done()
    originate(held[0])
    await releasing
    await asyncio.gather(engaging, return_exceptions=True)
    assert fake_call.agents == []
    assert site.fake.audible[fake_call.caller.uniqueid]


async def test_release_of_a_leg_that_was_refused_too_late_is_done_in_the_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legs, "GONE_S", 0.1)
    monkeypatch.setattr(legs, "DIALLED_S", 0.3)
    _, call = await site.call()
    site.fake.answers["Originate"] = lambda _: None
    endpoint = fresh()
    engaging = asyncio.create_task(site.pbx.engage(call, endpoint, Mode.TAKEOVER))
    originate = await site.fake.action("Originate")
    engaging.cancel()  # as a timeout does
    site.fake.say(refusal(originate, "Permission denied"))
    wanted = Engaged(call.id, PatchId(endpoint.uuid), "", Mode.TAKEOVER)
    with pytest.raises(PbxTimeout):
        await site.pbx.release(wanted)
    await asyncio.sleep(0.3)
    await site.pbx.release(wanted)


async def test_release_of_a_leg_that_could_not_be_connected_is_done(site: Site) -> None:
    _, call = await site.call()
    site.fake.answers["Originate"] = lambda action: [
        f"Response: Success\r\nActionID: {action.get('ActionID')}\r\n\r\n",
        f"Event: OriginateResponse\r\nResponse: Failure\r\nChannel: {action.get('Channel')}\r\nReason: 0\r\n\r\n",
    ]
    endpoint = fresh()
    with pytest.raises(VerbRefused, match=r"could not be connected \(reason 0\)"):
        await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    await site.pbx.release(Engaged(call.id, PatchId(endpoint.uuid), "", Mode.TAKEOVER))


async def test_engaging_in_a_call_that_has_ended_says_so(site: Site) -> None:
    fake_call, call = await site.call()
    site.fake.caller_hangs_up(fake_call)
    with pytest.raises(ChannelGone):
        await site.pbx.engage(call, fresh(), Mode.TAKEOVER)


async def test_engaging_in_a_call_that_its_ai_has_left_says_so(site: Site) -> None:
    _, call = await site.call()
    left = replace(call, channels=replace(call.channels, ai="", ai_id=""))
    with pytest.raises(ChannelGone, match="the AI's"):
        await site.pbx.engage(left, fresh(), Mode.TAKEOVER)
    assert site.fake.count("Originate") == 0


async def test_an_unconfirmed_engage_is_a_timeout(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "CONFIRM_S", 0.1)
    _, call = await site.call()
    site.fake.answers["Originate"] = lambda action: [f"Response: Success\r\nActionID: {action.get('ActionID')}\r\n\r\n"]
    with pytest.raises(PbxTimeout, match=r"did not answer engage within 0\.1 s"):
        await site.pbx.engage(call, fresh(), Mode.TAKEOVER)


@pytest.mark.parametrize("field", ["host", "uuid"])
async def test_an_endpoint_that_could_break_out_is_refused_unsent(site: Site, field: str) -> None:
    _, call = await site.call()
    evil = "x\r\nAction: Command"
    endpoint = replace(fresh(), host=evil) if field == "host" else replace(fresh(), uuid=evil)
    with pytest.raises(BadValue):
        await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    assert site.fake.count("Originate") == 0


async def test_renewal_feeds_the_timer_and_misses_a_leg_that_is_gone(site: Site) -> None:
    _, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    await site.pbx.renew(engaged)
    action = await site.fake.action("AbsoluteTimeout")
    assert (action.get("Channel"), action.get("Timeout")) == (engaged.channel, "5")
    await site.pbx.release(engaged)
    await site.adapter.kind(AgentGone)
    with pytest.raises(ChannelGone):
        await site.pbx.renew(engaged)


async def test_hangup_ends_the_call_and_can_be_repeated(site: Site) -> None:
    _, call = await site.call()
    await site.pbx.hangup(call)
    await site.adapter.kind(CallGone)
    await site.pbx.hangup(call)


async def test_a_transfer_goes_to_a_configured_place_only(site: Site) -> None:
    fake_call, call = await site.call()
    for bad in ("help,100,1", "nowhere", ""):
        with pytest.raises(BadValue, match=r"use a key of pbx\.main\.destinations: support"):
            await site.pbx.transfer(call, bad)
    await site.pbx.transfer(call, "support")
    assert fake_call.caller.variables["TK_XFER"] == "help,100,1"
    assert (await site.adapter.kind(CallGone)).why == "transferred"


async def test_digits_go_to_the_ai_in_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbx_module, "DIGIT_PAUSE_S", 0)
    fake_call, call = await site.call()
    await site.pbx.send_dtmf(call, "42#")
    assert site.fake.digits == {fake_call.ai.name: "42#"}
    with pytest.raises(BadValue, match="digits"):
        await site.pbx.send_dtmf(call, "1;2")


async def test_after_the_ai_has_gone_the_pair_is_not_parted(site: Site) -> None:
    fake_call, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    site.fake.ai_hangs_up(fake_call)
    gone = await site.adapter.kind(AiGone)
    assert gone.paired
    with pytest.raises(VerbRefused, match="would part them"):
        await site.pbx.switch(engaged, Mode.WHISPER)
    await site.pbx.release(engaged)
    await site.adapter.kind(FellBack)


@pytest.mark.parametrize("unseen", [False, True], ids=["seen", "while-we-were-away"])
async def test_a_caller_whom_the_pbx_leaves_alone_is_sent_to_the_fallback(
    site: Site, monkeypatch: pytest.MonkeyPatch, unseen: bool
) -> None:
    monkeypatch.setattr(looks, "ALONE_S", 0.05)
    site.fake.forgets = True
    fake_call, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    site.fake.ai_hangs_up(fake_call)
    await site.adapter.kind(AiGone)
    if unseen:
        await site.fake.vanish()
        await site.adapter.kind(PbxDown)
    site.fake.agent_dies(fake_call, engaged.patch)
    if unseen:
        await site.fake.listen()
    await site.adapter.kind(FellBack)
    sent = await site.fake.action("Redirect")
    assert (sent.get("Channel"), sent.get("Context")) == (fake_call.caller.name, "takeover-fallback")


async def test_a_caller_who_was_led_elsewhere_is_left_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "ALONE_S", 0.05)
    site.fake.forgets = True
    fake_call, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    site.fake.ai_hangs_up(fake_call)
    site.fake.agent_dies(fake_call, engaged.patch)
    site.fake._enter(fake_call.caller, "elsewhere")
    await site.adapter.kind(CallGone)
    await asyncio.sleep(0.2)
    assert site.fake.count("Redirect") == 0


# ---- loss ----


async def test_a_cut_in_a_verb_fails_it_and_nothing_is_sent_again(site: Site) -> None:
    _, call = await site.call()
    site.fake.answers["Originate"] = lambda _: None
    engaging = asyncio.create_task(site.pbx.engage(call, fresh(), Mode.TAKEOVER))
    await site.fake.action("Originate")
    site.fake.cut()
    with pytest.raises(PbxUnavailable):
        await engaging
    await site.adapter.kind(PbxDown)
    await site.adapter.kind(SnapshotTaken, since=len(site.adapter.events))
    assert site.fake.count("Originate") == 1


async def test_a_cut_while_a_confirmation_is_awaited_fails_the_verb(site: Site) -> None:
    _, call = await site.call()
    site.fake.answers["Originate"] = lambda action: [f"Response: Success\r\nActionID: {action.get('ActionID')}\r\n\r\n"]
    engaging = asyncio.create_task(site.pbx.engage(call, fresh(), Mode.TAKEOVER))
    await site.fake.action("Originate")
    await asyncio.sleep(0.05)
    site.fake.cut()
    with pytest.raises(PbxUnavailable):
        await engaging


async def test_after_a_loss_the_truth_is_read_again(site: Site) -> None:
    stays, call = await site.call()
    ends, _ = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    await site.fake.vanish()
    down = await site.adapter.kind(PbxDown)
    assert down.why
    with pytest.raises(PbxUnavailable):
        await site.pbx.renew(engaged)
    site.fake.caller_hangs_up(ends)
    mark = len(site.adapter.events)
    comes = site.fake.call()
    await site.fake.listen()
    snapshot = await site.adapter.kind(SnapshotTaken, since=mark)
    assert {event.call.channels.caller_id for event in snapshot.events if isinstance(event, CallChanged)} == {
        stays.caller.uniqueid,
        comes.caller.uniqueid,
    }
    presences = [event for event in snapshot.events if isinstance(event, AgentPresent)]
    assert [(event.patch, event.mode) for event in presences] == [(engaged.patch, Mode.TAKEOVER)]
    await site.pbx.switch(engaged, Mode.MONITOR)


async def test_a_caller_who_was_led_away_during_a_loss_leaves_no_agent_with_the_ai(site: Site) -> None:
    fake_call, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    site.fake.cut()
    await site.adapter.kind(PbxDown)
    fake_call.caller.bridge = "elsewhere"
    action = await site.fake.action("Hangup")
    assert action.get("Channel") == engaged.channel
    assert site.adapter.calls()[call.id].modes[0].why == ""  # the AI has not left


async def test_a_loss_parts_no_agent_from_the_caller(site: Site) -> None:
    _, first = await site.call()
    paired, second = await site.call()
    for call in (first, second):
        await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    site.fake.ai_hangs_up(paired)
    await site.adapter.kind(AiGone)
    mark = len(site.adapter.events)
    site.fake.cut()
    await site.adapter.kind(SnapshotTaken, since=mark)
    await asyncio.sleep(looks.SETTLE_S + 0.2)
    assert site.fake.count("Hangup") == 0


async def test_a_half_open_link_ends_in_down_and_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(client, "PING_DEADLINE_S", 0.1)
    async with FakeAsterisk() as fake, following(adapter_for(fake)) as adapter:
        await adapter.kind(SnapshotTaken)
        fake.silent = True
        assert "ping" in (await adapter.kind(PbxDown)).why
        fake.cut()
        fake.silent = False
        mark = len(adapter.events)
        await adapter.kind(SnapshotTaken, since=mark)


async def test_an_unchanged_reason_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "BACKOFF_S", (0.01, 0.02))
    async with FakeAsterisk() as fake:
        await fake.vanish()
        async with following(adapter_for(fake)) as adapter:
            await asyncio.sleep(0.3)
            assert [type(event) for event in adapter.events] == [PbxDown]


# ---- the check and cure of stalled joins ----


def counter(fake: FakeAsterisk, moving: bool) -> None:
    """What Asterisk says of sent packets: a count that grows, or one that does not."""
    ticks = iter(range(1_000_000))

    def answer(action: Block) -> list[str]:
        value = next(ticks) if moving else 7
        number = action.get("ActionID")
        return [f"Response: Success\r\nActionID: {number}\r\nVariable: x\r\nValue: {value}\r\n\r\n"]

    fake.answers["Getvar"] = answer


async def until(wanted: int, value: object, name: str) -> None:
    async with asyncio.timeout(3):
        while getattr(value, name) < wanted:  # noqa: ASYNC110 - a plain counter is all there is to look at
            await asyncio.sleep(0.01)


async def test_a_join_that_sends_is_left_alone(site: Site) -> None:
    counter(site.fake, moving=True)
    _, call = await site.call()
    await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    await asyncio.sleep(0.3)
    assert (site.pbx.joins.checked, site.pbx.joins.stalled, site.fake.count("Redirect")) == (1, 0, 0)


async def test_a_stalled_join_is_joined_once_more_into_its_own_mode(site: Site) -> None:
    counter(site.fake, moving=False)
    _, call = await site.call()
    await site.pbx.engage(call, fresh(), Mode.BARGE)
    action = await site.fake.action("Redirect")
    assert action.get("Exten") == "barge"
    counter(site.fake, moving=True)
    await until(1, site.pbx.joins, "healed")
    assert (site.pbx.joins.stalled, site.pbx.joins.cures, site.pbx.joins.unhealed) == (1, 1, 0)


async def test_what_cannot_be_healed_is_counted_and_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(joins, "SECOND_LOOK_S", 0.01)
    counter(site.fake, moving=False)
    _, call = await site.call()
    await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    await until(1, site.pbx.joins, "unhealed")
    assert site.fake.count("Redirect") == joins.TRIES


async def test_the_cure_never_undoes_a_later_wish(site: Site) -> None:
    counter(site.fake, moving=False)
    _, call = await site.call()
    engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
    await site.pbx.switch(engaged, Mode.MONITOR)
    await asyncio.sleep(0.3)
    assert site.fake.count("Redirect") == 1  # the switch
    engaged = await site.pbx.switch(engaged, Mode.TAKEOVER)
    await site.pbx.release(engaged)
    await asyncio.sleep(0.3)
    assert site.fake.count("Redirect") == 2


async def test_an_ai_is_sent_away_only_by_the_takeover_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbx_module, "JOINED_S", 0.2)
    async with FakeAsterisk() as fake, following(adapter_for(fake, hung_up=frozenset({"bot"}))) as adapter:
        await adapter.kind(SnapshotTaken)
        site = Site(fake, adapter)
        _, call = await site.call()
        engaged = await site.pbx.engage(call, fresh(), Mode.TAKEOVER)
        engaged = await site.pbx.switch(engaged, Mode.MONITOR)
        redirect = fake.answers["Redirect"]
        fake.answers["Redirect"] = lambda _: None
        again = asyncio.create_task(site.pbx.switch(engaged, Mode.TAKEOVER))
        held = await fake.action("Redirect", 2)
        await asyncio.sleep(0.3)
        assert fake.count("Hangup") == 0  # caller and AI talk to each other
        redirect(held)
        await again
        assert (await fake.action("Hangup")).get("Channel") == call.channels.ai


async def test_the_check_does_not_hold_up_the_engagement(site: Site) -> None:
    site.fake.answers["Getvar"] = lambda _: None
    _, call = await site.call()
    async with asyncio.timeout(0.5):
        await site.pbx.engage(call, fresh(), Mode.TAKEOVER)


# ---- construction ----


def test_bad_settings_are_refused_with_their_field() -> None:
    with pytest.raises(BadValue, match="destination"):
        AsteriskPbx("main", AsteriskSettings("u", "s", destinations={"x": "no"}), "node")
    with pytest.raises(BadValue, match="instance"):
        AsteriskPbx("main", AsteriskSettings("u", "s"), "two words")


def test_the_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(AsteriskSettings("u", "hunter2"))


def test_nothing_is_possible_before_it_is_followed() -> None:
    pbx = AsteriskPbx("main", AsteriskSettings("u", "s"), "node")
    with pytest.raises(PbxUnavailable, match="not connected yet"):
        asyncio.run(pbx.snapshot())
