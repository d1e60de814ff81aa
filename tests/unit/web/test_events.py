"""The events socket: what is told to whom, and that nobody waits for a client that does not read."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from connector.domain.calls import Ai, CallId, Engagement, EngagementId, Mode, Phase
from connector.domain.events import CallChanged, HumanAsked, PbxDown, Talking
from connector.domain.people import Actor
from connector.domain.transcript import Turn
from connector.services.notices import Notices
from tests.unit.web.house import House, make_call, until, until_closed
from web import hub as hub_module
from web import missed as missed_module
from web import socket as events
from web.outbox import Outbox

Json = dict[str, Any]
AT = "2026-01-02T03:04:05.000Z"


async def frame(socket: aiohttp.ClientWebSocketResponse) -> Json:
    """The next frame."""
    async with asyncio.timeout(5):
        message = await socket.receive()
    assert message.type is aiohttp.WSMsgType.TEXT, message
    found: Json = json.loads(message.data)
    return found


async def change(socket: aiohttp.ClientWebSocketResponse, wanted: Callable[[Json], bool]) -> Json:
    """The next change of a delta that is wanted."""
    while True:
        for one in (await frame(socket)).get("changes", ()):
            if wanted(one):
                found: Json = one
                return found


def kind(name: str) -> Callable[[Json], bool]:
    return lambda one: one["kind"] == name


async def test_hello_is_answered_by_a_snapshot_of_what_one_may_see(house: House) -> None:
    house.call("1", queue="sales")
    mine = house.call("2", queue="support")
    anna = await house.person("anna", queues=("support",))
    snapshot = await frame(await anna.events())
    assert snapshot["type"] == "snapshot"
    assert snapshot["rev"] == house.registry.rev
    assert [call["id"] for call in snapshot["calls"]] == [mine]
    assert (snapshot["me"]["name"], snapshot["me"]["role"]) == ("Anna", "agent")
    assert snapshot["pbxs"] == [{"name": "lab", "up": True, "why": "", "version": "22.0.0"}]


async def test_a_call_reads_as_in_the_contract(house: House) -> None:
    house.call("1")
    anna = await house.person("anna")
    call = (await frame(await anna.events()))["calls"][0]
    assert call == {
        "id": "lab~1700000000.1",
        "pbx": "lab",
        "tenant": "default",
        "queue": "sales",
        "caller": {"number": "+491701234567", "name": "Erika"},
        "ai": {"name": "acme", "ref": ""},
        "started_at": AT,
        "answered_at": None,
        "topology": "dialled",
        "modes": [
            {"mode": mode, "possible": True, "how": "live", "why": ""}
            for mode in ("monitor", "whisper", "barge", "takeover")
        ],
        "engagements": [],
        "escalation": None,
        "recording": "",
        "notes": [],
        "talking": {"caller": False, "ai": False, "agent": False},
    }


async def test_calls_come_talk_and_go(house: House) -> None:
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    call = house.call("1")
    assert (await change(socket, kind("call")))["call"]["id"] == call
    house.registry.apply(Talking(call, "caller", on=True))
    assert await change(socket, kind("talking")) == {"kind": "talking", "call": call, "role": "caller", "on": True}
    house.registry.apply(PbxDown("lab", "gone"))
    assert (await change(socket, kind("pbx")))["pbx"] == {
        "name": "lab",
        "up": False,
        "why": "gone",
        "version": "22.0.0",
    }
    house.hang_up(call)
    assert await change(socket, kind("call-gone")) == {"kind": "call-gone", "id": call, "why": "hangup"}


async def test_a_call_that_leaves_ones_queue_is_gone(house: House) -> None:
    anna = await house.person("anna", queues=("sales",))
    call = house.call("1", queue="sales")
    socket = await anna.events()
    await frame(socket)
    house.registry.apply(CallChanged(make_call("1", queue="support")))
    assert await change(socket, kind("call-gone")) == {"kind": "call-gone", "id": call, "why": "not-yours"}
    house.registry.apply(Talking(call, "caller", on=True))
    house.registry.apply(CallChanged(make_call("2", queue="sales")))
    assert (await frame(socket))["changes"][0]["kind"] == "call"  # and not the talking of a call that is not hers


async def test_an_engagement_is_told_from_beginning_to_end(house: House) -> None:
    anna, ben = await house.person("anna"), await house.person("ben")
    call, leg = house.call("1"), await anna.leg()
    socket = await ben.events()
    await frame(socket)
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    active = await change(socket, lambda one: one["kind"] == "engagement" and one["engagement"]["phase"] == "active")
    assert active["engagement"] | {"since": AT} == {
        "id": made.body["id"],
        "call": call,
        "agent": made.body["agent"],
        "agent_name": "Anna",
        "mode": "takeover",
        "phase": "active",
        "since": AT,
        "leg": leg,
        "hold": False,
        "ended": None,
    }
    await anna.ask("POST", f"engagements/{made.body['id']}/release", {"note": "she agreed"})
    ended = await change(socket, lambda one: one["kind"] == "engagement" and one["engagement"]["ended"] is not None)
    assert (ended["engagement"]["ended"], ended["engagement"]["phase"]) == ("released", "ended")


async def test_the_own_end_is_told_even_after_the_call_is_gone(house: House) -> None:
    anna = await house.person("anna")
    call, leg = house.call("1"), await anna.leg()
    await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    socket = await anna.events(leg)
    await frame(socket)
    house.hang_up(call)
    ended = await change(socket, lambda one: one["kind"] == "engagement" and one["engagement"]["ended"] is not None)
    assert ended["engagement"]["ended"] == "caller-hangup"


async def test_an_end_in_the_same_moment_as_the_calls_is_told_too(house: House) -> None:
    anna = await house.person("anna")
    call, leg = house.call("1"), await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    socket = await anna.events(leg)
    await frame(socket)
    house.registry.disengaged(made.body["id"], "caller-hangup")  # both within one tick of the hub
    house.hang_up(call)
    ended = await change(socket, lambda one: one["kind"] == "engagement" and one["engagement"]["ended"] is not None)
    assert ended["engagement"]["ended"] == "caller-hangup"


async def test_turns_are_told_as_they_change(house: House) -> None:
    anna = await house.person("anna")
    ai = await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    socket = await anna.events()
    await frame(socket)
    turn = {"turn": "t1", "speaker": "caller", "text": "Hal", "at": AT, "final": False}
    assert (await ai.ask("POST", f"calls/{call}/transcript", turn)).body == {"new": True}
    assert await change(socket, kind("turn")) == {"kind": "turn", "call": call, "turn": turn}
    assert (await ai.ask("POST", f"calls/{call}/transcript", {**turn, "text": "Hallo"})).body == {"new": False}
    assert (await change(socket, kind("turn")))["turn"]["text"] == "Hallo"
    listed = await anna.ask("GET", f"calls/{call}/transcript")
    assert listed.body["turns"] == [{**turn, "text": "Hallo"}]


async def test_invisible_direction_marks_do_not_reach_the_panel(house: House) -> None:
    ai = await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    turn = {"turn": "t1", "speaker": "caller", "text": "a\u202eb\u2066c", "at": AT}
    await ai.ask("POST", f"calls/{call}/transcript", turn)
    listed = await ai.ask("GET", f"calls/{call}/transcript")
    assert listed.body["turns"][0]["text"] == "abc"


async def test_an_ai_is_told_of_its_calls_and_takeovers_and_of_nothing_else(house: House) -> None:
    house.call("9", ai="globex")
    mine = house.call("1", ai="acme")
    ai = await house.machine("bot", "ai", ai="acme")
    anna = await house.person("anna")
    socket = await ai.events()
    assert (await frame(socket))["call"]["id"] == mine
    house.call("8", ai="globex")
    later = house.call("2", ai="acme")
    told = await frame(socket)
    assert (told["type"], told["call"]["id"]) == ("call", later)
    leg = await anna.leg()
    made = await anna.ask("POST", f"calls/{mine}/engagements", {"mode": "takeover", "leg": leg})
    started = await frame(socket)
    assert (started["type"], started["call"], started["agent"]) == ("takeover.started", mine, "Anna")
    human = {"turn": "h", "speaker": "agent", "text": "I am Anna", "at": datetime.now(UTC).isoformat()}
    assert (await ai.ask("POST", f"calls/{mine}/transcript", human)).status == 200
    await anna.ask("POST", f"engagements/{made.body['id']}/release", {"note": "be kind"})
    ended = await frame(socket)
    assert (ended["type"], ended["note"]) == ("takeover.ended", "be kind")
    assert [turn["text"] for turn in ended["human"]] == ["I am Anna"]
    await anna.ask("POST", f"calls/{mine}/coach", {"text": "offer a refund"})
    coached = await frame(socket)
    assert (coached["type"], coached["text"], coached["by"]) == ("coach", "offer a refund", "Anna")
    house.hang_up(mine)
    assert await frame(socket) == {"type": "call.ended", "call": mine, "why": "hangup"}


async def told_to_all(house: House) -> None:
    """Returns when everything that was published has been told to whoever was there."""
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    await socket.close()


def end(house: House, call: CallId, by: str = "Anna", ai: str = "acme") -> None:
    """A takeover ends that a crash had cut off: told as soon as the exchange is connected, whoever listens by then."""
    engagement = Engagement(
        EngagementId(f"{call}-{by}"), call, "a", by, "", Mode.TAKEOVER, Phase.ENDED, datetime.now(UTC)
    )
    said = [Turn("9", "caller", "my order", datetime.now(UTC))]
    Notices(house.registry, house.parts.transcripts).over(engagement, Ai(ai), said)


async def test_an_ai_that_comes_back_late_is_told_once_that_a_takeover_ended(house: House) -> None:
    ai, other = await house.machine("bot", "ai", ai="acme"), await house.machine("other", "ai", ai="globex")
    mine = house.call("1", ai="acme")
    end(house, mine)
    await told_to_all(house)
    stranger = await other.events()
    await stranger.send_json({"type": "ping", "t": 1})
    assert (await frame(stranger))["type"] == "pong"  # and nothing of another AI's before it
    socket = await ai.events()
    told, call = await frame(socket), await frame(socket)
    assert (told["type"], told["call"], told["agent"]) == ("takeover.ended", mine, "Anna")
    assert [turn["text"] for turn in told["human"]] == ["my order"]
    assert (call["type"], call["call"]["id"]) == ("call", mine)  # what happened comes before what is now
    await socket.close()
    again = await ai.events()
    assert (await frame(again))["type"] == "call"
    end(house, mine, by="Ben")
    assert (await frame(again))["agent"] == "Ben"


async def test_an_ai_is_told_late_of_the_calls_that_it_may_see_and_of_no_others(house: House) -> None:
    sales = await house.machine("sales", "ai", ai="acme", queue="sales")
    support = await house.machine("support", "ai", ai="acme", queue="support")
    first, second = house.call("1", queue="sales"), house.call("2", queue="support")
    socket = await sales.events()
    assert (await frame(socket))["call"]["id"] == first
    end(house, second)
    end(house, first)
    assert [(await frame(socket))["call"]] == [first]  # the other's is kept for whom it is for
    there = await support.events()
    assert (await frame(there))["call"] == second


async def test_what_nobody_came_for_is_forgotten_in_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ai = await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    monkeypatch.setattr(missed_module, "KEPT", 2)
    for by in ("Anna", "Ben", "Cleo"):
        end(house, call, by)
    await told_to_all(house)
    socket = await ai.events()
    assert [(await frame(socket)).get("agent") for _ in range(3)] == ["Ben", "Cleo", None]
    await socket.close()
    await until(lambda: len(house.hub) == 0)
    end(house, call)
    monkeypatch.setattr(missed_module, "KEPT_S", 0.0)
    assert (await frame(await ai.events()))["type"] == "call"


async def test_a_measurement_reaches_the_panels(house: House) -> None:
    anna, ai = await house.person("anna"), await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    socket = await anna.events()
    await frame(socket)
    assert (await ai.ask("POST", f"calls/{call}/measurement", {"heard_ms": 31.5, "gap_ms": 20})).status == 204
    facts = {"heard_ms": 31.5, "gap_ms": 20.0}
    assert await change(socket, kind("measured")) == {"kind": "measured", "call": call, "facts": facts}


async def test_ping_and_resume(house: House) -> None:
    anna = await house.person("anna")
    socket = await anna.events()
    snapshot = await frame(socket)
    await socket.send_json({"type": "ping", "t": 12.5})
    assert await frame(socket) == {"type": "pong", "t": 12.5}
    await socket.send_json({"type": "resume", "rev": snapshot["rev"]})
    assert await frame(socket) == {"type": "delta", "rev": snapshot["rev"], "changes": []}
    await socket.send_json({"type": "resume", "rev": 0})  # from before its hello
    assert await frame(socket) == {"type": "delta", "rev": snapshot["rev"], "changes": []}
    house.call("1")
    assert (await frame(socket))["type"] == "delta"
    await socket.send_json({"type": "resume", "rev": snapshot["rev"]})
    assert (await frame(socket))["type"] == "snapshot"


async def test_losing_the_socket_is_told_to_the_leg_and_so_is_its_return(house: House) -> None:
    anna = await house.person("anna")
    leg = await anna.leg()
    socket = await anna.events(leg)
    await frame(socket)
    await socket.close()
    await until(lambda: house.legs.lost == [leg])
    again = await anna.events(leg)
    await frame(again)
    assert house.legs.lost == []


async def test_nobody_can_say_hello_for_anothers_leg(house: House) -> None:
    anna, eve = await house.person("anna"), await house.person("eve")
    leg = await anna.leg()
    socket = await eve.events(leg)
    await frame(socket)
    gone = await change(socket, kind("leg"))
    assert gone == {"kind": "leg", "leg": leg, "up": False, "why": "no-such-leg"}
    await socket.close()
    await asyncio.sleep(0.05)
    assert house.legs.lost == []


async def test_quality_and_leg_news_reach_their_own_session_only(house: House) -> None:
    anna, ben = await house.person("anna"), await house.person("ben")
    leg = await anna.leg()
    hers, his = await anna.events(leg), await ben.events()
    await frame(hers)
    await frame(his)
    session = house.desk.owner(leg)
    assert session is not None
    house.hub.quality(session, leg, {"rtt_ms": 12})
    house.hub.leg_changed(session, leg, up=True)
    delta = await frame(hers)
    assert [one["kind"] for one in delta["changes"]] == ["quality", "leg"]
    await his.send_json({"type": "ping", "t": 1})
    assert (await frame(his))["type"] == "pong"


async def test_the_service_stopping_closes_every_socket(house: House) -> None:
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    house.hub.close()
    assert (await until_closed(socket))[1] == 1012


async def say(house: House, call: CallId, count: int) -> None:
    """An AI that says a great deal."""
    ai = Actor("ai", "bot", "ai", ai="acme")
    for number in range(count):
        turn = Turn(str(number), "ai", "x" * 2_000, datetime.now(UTC), final=False)
        await house.parts.transcripts.put(ai, call, turn)


async def test_a_stalled_client_costs_the_others_nothing_and_is_dropped(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_SEND_DEADLINE", 1.0)
    anna, ben = await house.person("anna"), await house.person("ben")
    call = house.call("1")
    stalled, reading = await anna.events(), await ben.events()
    await frame(stalled)
    await frame(reading)
    transport = stalled._response.connection.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    longest = 0.0
    tracemalloc.start()
    try:
        for _ in range(20):
            began = time.monotonic()
            await say(house, call, 200)
            await reading.send_json({"type": "ping", "t": 1})
            while (await frame(reading))["type"] != "pong":
                pass
            longest = max(longest, time.monotonic() - began)
            clients = list(house.hub._clients)
            assert all(client.outbox._bytes <= client.outbox.limit_bytes for client in clients)
        async with asyncio.timeout(10):
            while len(house.hub) == 2:
                await asyncio.sleep(0.05)
                await say(house, call, 100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert house.hub.dropped == 1
    assert longest < 3.0  # a stalled send would have cost the deadline of 1 s in each of the rounds
    assert peak < 64_000_000
    await reading.send_json({"type": "ping", "t": 2})
    while (await frame(reading)) != {"type": "pong", "t": 2}:
        pass


async def test_what_happens_to_a_call_within_a_tick_is_told_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, call = await house.person("anna"), house.call("1")
    socket = await anna.events()
    await frame(socket)
    monkeypatch.setattr(hub_module, "TICK", 3600.0)
    house.hub._tick()  # the next one is the test's to make
    ai = Actor("ai", "bot", "ai", ai="acme")
    for text in ("H", "Ha", "Hallo"):
        await house.parts.transcripts.put(ai, call, Turn("t", "ai", text, datetime.now(UTC), final=False))
    for on in (True, False):
        house.registry.apply(Talking(call, "caller", on=on))
    house.call("2")
    gone = house.call("3")
    house.registry.apply(Talking(gone, "ai", on=True))
    house.hang_up(gone)
    house.hub._tick()
    told = (await frame(socket))["changes"]
    assert [one["kind"] for one in told] == ["turn", "talking", "call", "call-gone"]
    assert (told[0]["turn"]["text"], told[1]["on"]) == ("Hallo", False)
    assert (told[2]["call"]["id"], told[3]["id"]) == ("lab~1700000000.2", gone)


async def test_the_first_news_after_a_pause_is_told_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TICK", 3600.0)
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    house.hub._last = -3600.0
    house.call("1")
    assert (await frame(socket))["changes"][0]["kind"] == "call"


class Kept(Outbox):
    """Remembers what was put in."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []

    def put(self, frame: bytes) -> None:
        self.frames.append(frame)


