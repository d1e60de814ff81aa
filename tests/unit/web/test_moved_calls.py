"""A call that goes to another queue while an agent is in it: what panels are told, and whose keep it."""

from connector.domain.events import CallChanged, Talking
from tests.unit.web.house import House, make_call, until
from tests.unit.web.test_events import change, frame, kind


async def test_who_speaks_keeps_the_call_before_them_until_they_return_it(house: House) -> None:
    """A panel that loses sight of its call closes the microphone: the caller would hear neither agent nor AI."""
    anna = await house.person("anna", queues=("sales",))
    ben = await house.person("ben", queues=("sales",))
    call, leg = house.call("1", queue="sales"), await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    hers, his = await anna.events(leg), await ben.events()
    await frame(hers)
    await frame(his)

    house.registry.apply(CallChanged(make_call("1", queue="support")))
    assert (await change(his, kind("call-gone")))["why"] == "not-yours"
    (told,) = (await frame(hers))["changes"]
    assert (told["kind"], told["call"]["queue"]) == ("call", "support")
    house.registry.apply(Talking(call, "caller", on=True))
    assert (await change(hers, lambda _: True))["kind"] == "talking"

    back = await anna.events(leg)  # the page is loaded again
    assert [one["id"] for one in (await frame(back))["calls"]] == [call]

    await anna.ask("POST", f"engagements/{made.body['id']}/release", {"note": "she agreed"})
    for socket in (hers, back):
        assert (await change(socket, kind("call-gone")))["why"] == "not-yours"
        assert (await change(socket, kind("engagement")))["engagement"]["ended"] == "released"
    house.call("2", queue="sales")
    for socket in (hers, back, his):
        assert (await change(socket, lambda _: True))["kind"] == "call"


async def test_what_a_panel_has_not_been_told_yet_is_not_lost_when_its_call_moves(house: House) -> None:
    anna = await house.person("anna", queues=("sales",))
    call, leg = house.call("1", queue="sales"), await anna.leg()
    await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    socket = await anna.events(leg)
    await frame(socket)
    other = house.call("2", queue="sales")  # all within one tick of the hub
    house.registry.apply(CallChanged(make_call("1", queue="support")))
    house.registry.apply(Talking(call, "caller", on=True))
    assert [one["kind"] for one in (await frame(socket))["changes"]] == ["call", "call", "talking"]
    house.hang_up(other)
    assert await change(socket, kind("call-gone")) == {"kind": "call-gone", "id": other, "why": "hangup"}


async def test_who_begins_to_speak_in_the_moment_of_the_move_gets_the_call_back(house: House) -> None:
    """A listener whose wish to speak was under way when the call moved is in it, and must see it."""
    anna = await house.person("anna", queues=("sales",))
    call, leg = house.call("1", queue="sales"), await anna.leg()
    made = await anna.ask("POST", f"calls/{call}/engagements", {"mode": "monitor", "leg": leg})
    socket = await anna.events(leg)
    await frame(socket)
    switch = house.pbx.switch

    async def moved_meanwhile(*given: object) -> object:
        house.registry.apply(CallChanged(make_call("1", queue="support")))
        assert (await change(socket, kind("call-gone")))["why"] == "not-yours"
        return await switch(*given)  # type: ignore[arg-type]

    house.pbx.switch = moved_meanwhile  # type: ignore[method-assign,assignment]
    switched = await anna.ask("PATCH", f"engagements/{made.body['id']}", {"mode": "takeover"})
    assert (switched.status, switched.body["mode"]) == (200, "takeover")
    assert (await change(socket, kind("call")))["call"]["engagements"][0]["mode"] == "takeover"


async def test_who_listened_is_told_why_they_are_out(house: House) -> None:
    anna = await house.person("anna", queues=("sales",))
    call, leg = house.call("1", queue="sales"), await anna.leg()
    await anna.ask("POST", f"calls/{call}/engagements", {"mode": "monitor", "leg": leg})
    socket = await anna.events(leg)
    await frame(socket)
    house.registry.apply(CallChanged(make_call("1", queue="support")))
    assert (await change(socket, kind("call-gone")))["why"] == "not-yours"
    assert (await change(socket, kind("engagement")))["engagement"]["ended"] == "not-yours"


async def test_a_panel_that_closes_leaves_no_audience_behind(house: House) -> None:
    anna = await house.person("anna", queues=("sales",))
    call, leg = house.call("1", queue="sales"), await anna.leg()
    await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})
    socket = await anna.events(leg)
    await frame(socket)
    house.registry.apply(CallChanged(make_call("1", queue="support")))
    await change(socket, kind("call"))
    await socket.close()
    await until(lambda: not house.hub._audiences)
