"""What people do with a call on a FreeSWITCH, through the whole service: everything is real but browser and voices."""

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from connector.domain.people import ActorRole
from tests.support.agent import Agent, Json
from tests.support.freeswitch import CONFIG, NEEDED, RULE, FsCall, FsLab, Instance, home
from tests.support.lab import expect
from tests.support.processes import kill
from tests.support.server import Server
from web.demo.ai_platform import Platform
from web.demo.sip import SipCall
from web.demo.tones import AGENT_HZ, AI_HZ, CALLER_HZ
from web.demo.voice import Recording

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

PBX = "branch"
WITHIN_S = 10.0
"""A bound for what comes when it comes; nothing waits that long unless something is wrong."""
PLACE_HZ = 1200
"""What the destination `support` sounds like."""
RECORDED = """
<context name="flow"><extension name="recorded"><condition field="destination_number" expression="^recorded$">
  <action application="set" data="takeover_recording=${sip_h_X-Flow-File}"/>
  <action application="execute_extension" data="register XML takeover"/>
</condition></extension></context>
"""


@dataclass
class Bot:
    """The AI's platform: what Takeover told it."""

    told: list[Mapping[str, Any]] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def hear(self, event: Mapping[str, Any]) -> None:
        self.told.append(event)
        task = asyncio.create_task(self._wake())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def of(self, call: str, kind: str) -> Mapping[str, Any]:
        """The first event of this type about this call."""
        async with asyncio.timeout(WITHIN_S), self.came:
            await self.came.wait_for(lambda: self._find(call, kind) is not None)
        found = self._find(call, kind)
        assert found is not None
        return found

    def _find(self, call: str, kind: str) -> Mapping[str, Any] | None:
        return next((one for one in self.told if one.get("type") == kind and one.get("call") == call), None)

    async def _wake(self) -> None:
        async with self.came:
            self.came.notify_all()


@dataclass
class Site:
    """A FreeSWITCH with callers and an AI, the service, the AI's platform, and who is on duty."""

    lab: FsLab
    server: Server
    bot: Bot

    @asynccontextmanager
    async def person(self, name: str, role: ActorRole = "agent") -> AsyncIterator[Agent]:
        async with Agent(self.server.url, await self.server.add_user(name, role=role), self.server.password) as agent:
            await agent.on_duty()
            yield agent

    async def shown(self, call: str) -> Json:
        """The call as the API shows it."""
        return (await self.server.get(f"calls/{call}")).expect(200)

    async def asked(self, call: str) -> Json:
        """The request for a human in this call, when it is there."""
        async with asyncio.timeout(WITHIN_S):
            while not (found := (await self.shown(call))["escalation"]):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return dict(found)


@pytest.fixture(scope="module")
def branch() -> Iterator[Instance]:
    """A FreeSWITCH whose dialplan can have a call recorded; skips where none is installed."""
    prefix = home()
    if prefix is None:
        pytest.skip(NEEDED)
    with Instance(prefix, replace(CONFIG, dialplan=CONFIG.dialplan + RECORDED)) as instance:
        yield instance


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(branch: Instance) -> AsyncIterator[Site]:
    pbx = {
        "kind": "freeswitch",
        "port": branch.ports.esl,
        "secret": branch.password,
        "ais": [{"name": RULE[0], "match": RULE[1]}],
        "destinations": {"support": "incoming,support"},
    }
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(FsLab(branch))
        server = await stack.enter_async_context(
            Server(pbx={PBX: pbx}, more={"escalation": {"caller_digit": "0"}, "ais": {RULE[0]: {"greets_again": True}}})
        )
        bot = Bot()
        token = await server.add_token("platform", role="ai", ai=RULE[0])
        platform = Platform(RULE[0], server.url, token, print, bot.hear, lambda: None)
        following = asyncio.create_task(platform.run())
        await platform.connected.wait()
        yield Site(lab, server, bot)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await lab.api("hupall")
        await lab.no_channels()


@asynccontextmanager
async def a_call(site: Site) -> AsyncIterator[tuple[FsCall, str]]:
    """A caller with the AI, and the call's id."""
    made = await site.lab.call()
    try:
        yield made, f"{PBX}~{made.uniqueid}"
    finally:
        await made.hangup()


