"""What an agent does to a call, by mouse and by keys, and what is refused. Real Chromium, scripted server."""

import pytest
from playwright.async_api import Page, expect

from .panel_stub import CHROMIUM, PanelStub, stamp
from .steps import AUDIBLE, banner, posted, select, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def test_the_keypad_sends_keys_in_their_order(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("p")
    for key in "4711":
        await page.keyboard.press(key)
    await page.get_by_test_id("keypad-#").click()
    await expect(page.get_by_test_id("keypad-sent")).to_have_text("4711#")
    await page.keyboard.press("Escape")
    await banner(page, "live")  # no digit was taken for a mode
    assert [body["digits"] for body in posted(stub, "/dtmf")] == ["4", "7", "1", "1", "#"]


async def test_a_call_is_transferred_to_a_configured_destination_only(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("f")
    await expect(page.get_by_role("radio")).to_have_count(3)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("This call was transferred.")).to_be_visible()
    assert posted(stub, "/transfer") == [{"to": "night-desk"}]


async def test_the_ai_is_coached_in_writing(page: Page, stub: PanelStub) -> None:
    await stub.update(stub.add_call("+49 30 5550142", "Maria Keller"))
    await expect(page.get_by_test_id("call-row")).to_have_count(1)
    await page.keyboard.press("j")
    await page.keyboard.press("c")
    await page.keyboard.type("Tell her the refund is approved.")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("toast")).to_contain_text("Sent to Aurora.")
    await expect(page.get_by_test_id("coach-text")).to_have_value("")
    assert posted(stub, "/coach") == [{"text": "Tell her the refund is approved."}]


