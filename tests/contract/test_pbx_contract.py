"""What every adapter promises, on every PBX that can be had: in memory, on recorded messages, and on the real thing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from connector.domain.calls import Call, Mode, PatchId
from connector.domain.errors import (
    AlreadyTaken,
    BadValue,
    ChannelGone,
    PbxError,
    PbxTimeout,
    PbxUnavailable,
    VerbRefused,
)
from connector.domain.events import (
    AgentGone,
    AgentPresent,
    AgentRefused,
    AiGone,
    CallChanged,
    CallGone,
    FellBack,
    PbxDown,
    PbxUp,
    SnapshotTaken,
)
from connector.ports import Endpoint, Engaged, Pbx
from tests.support.freeswitch import Topology

from .under_test import (
    Follower,
    PbxUnderTest,
    followed,
    freeswitch_in_memory,
    in_memory,
    real_asterisk,
    real_freeswitch,
    recorded,
)

Open = Callable[[], AbstractAsyncContextManager[PbxUnderTest]]
HEARTBEAT_S = 0.5


def _real(request: pytest.FixtureRequest) -> Open:
    installation = request.getfixturevalue("installation")
    return lambda: real_asterisk(installation)


def _freeswitch(request: pytest.FixtureRequest, topology: Topology = "T1") -> Open:
    instance = request.getfixturevalue("freeswitch")
    return lambda: real_freeswitch(instance, topology)


ADAPTERS: dict[str, Callable[[pytest.FixtureRequest], Open]] = {
    "memory": lambda _: in_memory,
    "recorded": lambda _: recorded,
    "asterisk": _real,
    "esl": lambda _: freeswitch_in_memory,
    "esl-bug": lambda _: partial(freeswitch_in_memory, bug=True),
    "freeswitch": _freeswitch,
    "freeswitch-bug": partial(_freeswitch, topology="T2"),
    "freeswitch-conference": partial(_freeswitch, topology="T3"),
    "freeswitch-application": partial(_freeswitch, topology="T4"),
}


@dataclass
class Site:
    """A PBX, the events of one service's adapter, and shorthands."""

    world: PbxUnderTest
    follower: Follower
    fed: list[tuple[Pbx, Engaged]] = field(default_factory=list)
    """Who is renewed, as the service does: else a busy machine's dead-man strikes in the middle of a test."""

    @property
    def pbx(self) -> Pbx:
        return self.world.pbx

    async def call(self) -> Call:
        channel = await self.world.dial()
        event = await self.follower.event(CallChanged, lambda e: e.call.channels.caller_id == channel)
        return self.follower.live().get(event.call.id, event.call)

    async def engage(self, call: Call, mode: Mode, pbx: Pbx | None = None) -> tuple[Engaged, Endpoint]:
        endpoint = self.world.endpoint()
        engaged = await (pbx or self.pbx).engage(call, endpoint, mode)
        self.fed.append((pbx or self.pbx, engaged))
        return engaged, endpoint

    async def starve(self, engaged: Engaged) -> None:
        """Returns when the dead-man of an agent whom nobody renews has struck."""
        self.fed = [(pbx, one) for pbx, one in self.fed if one.patch != engaged.patch]
        await self.world.starve(engaged)

    async def feed(self) -> None:
        """Renews, until cancelled."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            for pbx, engaged in list(self.fed):
                try:
                    await pbx.renew(engaged)
                except (PbxUnavailable, PbxTimeout):  # the connection may come back
                    continue
                except PbxError:  # the agent is out
                    self.fed = [one for one in self.fed if one[1] != engaged]

    async def gone(self, engaged: Engaged) -> AgentGone:
        return await self.follower.event(AgentGone, lambda e: e.patch == engaged.patch)

    async def count(self, call: Call, agents: int) -> None:
        """Returns when the PBX has so many agents' legs; bounded."""
        async with asyncio.timeout(5):
            while await self.world.agents(call) != agents:  # noqa: ASYNC110 - a leg's end is told before it is over
                await asyncio.sleep(0.02)


@pytest.fixture(params=ADAPTERS)
def opened(request: pytest.FixtureRequest) -> Open:
    return ADAPTERS[request.param](request)


@pytest.fixture
async def site(opened: Open) -> AsyncIterator[Site]:
    async with opened() as world, followed(world.pbx) as follower:
        made = Site(world, follower)
        feeding = asyncio.create_task(made.feed())
        try:
            yield made
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