async def taken(agent: Agent, call: FsCall, id_: str) -> str:
    """The engagement of an agent whom the caller hears."""
    await agent.seen(id_)
    engagement = str((await agent.engage(id_)).expect(201)["id"])
    await expect(call.caller.recording, {"agent"}, within=WITHIN_S)
    return engagement


async def until(met: Callable[[], bool]) -> None:
    """Returns when it is so; what the peers and the agent's events say is looked at, not waited for."""
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)


async def hears(call: FsCall, hertz: float, there: bool) -> None:
    """Returns when the caller hears this tone, or does not any more."""

    def share() -> float:
        now = time.monotonic()
        return call.caller.recording.trace(hertz, now - 0.3, now).share()

    await until(lambda: share() > 0.8 if there else share() < 0.2)


def dtmf(leg: object) -> str:
    assert isinstance(leg, SipCall)
    return leg.media.digits


async def test_a_caller_asks_by_a_digit_is_taken_over_and_given_back_with_a_note(site: Site) -> None:
    async with a_call(site) as (call, id_), site.person("anna") as anna:
        await anna.seen(id_)
        call.caller.media.send_dtmf("0")
        asked = await site.asked(id_)
        assert (asked["by"], asked["priority"]) == ("caller", "normal")
        engagement = await taken(anna, call, id_)
        await expect(call.ai.recording, {"caller", "agent"})
        started = await site.bot.of(id_, "takeover.started")
        assert (started["agent"], started["mode"]) == ("Anna", "takeover")
        (await anna.release(engagement, "The refund is approved.")).expect(204)
        ended = await site.bot.of(id_, "takeover.ended")
        assert (ended["note"], ended["greet"]) == ("The refund is approved.", True)
        await expect(call.caller.recording, {"ai"}, within=WITHIN_S)
        await expect(call.ai.recording, {"caller"})
        assert (await site.shown(id_))["escalation"] is None
        assert call.caller.reinvites == 0


async def test_the_dialplan_asks_for_a_human_with_reason_and_priority(site: Site) -> None:
    async with a_call(site) as (call, id_), site.person("anna") as anna:
        await anna.seen(id_)
        for name, value in {"reason": "wants to cancel, and is angry", "priority": "urgent"}.items():
            await site.lab.api(f"uuid_setvar {call.uniqueid} takeover_{name} {value}")
        await site.lab.api(f"uuid_broadcast {call.uniqueid} execute_extension::human\\sXML\\stakeover aleg")
        asked = await site.asked(id_)
        assert (asked["reason"], asked["priority"]) == ("wants to cancel, and is angry", "urgent")


async def test_digits_hold_and_the_end_of_the_call_from_the_panel(site: Site) -> None:
    async with a_call(site) as (call, id_), site.person("anna") as anna:
        engagement = await taken(anna, call, id_)
        (await anna.ask("POST", f"calls/{id_}/dtmf", digits="42#")).expect(204)
        await until(lambda: dtmf(call.ai) == "42#")
        (await anna.ask("PATCH", f"engagements/{engagement}", hold=True)).expect(200)
        await hears(call, AGENT_HZ, False)
        held = time.monotonic()
        await asyncio.sleep(0.5)
        music = [samples for at, samples in call.caller.recording.frames if at > held]
        assert np.abs(np.concatenate(music)).max() > 500
        (await anna.ask("PATCH", f"engagements/{engagement}", hold=False)).expect(200)
        await expect(call.caller.recording, {"agent"}, within=WITHIN_S)
        (await anna.ask("POST", f"calls/{id_}/hangup")).expect(204)
        await until(lambda: call.caller.ended.is_set() and call.ai.ended.is_set())
        await site.lab.no_channels()


async def test_a_transfer_leads_the_caller_to_a_destination_of_the_settings(site: Site) -> None:
    async with a_call(site) as (call, id_), site.person("anna") as anna:
        engagement = await taken(anna, call, id_)
        assert (await anna.ask("POST", f"calls/{id_}/transfer", to="elsewhere")).slug == "bad-request"
        (await anna.ask("POST", f"calls/{id_}/transfer", to="support")).expect(204)
        await until(lambda: engagement in anna.ended and id_ not in anna.calls and call.ai.ended.is_set())
        await hears(call, PLACE_HZ, True)
        assert not call.caller.ended.is_set()