async def test_clients_of_one_permission_share_their_frames(house: House) -> None:
    """Two hundred panels must not cost two hundred times the work, nor hold two hundred copies."""
    sockets = []  # one that nobody holds is collected, and closed
    for name, queues in (("anna", ("sales",)), ("ben", ("sales",)), ("eve", ("support",))):
        sockets.append(await (await house.person(name, queues=queues)).events())
        await frame(sockets[-1])
    kept = {"Anna": Kept(), "Ben": Kept(), "Eve": Kept()}
    for client in house.hub._clients:
        client.outbox = kept[client.principal.actor.name]
    house.call("1", queue="sales")
    await until(lambda: bool(kept["Anna"].frames and kept["Ben"].frames))
    assert kept["Anna"].frames[0] is kept["Ben"].frames[0]
    assert kept["Eve"].frames == []


async def test_a_slow_client_gets_a_snapshot_instead_of_everything_it_missed(house: House) -> None:
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    client = next(iter(house.hub._clients))
    client.outbox.limit_bytes = 100
    for number in range(20):
        house.call(str(number))
    snapshot = await frame(socket)
    assert (snapshot["type"], len(snapshot["calls"])) == ("snapshot", 20)
    assert house.hub.refreshed == 1


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("{", 'input: "{" is not accepted; send valid JSON (EOF while parsing an object at line 1 column 1)'),
        ('{"type":"dance"}', "'type' must be one of 'hello', 'ping', 'resume'"),
        ('{"t":1}', "say 'type'"),
        ('{"type":"ping"}', "ping.t: it is missing; add it"),
        ('{"type":"ping","t":"1"}', 'ping.t: "1" is not accepted; give a number'),
        ('{"type":"resume","rev":-1}', "resume.rev: -1 is not accepted; it should be greater than or equal to 0"),
        ('{"type":"hello","leg":5}', "hello.leg: 5 is not accepted; give a text, in quotes"),
        ('{"type":"hello","x":1}', 'hello.x: "x" is not accepted; there is no such field'),
    ],
)
async def test_a_wrong_message_is_answered_in_words_and_ends_the_socket(house: House, text: str, detail: str) -> None:
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    await socket.send_str(text)
    said, code = await until_closed(socket)
    problem = json.loads(said[-1])
    assert (problem["type"], problem["problem"], code) == ("problem", "urn:takeover:bad-request", 4400)
    assert detail in problem["detail"]