async def test_it_comes_up_with_a_snapshot(site: Site) -> None:
    assert isinstance(site.follower.events[0], PbxUp)
    assert isinstance(site.follower.events[1], SnapshotTaken)


async def test_a_call_appears_with_what_is_possible_and_disappears(site: Site) -> None:
    call = await site.call()
    assert call.id == f"{site.pbx.name}~{call.channels.caller_id}"
    assert all(call.choice(mode).possible for mode in Mode)
    assert await site.world.ai_audible(call)
    await site.world.caller_hangs_up(call)
    gone = await site.follower.event(CallGone, lambda e: e.call == call.id)
    assert gone.why == "hangup"


@pytest.mark.parametrize("mode", Mode)
async def test_engage_and_release(site: Site, mode: Mode) -> None:
    call = await site.call()
    engaged, endpoint = await site.engage(call, mode)
    assert (engaged.call, engaged.patch, engaged.mode) == (call.id, endpoint.uuid, mode)
    present = await site.follower.event(AgentPresent, lambda e: e.patch == engaged.patch)
    assert (present.call, present.mode, present.instance) == (call.id, mode, "node-1")
    assert await site.world.agents(call) == 1
    assert await site.world.ai_audible(call) is (mode is not Mode.TAKEOVER)
    await site.pbx.release(engaged)
    await site.gone(engaged)
    await site.count(call, 0)
    assert await site.world.ai_audible(call)


async def test_release_is_idempotent_and_knows_a_patch_by_its_id_alone(site: Site) -> None:
    call = await site.call()
    engaged, _ = await site.engage(call, Mode.TAKEOVER)
    await site.pbx.release(replace(engaged, channel=""))
    assert await site.world.ai_audible(call)
    await site.pbx.release(engaged)
    await site.pbx.release(replace(engaged, channel="", patch=PatchId("0" * 8 + engaged.patch[8:])))


async def test_the_mode_changes_live(site: Site) -> None:
    call = await site.call()
    engaged, _ = await site.engage(call, Mode.MONITOR)
    for mode in (Mode.TAKEOVER, Mode.BARGE, Mode.TAKEOVER, Mode.WHISPER, Mode.BARGE, Mode.MONITOR):
        engaged = await site.pbx.switch(engaged, mode)
        await site.pbx.renew(engaged)
        assert engaged.mode is mode
        await site.follower.event(AgentPresent, lambda e, mode=mode: e.mode is mode)  # type: ignore[misc]
        assert await site.world.ai_audible(call) is (mode is not Mode.TAKEOVER)
    assert await site.world.agents(call) == 1


async def test_the_snapshot_tells_who_is_in_which_call(site: Site) -> None:
    call = await site.call()
    engaged, _ = await site.engage(call, Mode.TAKEOVER)
    snapshot = await site.pbx.snapshot()
    calls = [fact.call.id for fact in snapshot.events if isinstance(fact, CallChanged)]
    agents = [fact for fact in snapshot.events if isinstance(fact, AgentPresent)]
    assert calls == [call.id]
    assert [(a.call, a.patch, a.instance, a.mode) for a in agents] == [
        (call.id, engaged.patch, "node-1", Mode.TAKEOVER)
    ]


async def test_a_second_speaker_is_refused_by_the_pbx_itself(site: Site) -> None:
    call = await site.call()
    first, _ = await site.engage(call, Mode.TAKEOVER)
    async with site.world.another_service() as other:
        for mode in (Mode.BARGE, Mode.TAKEOVER):
            with pytest.raises(AlreadyTaken):
                await site.engage(call, mode, other)
        listening, _ = await site.engage(call, Mode.MONITOR, other)
        with pytest.raises(AlreadyTaken):
            await other.switch(listening, Mode.TAKEOVER)
        refused = await site.follower.event(AgentRefused, lambda e: e.patch == listening.patch)
        assert (refused.why, refused.was) == ("busy", Mode.MONITOR)
        assert await site.world.agents(call) == 2
        assert not await site.world.ai_audible(call)
        await site.pbx.release(first)
        await other.switch(listening, Mode.TAKEOVER)
        assert not await site.world.ai_audible(call)
        await other.release(listening)
    assert await site.world.ai_audible(call)