async def test_a_supervisor_takes_over_from_a_colleague_with_a_reason(site: Site) -> None:
    async with (
        a_call(site) as (call, id_),
        site.person("anna") as anna,
        site.person("eva", "supervisor") as eva,
    ):
        engagement = await taken(anna, call, id_)
        refused = await eva.engage(id_)
        assert (refused.slug, refused.body["speaker"]) == ("already-taken", "Anna")
        (await eva.engage(id_, override={"reason": "I know this customer."})).expect(201)
        await until(lambda: engagement in anna.ended)
        assert anna.ended[engagement][1] == "taken-over-by-supervisor"
        await expect(call.caller.recording, {"agent"}, within=WITHIN_S)
        [left] = (await site.shown(id_))["engagements"]
        assert left["agent_name"] == "Eva"


@pytest.mark.parametrize("killed", [False, True], ids=["in order", "killed"])
async def test_a_service_that_restarts_finds_its_calls_again(site: Site, killed: bool) -> None:
    async with a_call(site) as (call, id_):
        async with site.person("anna") as anna:
            await taken(anna, call, id_)
            since = time.monotonic()
            if killed:
                kill(site.server.pid)
            await site.server.restart()
        await expect(call.caller.recording, {"ai"}, within=WITHIN_S)
        assert (await site.shown(id_))["engagements"] == []
        async with site.person("anna") as anna:
            await taken(anna, call, id_)
        report = call.caller.media.report(since, time.monotonic())
        assert (report.lost, report.ssrc_changes, call.caller.reinvites) == (0, 0, 0)


def played(path: Path) -> tuple[Recording, float]:
    """A file as if it had been heard from time 0 on, and its length in seconds."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    recording, frame = Recording(rate), rate // 50
    for start in range(0, len(samples) - frame + 1, frame):
        recording.add(start / rate, samples[start : start + frame])
    return recording, len(samples) / rate


async def test_the_recording_has_all_three_and_goes_on_when_the_ai_has_left(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, call_plainly = tmp_path / "call.wav", site.lab.phone.call

    async def recorded(uri: str, *, headers: Mapping[str, str], **more: Any) -> SipCall:
        more["headers"] = {**headers, "X-Lab-Hook": "recorded XML flow", "X-Flow-File": str(file)}
        return await call_plainly(uri, **more)

    monkeypatch.setattr(site.lab.phone, "call", recorded)
    async with a_call(site) as (call, id_), site.person("anna") as anna:
        await expect(call.caller.recording, {"ai"}, within=WITHIN_S)
        engagement = await taken(anna, call, id_)
        (await anna.release(engagement)).expect(204)
        await expect(call.caller.recording, {"ai"}, within=WITHIN_S)
        await taken(anna, call, id_)
        await call.ai.hangup()
        await asyncio.sleep(1)
        await expect(call.caller.recording, {"agent"}, within=WITHIN_S)
        shown = (await site.server.get(f"calls/{id_}/recording")).expect(200)
        (await anna.ask("POST", f"calls/{id_}/hangup")).expect(204)
        await site.lab.no_channels()
    assert shown["recording"] == str(file)
    modes = [(mark["event"], mark.get("mode"), mark["recording_s"]) for mark in shown["marks"]]
    (_, _, took), (_, _, left), (_, _, again) = (one for one in modes if one[0] in ("mode", "left"))
    recording, length = played(file)
    caller, agent, ai = (recording.trace(hz, 0, length) for hz in (CALLER_HZ, AGENT_HZ, AI_HZ))
    assert caller.hole_ms(caller.first(0) or 0, length - 0.5) < 500, "he is in it from the beginning to the end"
    began, over = agent.first(0), agent.last(length)
    assert began is not None
    assert over is not None
    assert abs(began - took) < 2
    assert over > length - 1
    assert (ai.first(0) or 0) < began
    assert agent.between(left + 1, again).share() < 0.9  # the AI spoke in between
    assert left < (ai.last(length) or 0) < again + 2
