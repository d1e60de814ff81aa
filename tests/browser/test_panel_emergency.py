"""Calls that ask for a person: the queue, its alarm, one click, and who took it. Real Chromium, scripted server."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from .panel_stub import CHROMIUM, PanelStub
from .steps import AUDIBLE, banner, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def test_a_call_for_a_person_is_claimed_and_taken_over_with_one_click(page: Page, stub: PanelStub) -> None:
    urgent = stub.add_call("+49 30 5550142", "Maria Keller")
    worst = stub.add_call("+49 30 5550143", "Jonas Wirth")
    calm = stub.add_call("+49 30 5550144", "Eva Brandt")
    for call in (urgent, worst, calm):
        await stub.update(call)
    await stub.ask(urgent, "Insists on a person", "urgent", left=90)
    await stub.ask(worst, "Chest pain", "emergency", left=30)
    cards = page.get_by_test_id("emergency")
    await expect(cards).to_have_count(2)
    await expect(cards.first).to_contain_text("Chest pain")
    await expect(cards.first).to_contain_text(re.compile(r"0:(2\d|30) left"))
    await expect(page.get_by_role("alert").filter(has_text="Emergency: Jonas Wirth. Chest pain")).to_have_count(1)
    await expect(page).to_have_title(re.compile("2 ask for a person"))
    await page.wait_for_function("document.body.dataset.rang")
    await cards.first.get_by_test_id("emergency-take").click()  # from off duty: opens the line, claims, takes over
    await banner(page, "live")
    await expect(page.get_by_role("heading", name="Jonas Wirth")).to_be_visible()
    await expect(page).to_have_title(re.compile("1 asks for a person · ● LIVE: Jonas Wirth"))
    assert await stub.loudest(1.5) > AUDIBLE
    posts = [path for method, path, _ in stub.asked if method == "POST" and "/engagements" in path]
    assert posts == [f"/calls/{worst}/engagements"]


async def test_the_most_urgent_call_is_answered_by_one_key(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await page.keyboard.press("a")
    await expect(page.get_by_test_id("toast")).to_contain_text("Nobody asks for a person now.")
    await stub.ask(call, "Insists on a person", "normal")
    await expect(page.get_by_test_id("emergency")).to_have_count(1)
    await page.keyboard.press("a")
    await banner(page, "live")


async def test_everybody_sees_who_took_a_call_and_when_help_is_asked_again(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await stub.ask(call, "Insists on a person", "urgent", left=-5)
    card = page.get_by_test_id("emergency")
    await expect(card).to_contain_text("late")
    await stub.colleague(call, "Ben Ortiz", "takeover")
    await expect(page.get_by_test_id("emergency-taken")).to_have_text("Taken by Ben Ortiz")
    await expect(page).to_have_title("Takeover")
    await stub.ask(call, "Caller is threatening", "emergency", by="Ben Ortiz", ago=-1)
    await expect(card).to_contain_text("Ben Ortiz speaks and asks for help")
    await card.get_by_role("button", name="Listen in").click()
    await banner(page, "listen")


async def test_a_call_that_nobody_takes_gets_louder_and_calls_supervisors(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await stub.ask(call, "Wants a person", "normal", by="caller", left=2)
    card = page.get_by_test_id("emergency")
    await expect(card).to_contain_text("asked by the caller (key 0)")
    await expect(page.get_by_test_id("emergency-ladder")).to_be_hidden()
    await stub.climb(call, "urgent")
    await expect(page.get_by_test_id("emergency-ladder")).to_have_text("Nobody came: more urgent now")
    await expect(card).to_have_attribute("data-priority", "urgent")
    await stub.climb(call, "emergency", supervisors=True)
    await expect(page.get_by_test_id("emergency-ladder")).to_have_text("Nobody came: supervisors called")
    await expect(page.get_by_role("alert").filter(has_text="Emergency: Maria Keller. Wants a person")).to_have_count(1)


async def test_a_card_hides_nothing_of_who_calls_and_its_reason_stays_with_who_takes_it(
    page: Page, stub: PanelStub
) -> None:
    name = "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh, Hubert Blaine"
    call = stub.add_call("+49 30 5550142 98765 43210", name)
    await stub.update(call)
    await stub.ask(call, "Insists on a person", "normal", left=90)
    card = page.get_by_test_id("emergency")
    await expect(card.locator("strong")).to_have_text("Asks for a person")
    cut = "one => one.scrollWidth > one.clientWidth || getComputedStyle(one).textOverflow === 'ellipsis'"
    for part in (".caller", ".since"):
        assert not await card.locator(part).evaluate(cut), part
    await card.get_by_role("button", name=f"Take the call : {name}").click()
    await banner(page, "live")
    await expect(page.get_by_test_id("emergency-taken")).to_have_text("Taken by you")
    await expect(page.locator('[data-note="asked"]')).to_have_text("Call for a person: Insists on a person")


async def test_an_agent_asks_for_help_and_withdraws(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await page.keyboard.press("x")
    await page.get_by_test_id("help-reason").fill("Needs a doctor")
    await page.get_by_test_id("help-priority").select_option("emergency")
    await page.get_by_test_id("help-confirm").click()
    card = page.get_by_test_id("emergency")
    await expect(card).to_contain_text("Needs a doctor")
    await expect(card.get_by_test_id("emergency-take")).to_be_hidden()  # it is this agent who speaks
    await banner(page, "live")
    await card.get_by_test_id("emergency-withdraw").click()
    await expect(card).to_have_count(0)
    asked = [(method, body) for method, path, body in stub.asked if path == f"/calls/{call}/escalation"]
    assert asked == [("POST", {"reason": "Needs a doctor", "priority": "emergency"}), ("DELETE", {})]


async def test_a_hidden_page_notifies_and_the_sound_can_be_switched_off(browser: Browser, stub: PanelStub) -> None:
    context = await browser.new_context(locale="en-GB")
    await context.add_init_script("""
        globalThis.shown = [];
        globalThis.Notification = class { static permission = "granted"; close() {}
            constructor(title, facts) { globalThis.shown.push([title, facts.body]); } };
        document.hasFocus = () => false;
    """)
    page = await context.new_page()
    stub.logged_in = True
    await page.goto(stub.url)
    sound = page.get_by_test_id("alert-sound")
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    await page.keyboard.press("s")
    await expect(sound).to_have_attribute("aria-pressed", "false")
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await stub.ask(call, "Chest pain", "emergency")
    await page.wait_for_function("globalThis.shown.length")
    assert await page.evaluate("globalThis.shown") == [["Emergency: Chest pain", "Maria Keller"]]
    assert await page.evaluate("document.body.dataset.rang") is None
    await sound.click()
    await page.wait_for_function("document.body.dataset.rang")
    await context.close()