async def test_the_outcome_of_a_call_is_asked_after_it(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    phrase = page.get_by_test_id("phrase")
    await expect(phrase).to_contain_text("this is Anna Berg, a person")
    await page.get_by_test_id("return-note").fill("Refund approved.")
    await page.get_by_test_id("return-submit").click()
    await expect(phrase).to_be_hidden()
    await expect(page.get_by_test_id("wrap-up")).to_contain_text("Outcome with Maria Keller")
    await stub.hang_up(call)
    await page.keyboard.press("o")
    await page.keyboard.press("R")
    await page.get_by_test_id("wrap-up-note").fill("Wants a letter, too.")
    await page.get_by_test_id("wrap-up-save").click()
    await expect(page.get_by_test_id("wrap-up")).to_be_hidden()
    await expect(page.get_by_test_id("toast")).to_have_text("Outcome with Maria Keller saved.")
    assert posted(stub, "/wrap-up") == [{"outcome": "resolved", "note": "Wants a letter, too."}]


async def test_who_listened_before_introduces_himself_all_the_same(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    await page.get_by_test_id("mode-monitor").click()
    await banner(page, "listen")
    stub.calls[call]["engagements"][0]["since"] = stamp(60)
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await expect(page.get_by_test_id("phrase")).to_have_attribute("data-phrase", "introduction")
    await expect(page.get_by_test_id("banner").locator(".timer")).to_contain_text("0:0")


async def test_what_was_measured_of_a_colleague_is_not_said_of_oneself(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await stub.colleague(call, "Ben Ortiz", "takeover")
    await select(page, call)
    await stub.push({"kind": "measured", "call": call, "facts": {"heard_ms": 317.0, "gap_ms": 53.0}})
    await stub.say(call, "agent", "Hello, this is Ben.")
    await expect(page.get_by_test_id("turn")).to_contain_text("Ben Ortiz")
    await expect(page.get_by_test_id("measured")).to_be_empty()


async def test_a_server_that_keeps_no_outcomes_is_not_asked_again(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    stub.fail("POST", "/wrap-up", 404, "not-found", "There is no such path.")
    await stub.end_engagement(call, "released")
    await page.get_by_test_id("wrap-up-outcome").select_option("resolved")
    await page.get_by_test_id("wrap-up-save").click()
    await expect(page.get_by_test_id("wrap-up")).to_be_hidden()
    await expect(page.get_by_test_id("toast")).to_have_count(0)
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await stub.end_engagement(call, "released")
    await banner(page, "idle")
    await expect(page.get_by_test_id("wrap-up")).to_be_hidden()


async def test_the_whole_flow_by_keyboard_alone(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    press = page.keyboard.press
    await expect(page.get_by_test_id("call-row")).to_have_count(1)
    await press("j")
    await expect(page.get_by_role("heading", name="Maria Keller")).to_be_visible()
    await expect(page.get_by_test_id("call-chosen")).to_have_text("Selected: Maria Keller with Aurora")
    await press("1")  # opens the line by itself, microphone permission included
    await banner(page, "listen")
    assert await stub.loudest(1.5) < AUDIBLE, "the microphone is heard while only listening"
    await press("w")
    await banner(page, "whisper")
    await press("b")
    await banner(page, "barge")
    await press("4")
    await banner(page, "live")
    assert await stub.loudest(1.5) > AUDIBLE, "the microphone is not heard while live"
    await press("u")
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-muted", "true")
    assert await stub.loudest(1.5) < AUDIBLE, "the microphone is heard while muted"
    await press("u")
    await press("h")
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-hold", "true")
    await press("h")
    await expect(page.get_by_test_id("banner")).not_to_have_attribute("data-hold", "true")
    await press("l")
    await expect(page.get_by_test_id("toast")).to_have_text("Return the call to the AI first.")
    await banner(page, "live")
    await press("n")
    await page.keyboard.type("Refund approved, 4 days.")
    await press("Escape")
    await press("r")
    await banner(page, "resuming")
    await banner(page, "idle")
    released = [body for method, path, body in stub.asked if method == "POST" and path.endswith("/release")]
    assert released == [{"note": "Refund approved, 4 days."}]
    assert await stub.loudest(1.5) < AUDIBLE, "the microphone is heard after the return"


async def test_a_call_of_a_colleague_is_refused_with_the_name(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    stub.fail("POST", "/engagements", 409, "already-taken", "taken", speaker="Ben Ortiz")
    await page.get_by_test_id("mode-takeover").click()
    await expect(page.get_by_test_id("toast")).to_contain_text("Ben Ortiz already speaks with this caller.")
    await banner(page, "idle")
    await stub.colleague(call, "Ben Ortiz", "takeover")
    takeover = page.get_by_test_id("mode-takeover")
    await expect(takeover).to_have_attribute("aria-disabled", "true")
    await expect(page.get_by_test_id("mode-why")).to_have_text("Ben Ortiz already speaks with this caller.")
    await page.get_by_test_id("mode-monitor").click()
    await banner(page, "listen")


async def test_a_supervisor_takes_it_over_with_a_reason(page: Page, stub: PanelStub) -> None:
    stub.role = "supervisor"
    await stub.cut_events()
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.colleague(call, "Ben Ortiz", "takeover")
    await select(page, call)
    await page.get_by_test_id("mode-monitor").click()
    await banner(page, "listen")
    await page.get_by_test_id("mode-takeover").click()
    await page.get_by_test_id("override-reason").fill("Ben's headset broke")
    await page.keyboard.press("Enter")
    await banner(page, "live")
    bodies = [body for method, path, body in stub.asked if method == "POST" and path.endswith("/engagements")]
    assert [(body["mode"], body.get("override")) for body in bodies] == [
        ("monitor", None),
        ("takeover", {"reason": "Ben's headset broke"}),
    ]


async def test_an_impossible_mode_says_why(page: Page, stub: PanelStub) -> None:
    modes = [
        {"mode": "monitor", "possible": True, "how": "live", "why": ""},
        {"mode": "whisper", "possible": False, "how": None, "why": "This AI has no leg of its own."},
    ]
    call = stub.add_call("+49 30 5550142", "Maria Keller", modes=modes)
    await stub.update(call)
    await select(page, call)
    before = len(stub.asked)
    await page.keyboard.press("2")
    await expect(page.get_by_test_id("toast")).to_contain_text("This AI has no leg of its own.")
    await expect(page.get_by_test_id("mode-whisper")).to_have_attribute("title", "This AI has no leg of its own.")
    assert [path for method, path, _ in stub.asked[before:] if method == "POST"] == []


async def test_ending_the_call_is_asked_twice_and_leaving_is_not_ending(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await page.keyboard.press("e")
    await expect(page.get_by_test_id("end-call-cancel")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("end-call-confirm")).to_be_hidden()
    await page.keyboard.press("1")
    await banner(page, "listen")
    await page.get_by_test_id("leave").click()
    await banner(page, "idle")
    assert call in stub.calls
    await page.get_by_test_id("end-call").click()
    await page.get_by_test_id("end-call-confirm").click()
    await expect(page.get_by_test_id("call-row")).to_have_count(0)
    assert [path for _, path, _ in stub.asked if path.endswith("/hangup")] == [
        f"/calls/{call.replace('~', '~')}/hangup"
    ]


async def test_a_line_that_has_just_come_up_may_take_a_moment_to_be_heard(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    stub.fail("POST", "/engagements", 422, "leg-not-ready", "no-microphone", why="no-microphone")
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await expect(page.get_by_test_id("toast")).to_have_count(0)
    assert len(posted(stub, "/engagements")) == 2


async def test_an_ai_that_hung_up_is_not_said_to_listen_nor_to_speak_again(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.update(call, notes=["ai-gone"])
    await expect(page.get_by_test_id("banner")).to_contain_text("has hung up and cannot take the call back")
    await expect(page.locator('[data-note="ai-gone"]')).to_be_visible()
    await expect(page.get_by_test_id("phrase")).to_be_hidden()
    await page.get_by_test_id("return-submit").click()
    await expect(page.get_by_test_id("toast")).to_contain_text("was not given back to it")
    await banner(page, "idle")
