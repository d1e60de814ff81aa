"""The adapter on a FreeSWITCH in memory: what it says to it, and what it does when that refuses or is not ready."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from connector.adapter import connected
from connector.domain.calls import Call, Channels, Mode
from connector.domain.errors import AlreadyTaken, BadValue, ChannelGone, PbxError, PbxUnavailable, VerbRefused
from connector.domain.events import AgentGone, AgentPresent, CallChanged, PbxDown, SnapshotTaken
from connector.freeswitch import wire
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from tests.contract.under_test import Follower, followed
from tests.support.adapter import Patch
from tests.support.esl_server import Session
from tests.support.fake_esl import FakeChannel, FakeFreeSwitch


@dataclass
class Site:
    fake: FakeFreeSwitch
    pbx: FreeSwitchPbx
    follower: Follower

    async def call(self, **variables: str) -> Call:
        caller = self.fake.call(**variables)
        event = await self.follower.event(CallChanged, lambda e: e.call.channels.caller_id == caller)
        return event.call

    def said(self, words: str) -> list[str]:
        return [command for command in self.fake.commands if words in command]


def settings(fake: FakeFreeSwitch, **other: object) -> FreeSwitchSettings:
    given: dict[str, object] = {"secret": "right", "port": fake.port, "ais": (("bot", "^sofia/internal/ai-"),)}
    return FreeSwitchSettings(**{**given, **other})  # type: ignore[arg-type]  # any of its fields


@asynccontextmanager
async def a_site(**other: object) -> AsyncIterator[Site]:
    async with FakeFreeSwitch() as fake:
        pbx = FreeSwitchPbx("main", settings(fake, **other), "node-1")
        async with followed(pbx) as follower:
            yield Site(fake, pbx, follower)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with a_site() as site:
        yield site


def patch() -> Patch:
    return Patch("127.0.0.1", 0, str(uuid.uuid4()), sip_port=5060)


async def test_nothing_is_muted_before_what_un_mutes_is_in_place(site: Site) -> None:
    call = await site.call()
    await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    steps = "hash insert", "&eavesdrop", "api_hangup_hook echo", "takeover_armed ", "&park", "mute 1"
    order = [site.fake.commands.index(site.said(words)[0]) for words in steps]
    assert order == sorted(order)


@pytest.mark.parametrize(
    "hostile",
    ["", "a b", "a}b", "a]b", "a,b", "a;b", "a'b", 'a"b', "a$b", "${system(x)}", "a\nb", "a\r\nb", "a/b", "a|b", "ä"],
)
async def test_no_field_breaks_out_of_its_place(site: Site, hostile: str) -> None:
    call = await site.call()
    good = patch()
    count = len(site.fake.commands)
    for bad in (replace(good, uuid=hostile), replace(good, host=hostile)):
        with pytest.raises(BadValue):
            await site.pbx.engage(call, bad, Mode.MONITOR)
    caller = replace(call, channels=Channels("x", hostile, "y", call.channels.ai_id))
    ai = replace(call, channels=Channels("x", call.channels.caller_id, "y", hostile))
    with pytest.raises(BadValue):
        await site.pbx.engage(caller, good, Mode.MONITOR)
    with pytest.raises(ChannelGone if not hostile else BadValue):
        await site.pbx.engage(ai, good, Mode.MONITOR)
    for verb in (site.pbx.hangup(caller), site.pbx.send_dtmf(call, hostile), site.pbx.transfer(call, hostile)):
        with pytest.raises(BadValue):
            await verb
    assert not any("originate" in command for command in site.fake.commands[count:])


async def test_a_name_reaches_the_pbx_as_letters_and_percent_signs(site: Site) -> None:
    call = await site.call()
    endpoint = patch()
    await site.pbx.engage(call, endpoint, Mode.MONITOR, "O'Neil} ${x},\n")
    originate, _ = site.said("originate")
    assert "takeover_name=O%27Neil%7D%20%24%7Bx%7D%2C%0A}sofia/" in originate


async def test_hostile_settings_are_refused_at_once() -> None:
    async with FakeFreeSwitch() as fake:
        for wrong in ({"sip_profile": "a b"}, {"destinations": {"x": "a b,c"}}):
            with pytest.raises(BadValue):
                FreeSwitchPbx("main", settings(fake, **wrong), "node-1")


async def test_a_worker_that_does_not_answer_is_a_refusal(site: Site) -> None:
    call = await site.call()
    site.fake.refuses = True
    with pytest.raises(VerbRefused, match="could not be connected"):
        await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    with pytest.raises(VerbRefused, match="no SIP port"):
        await site.pbx.engage(call, replace(patch(), sip_port=0), Mode.TAKEOVER)
    assert site.fake.ai_audible(call.channels.caller_id)


async def test_an_ai_that_dies_on_the_way_leaves_no_agent_behind(site: Site) -> None:
    call = await site.call()
    original = site.fake.api

    def dying(line: str) -> str:
        if line.startswith("uuid_audio"):
            return "-ERR No such channel!\n"
        return original(line)

    site.fake.api = dying  # type: ignore[method-assign]
    with pytest.raises(ChannelGone):
        await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    async with asyncio.timeout(5):
        while site.fake.hash or len(site.fake.channels) > 2:  # noqa: ASYNC110 - the end of a leg nobody knows of
            await asyncio.sleep(0.01)
    assert site.fake.hash == {}


async def test_a_leg_that_never_answers_silences_nobody(site: Site) -> None:
    """Its worker may stand still: the caller would have neither voice."""
    call = await site.call()
    endpoint = patch()
    original, tell = site.fake.api, site.fake.tell

    def silent(what: str, *about: object, **headers: str) -> None:
        if what != "CHANNEL_ANSWER":
            tell(what, *about, **headers)  # type: ignore[arg-type]

    def api(line: str) -> str:
        said = original(line)
        if "&eavesdrop" in line and not line.startswith("expand"):
            asyncio.get_running_loop().call_later(0.01, site.fake.hangup, endpoint.uuid, "NO_ANSWER")
        return said

    site.fake.tell = silent  # type: ignore[method-assign,assignment]
    site.fake.api = api  # type: ignore[method-assign]
    with pytest.raises(VerbRefused, match="could not be connected"):
        await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    assert not site.said("mute 1")
    async with asyncio.timeout(5):
        while site.fake.hash:  # noqa: ASYNC110 - a cure in the background
            await asyncio.sleep(0.01)
    assert site.fake.ai_audible(call.channels.caller_id)
    assert "transfer_after_bridge" not in site.fake.channels[call.channels.caller_id].variables


@pytest.mark.parametrize("at", ["hash insert", "uuid_getvar", "uuid_setvar", "expand uuid_audio", "echo"])
@pytest.mark.parametrize("before", [None, Mode.MONITOR, Mode.BARGE])
async def test_a_leg_that_dies_at_any_moment_leaves_the_ai_audible(site: Site, at: str, before: Mode | None) -> None:
    """Or another service hangs it up, or its worker dies: a mute must never be left without what un-mutes."""
    call = await site.call()
    caller = call.channels.caller_id
    endpoint = patch()
    engaged = await site.pbx.engage(call, endpoint, before) if before is not None else None
    original, dead = site.fake.api, False

    def api(line: str) -> str:
        nonlocal dead
        if line.startswith(at) and endpoint.uuid in site.fake.channels and not dead:
            dead = True
            site.fake.hangup(endpoint.uuid)
        return original(line)

    site.fake.api = api  # type: ignore[method-assign]
    verb = site.pbx.switch(engaged, Mode.TAKEOVER) if engaged else site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    await asyncio.gather(verb, return_exceptions=True)
    site.fake.hangup(endpoint.uuid)
    lent = site.fake.channels[caller].variables
    async with asyncio.timeout(5):
        while site.fake.hash or not site.fake.ai_audible(caller) or "transfer_after_bridge" in lent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a cure in the background


async def test_a_leg_lives_no_longer_than_its_pulse_and_the_pulse_no_longer_than_the_leg(site: Site) -> None:
    call = await site.call()
    caller = call.channels.caller_id
    for first in (wire.pulse_of, str):
        endpoint = patch()
        await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
        assert {endpoint.uuid, wire.pulse_of(endpoint.uuid)} <= set(site.fake.channels)
        assert not site.fake.ai_audible(caller)
        site.fake.hangup(first(endpoint.uuid), "MEDIA_TIMEOUT")
        assert len(site.fake.channels) == 2
        assert (site.fake.ai_audible(caller), site.fake.hash) == (True, {})
        await site.follower.event(AgentGone, lambda e, p=endpoint.uuid: e.patch == p)  # type: ignore[misc]


async def test_without_a_pulse_nobody_speaks(site: Site) -> None:
    call = await site.call()
    original = site.fake.api
    site.fake.api = lambda line: "-ERR NO_ANSWER\n" if "&park" in line else original(line)  # type: ignore[method-assign]
    for mode in (Mode.TAKEOVER, Mode.MONITOR):
        with pytest.raises(VerbRefused, match="NO_ANSWER"):
            await site.pbx.engage(call, patch(), mode)
        async with asyncio.timeout(5):
            while site.fake.hash or len(site.fake.channels) > 2:  # noqa: ASYNC110 - a cure in the background
                await asyncio.sleep(0.01)
        assert site.fake.ai_audible(call.channels.caller_id)


async def test_nobody_is_silenced_before_his_pulse_answers_however_late_that_is(site: Site) -> None:
    """Until then FreeSWITCH would not miss a worker that stands still; and one that is late loses no takeover."""
    call = await site.call()
    caller, endpoint = call.channels.caller_id, patch()
    site.fake.pulse_s = 0.2
    tell, heard = site.fake.tell, list[bool]()

    def telling(what: str, channel: FakeChannel | str = "", body: str = "", **headers: str) -> None:
        tell(what, channel, body, **headers)
        if what == "CHANNEL_ANSWER" and isinstance(channel, FakeChannel) and channel.uuid != endpoint.uuid:
            heard.append(site.fake.ai_audible(caller))

    site.fake.tell = telling  # type: ignore[method-assign]
    await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    assert heard == [True]
    assert not site.fake.ai_audible(caller)


async def test_a_leg_that_hangs_up_as_it_silences_is_no_call_that_has_ended(site: Site) -> None:
    """Until its hook has run it has the floor, and no variables any more."""
    call = await site.call()
    endpoint = patch()
    original = site.fake.api

    def dying(line: str) -> str:
        if line.startswith("expand uuid_audio") and (leg := site.fake.channels.pop(endpoint.uuid, None)) is not None:
            said = original(line)
            asyncio.get_running_loop().call_later(0.05, site.fake.api, f"expand {leg.variables['api_hangup_hook']}")
            return said
        return original(line)

    site.fake.api = dying  # type: ignore[method-assign]
    with pytest.raises(VerbRefused, match="the agent leg has ended"):
        await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    assert site.fake.ai_audible(call.channels.caller_id)


async def test_a_pulse_is_no_call_and_no_agent_whatever_the_rules_say() -> None:
    async with a_site(ais=(("bot", "^sofia/internal/ai-"), ("any", "pulse"))) as site:
        await site.pbx.engage(await site.call(), patch(), Mode.TAKEOVER)
        told = (await site.pbx.snapshot()).events
        assert [type(event) for event in told] == [CallChanged, AgentPresent]
        assert len(site.follower.live()) == 1


async def test_the_floor_of_a_leg_that_is_gone_is_free(site: Site) -> None:
    call = await site.call()
    site.fake.hash[f"takeover_{call.channels.caller_id}"] = "a-leg-whose-hook-never-ran"
    endpoint = patch()
    await site.pbx.engage(call, endpoint, Mode.TAKEOVER)
    assert not site.fake.ai_audible(call.channels.caller_id)
    assert len(site.said("eavesdrop-command: 3")) == 1  # the leg was dialled before it had the floor
    await site.pbx.engage(await site.call(), patch(), Mode.TAKEOVER)
    assert len(site.said("eavesdrop-command: 3")) == 1


async def test_of_a_leg_that_is_refused_nothing_stays(site: Site) -> None:
    call = await site.call()
    first = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    second = patch()
    with pytest.raises(AlreadyTaken):
        await site.pbx.engage(call, second, Mode.TAKEOVER)
    async with asyncio.timeout(5):
        while not site.said(f"uuid_kill {second.uuid}"):  # noqa: ASYNC110 - a cure in the background
            await asyncio.sleep(0.01)
        while second.uuid in site.fake.channels:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert list(site.fake.hash.values()) == [first.patch]
    assert not site.fake.ai_audible(call.channels.caller_id)


async def test_an_administrators_own_way_after_the_bridge_comes_back(site: Site) -> None:
    call = await site.call(transfer_after_bridge="survey:XML:default")
    variables = site.fake.channels[call.channels.caller_id].variables
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    assert variables["transfer_after_bridge"] == "takeover_pair:XML:takeover"
    engaged = await site.pbx.switch(engaged, Mode.MONITOR)
    assert variables["transfer_after_bridge"] == "survey:XML:default"
    await site.pbx.switch(engaged, Mode.BARGE)
    await site.pbx.release(engaged)
    assert variables["transfer_after_bridge"] == "survey:XML:default"


async def test_what_a_speaker_who_is_just_going_set_is_not_put_back(site: Site) -> None:
    call = await site.call(transfer_after_bridge="takeover_pair:XML:takeover")
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    await site.pbx.release(engaged)
    assert "transfer_after_bridge" not in site.fake.channels[call.channels.caller_id].variables


async def test_deaf_and_hung_up_ais_are_so_in_a_takeover() -> None:
    async with a_site(deaf=frozenset({"bot"})) as site:
        call = await site.call()
        await site.pbx.engage(call, patch(), Mode.BARGE)
        assert site.said("write mute") == []
        await site.pbx.engage(await site.call(), patch(), Mode.TAKEOVER)
        assert len(site.said("start write mute 1")) == 1
    async with a_site(hung_up=frozenset({"bot"})) as site:
        call = await site.call()
        engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
        assert call.channels.ai_id not in site.fake.channels
        assert site.fake.channels[call.channels.caller_id].place == "takeover_pair"
        await site.pbx.release(engaged)
        assert site.fake.channels[call.channels.caller_id].place == "takeover_fallback"


async def test_digits_go_to_the_ai(site: Site) -> None:
    call = await site.call()
    await site.pbx.send_dtmf(call, "12#")
    assert site.fake.channels[call.channels.ai_id].variables["digits"] == "12#@120"


async def test_who_is_led_away_takes_no_agent_along_and_nothing_that_would_bring_him_back(site: Site) -> None:
    call = await site.call(transfer_after_bridge="survey:XML:default")
    caller = site.fake.channels[call.channels.caller_id]
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    person = site.fake._create("sofia/internal/person@127.0.0.1", {})
    site.fake.bridge(caller.uuid, person.uuid)
    await site.follower.event(AgentGone, lambda e: e.patch == engaged.patch)
    assert caller.variables["transfer_after_bridge"] == "survey:XML:default"
    assert (caller.place, site.fake.hash) == ("", {})


async def test_who_is_led_to_a_queue_goes_his_own_way_when_the_agent_leaves_before_anyone_answers(site: Site) -> None:
    call = await site.call(transfer_after_bridge="survey:XML:default")
    caller = site.fake.channels[call.channels.caller_id]
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    site.fake.api(f"uuid_transfer {caller.uuid} queue XML default")
    assert caller.variables["transfer_after_bridge"] == "takeover_pair:XML:takeover"
    await site.pbx.release(engaged)
    assert caller.variables["transfer_after_bridge"] == "survey:XML:default"
    assert (caller.place, site.fake.hash) == ("queue", {})


async def test_a_caller_whose_ai_is_led_away_waits_for_nobody(site: Site) -> None:
    """He may wait with the agent in our dialplan by then, and would hear nothing there when that one is gone."""
    call = await site.call()
    caller = site.fake.channels[call.channels.caller_id]
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    caller.place, caller.variables["takeover_paired_uuid"] = "takeover_hold", caller.uuid
    person = site.fake._create("sofia/internal/person@127.0.0.1", {})
    site.fake.bridge(call.channels.ai_id, person.uuid)
    await site.follower.event(AgentGone, lambda e: e.patch == engaged.patch)
    assert caller.place == "takeover_fallback"


async def test_a_pbx_without_our_dialplan_says_so_until_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "RECHECK_S", (0.01, 0.05))
    async with FakeFreeSwitch() as fake:
        original, bare = fake.api, True
        fake.api = lambda line: "-ERR" if bare and line.startswith("xml_locate") else original(line)  # type: ignore[method-assign]
        pbx = FreeSwitchPbx("main", settings(fake), "node-1")
        caller = fake.call()
        async with followed(pbx) as follower:
            snapshot = await follower.event(SnapshotTaken)
            [changed] = snapshot.events
            assert isinstance(changed, CallChanged)
            assert "lacks takeover_pair" in changed.call.choice(Mode.TAKEOVER).why
            bare = False
            better = await follower.event(CallChanged, lambda e: e.call.choice(Mode.TAKEOVER).possible)
            assert better.call.channels.caller_id == caller


async def test_a_wrong_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "REFUSED_BACKOFF_S", (0.05, 0.05))
    async with FakeFreeSwitch() as fake:
        follower = Follower(FreeSwitchPbx("main", settings(fake, secret="wrong"), "node-1"))
        task = asyncio.create_task(follower.follow())
        down = await follower.event(PbxDown)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert "check pbx.main.secret" in down.why


async def test_without_a_connection_every_verb_says_so() -> None:
    async with FakeFreeSwitch() as fake:
        pbx = FreeSwitchPbx("main", settings(fake), "node-1")
        with pytest.raises(PbxError):
            await pbx.snapshot()


@pytest.mark.parametrize("verb", ["renew", "switch"])
async def test_a_leg_is_not_gone_before_a_new_connection_knows_its_legs(
    site: Site, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that his leg is gone leaves the call: so ended a takeover whose dead-man was fed at that moment."""
    call = await site.call()
    engaged = await site.pbx.engage(call, patch(), Mode.TAKEOVER)
    asked = asyncio.Event()

    def ask() -> Awaitable[object]:
        return site.pbx.renew(engaged) if verb == "renew" else site.pbx.switch(engaged, Mode.WHISPER)

    original, held = site.fake._take, list[tuple[Session, str]]()

    def hold(session: Session, command: str) -> None:
        if command.startswith("api show") or held:
            held.append((session, command))
            asked.set()
        else:
            original(session, command)

    monkeypatch.setattr(site.fake, "_take", hold)
    since = len(site.follower.events)
    await site.fake.vanish()
    await site.fake.listen()
    await asyncio.wait_for(asked.wait(), 10)
    with pytest.raises(PbxUnavailable):
        await ask()
    monkeypatch.setattr(site.fake, "_take", original)
    for session, command in held:
        original(session, command)
    await site.follower.event(SnapshotTaken, since=since)
    await ask()


async def test_a_release_overtakes_an_engage(site: Site) -> None:
    call = await site.call()
    endpoint = patch()
    engaging = asyncio.create_task(site.pbx.engage(call, endpoint, Mode.TAKEOVER))
    await asyncio.sleep(0)
    from connector.domain.calls import PatchId
    from connector.ports import Engaged

    await site.pbx.release(Engaged(call.id, PatchId(endpoint.uuid), "", Mode.TAKEOVER))
    await asyncio.gather(engaging, return_exceptions=True)
    await site.pbx.release(Engaged(call.id, PatchId(endpoint.uuid), "", Mode.TAKEOVER))
    assert site.fake.agents(call.channels.caller_id) == []
    assert site.fake.ai_audible(call.channels.caller_id)