async def test_a_closed_patch_gives_the_call_back(site: Site) -> None:
    call = await site.call()
    engaged, endpoint = await site.engage(call, Mode.TAKEOVER)
    await site.world.close(endpoint)
    await site.gone(engaged)
    assert await site.world.ai_audible(call)
    with pytest.raises(ChannelGone):
        await site.pbx.renew(engaged)
    with pytest.raises(ChannelGone):
        await site.pbx.switch(engaged, Mode.BARGE)


async def test_the_dead_man_strikes_who_is_not_renewed(site: Site) -> None:
    call = await site.call()
    engaged, _ = await site.engage(call, Mode.TAKEOVER)
    await site.pbx.renew(engaged)
    await site.starve(engaged)
    assert (await site.gone(engaged)).why == "deadman"
    assert await site.world.ai_audible(call)


async def test_the_callers_end_ends_everything(site: Site) -> None:
    call = await site.call()
    await site.engage(call, Mode.TAKEOVER)
    await site.engage(call, Mode.MONITOR)
    await site.world.caller_hangs_up(call)
    await site.follower.event(CallGone, lambda e: e.call == call.id)
    await site.count(call, 0)


async def test_the_ais_end_pairs_caller_and_agent_until_the_agent_leaves(site: Site) -> None:
    call = await site.call()
    engaged, _ = await site.engage(call, Mode.TAKEOVER)
    await site.world.ai_hangs_up(call)
    gone = await site.follower.event(AiGone, lambda e: e.call == call.id)
    assert gone.paired
    with pytest.raises(VerbRefused):
        await site.pbx.switch(engaged, Mode.BARGE)
    assert await site.world.agents(call) == 1
    await site.pbx.release(engaged)
    await site.follower.event(FellBack, lambda e: e.call == call.id)


async def test_hangup_ends_the_call_and_is_idempotent(site: Site) -> None:
    call = await site.call()
    await site.pbx.hangup(call)
    await site.follower.event(CallGone, lambda e: e.call == call.id)
    await site.pbx.hangup(call)


async def test_a_transfer_goes_to_a_configured_destination_only(site: Site) -> None:
    call = await site.call()
    await site.engage(call, Mode.TAKEOVER)
    for hostile in ("+4990012345", "", "support\r\nAction: Originate"):
        with pytest.raises(BadValue):
            await site.pbx.transfer(call, hostile)
    await site.pbx.transfer(call, "support")
    gone = await site.follower.event(CallGone, lambda e: e.call == call.id)
    assert gone.why == "transferred"
    await site.count(call, 0)


async def test_to_engage_in_a_call_that_is_gone_is_refused(site: Site) -> None:
    call = await site.call()
    await site.world.caller_hangs_up(call)
    await site.follower.event(CallGone, lambda e: e.call == call.id)
    with pytest.raises(PbxError):
        await site.engage(call, Mode.TAKEOVER)
    await site.count(call, 0)


async def test_a_lost_connection_ends_no_takeover_and_the_snapshot_tells_the_truth(site: Site) -> None:
    call = await site.call()
    engaged, _ = await site.engage(call, Mode.TAKEOVER)
    await site.world.cut()
    await site.follower.event(PbxDown)
    with pytest.raises(PbxUnavailable):
        await site.pbx.renew(engaged)
    assert await site.world.agents(call) == 1
    mark = len(site.follower.events)
    await site.world.mend()
    snapshot = await site.follower.event(SnapshotTaken, since=mark)
    patches = [fact.patch for fact in snapshot.events if isinstance(fact, AgentPresent)]
    assert patches == [engaged.patch]
    await site.pbx.renew(engaged)
    await site.pbx.release(engaged)
    await site.count(call, 0)


async def test_many_agents_race_for_one_call_and_one_wins(site: Site) -> None:
    call = await site.call()
    async with site.world.another_service() as other:
        answers = await asyncio.gather(
            *(site.engage(call, Mode.TAKEOVER, pbx) for pbx in (site.pbx, other, site.pbx, other)),
            return_exceptions=True,
        )
        won = [answer for answer in answers if not isinstance(answer, BaseException)]
        lost = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(won) == 1
        assert all(isinstance(answer, AlreadyTaken) for answer in lost)
        await site.count(call, 1)
        assert not await site.world.ai_audible(call)