async def test_binary_frames_and_resume_before_hello_are_refused(house: House) -> None:
    anna = await house.person("anna")
    socket = await anna.client.ws_connect(f"{house.url}/api/v1/events")
    await socket.send_json({"type": "resume", "rev": 1})
    said, _ = await until_closed(socket)
    assert 'send {\\"type\\":\\"hello\\"} first' in said[-1]
    socket = await anna.events()
    await socket.send_bytes(b"\0")
    said, code = await until_closed(socket)
    assert ("send JSON in text frames" in said[-1], code) == (True, 4400)


async def test_a_message_over_the_limit_ends_the_socket(house: House) -> None:
    anna = await house.person("anna")
    socket = await anna.events()
    await frame(socket)
    await socket.send_str('{"type":"ping","t":1,"x":"' + "x" * 10_000 + '"}')
    assert (await until_closed(socket))[1] == 1009


async def test_a_request_for_a_human_is_shown_until_one_speaks(house: House) -> None:
    anna, ai = await house.person("anna"), await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    socket = await anna.events()
    await frame(socket)
    body = {"reason": "caller is upset", "priority": "urgent", "deadline_s": 60}
    made = await ai.ask("POST", f"calls/{call}/escalation", body)
    assert (made.status, made.body["priority"], made.body["by"]) == (201, "urgent", "bot")
    shown = (await change(socket, kind("call")))["call"]["escalation"]
    assert shown == made.body
    until_s = datetime.fromisoformat(shown["deadline_at"]) - datetime.fromisoformat(shown["since"])
    assert until_s.total_seconds() == 60
    monitor = {"mode": "monitor", "leg": await anna.leg()}
    engaged = await anna.ask("POST", f"calls/{call}/engagements", monitor)
    assert (await anna.ask("GET", f"calls/{call}")).body["escalation"] == shown
    await anna.ask("PATCH", f"engagements/{engaged.body['id']}", {"mode": "takeover"})
    assert (await change(socket, kind("call")))["call"]["escalation"] is None


async def test_a_request_for_a_human_is_withdrawn_or_ends_with_the_call(house: House) -> None:
    ai = await house.machine("bot", "ai", ai="acme")
    call = house.call("1")
    path = f"calls/{call}/escalation"
    assert (await ai.ask("POST", path, {"reason": "help"})).body["deadline_at"] is None
    assert (await ai.ask("DELETE", path)).status == 204
    assert (await ai.ask("GET", f"calls/{call}")).body["escalation"] is None
    house.registry.apply(HumanAsked(call, "pressed 0", "normal"))
    assert (await ai.ask("GET", f"calls/{call}")).body["escalation"]["by"] == "dialplan"
    house.hang_up(call)
    again = house.call("1")
    assert (await ai.ask("GET", f"calls/{again}")).body["escalation"] is None
