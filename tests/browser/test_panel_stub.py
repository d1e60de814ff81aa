"""The panel in real Chromium against a scripted server: what an agent sees, and what happens when things fail."""

import asyncio
import gzip
import re

import pytest
from playwright.async_api import Browser, Dialog, Page, async_playwright, expect

from .panel_stub import ARGUMENTS, CHROMIUM, STATIC, Json, PanelStub

AUDIBLE = 1000
"""Of 32767: well below the beep, well above a coder's idle noise."""

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def banner(page: Page, state: str, patience_ms: float = 15000) -> None:
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-state", state, timeout=patience_ms)


async def select(page: Page, call: str) -> None:
    await page.locator(f'[data-call="{call}"]').click()


async def take_over(page: Page, stub: PanelStub) -> str:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    return call


async def test_wrong_password_is_said_and_the_right_one_enters(browser: Browser, stub: PanelStub) -> None:
    async with await browser.new_page(locale="en-GB") as page:
        await page.goto(f"{stub.url}/login")
        await page.get_by_test_id("login-username").fill("anna")
        await page.get_by_test_id("login-password").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("login-error")).to_have_text("User name or password is wrong.")
        await page.get_by_test_id("login-password").fill("correct horse")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{stub.url}/")


async def test_without_a_session_the_panel_leads_to_the_login(browser: Browser, stub: PanelStub) -> None:
    async with await browser.new_page() as page:
        await page.goto(stub.url)
        await page.wait_for_url(f"{stub.url}/login")


async def test_calls_are_sorted_by_need_and_come_and_go(page: Page, stub: PanelStub) -> None:
    await expect(page.get_by_text("No live calls.")).to_be_visible()
    old = stub.add_call("+49 30 5550142", "Maria Keller", age=300)
    new = stub.add_call("+49 30 5550143", "Jonas Wirth", age=20)
    asks = {"reason": "Wants a person", "priority": "urgent"}
    urgent = stub.add_call("+49 30 5550144", "Eva Brandt", age=5, escalation=asks)
    for call in (old, new, urgent):
        await stub.update(call)
    rows = page.get_by_test_id("call-row")
    await expect(rows).to_have_count(3)
    assert [await row.get_attribute("data-call") for row in await rows.all()] == [urgent, old, new]
    await expect(rows.first).to_contain_text("Urgent: Wants a person")
    await page.get_by_test_id("filter").fill("jonas")
    await expect(rows).to_have_count(1)
    await page.get_by_test_id("filter").fill("")
    await stub.hang_up(old)
    await expect(rows).to_have_count(2)


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


async def test_going_on_duty_that_fails_says_why_until_it_works(page: Page, stub: PanelStub) -> None:
    stub.fail("POST", "/legs", 503, "store-unavailable")
    await page.get_by_test_id("duty-on").click()
    toast = page.get_by_test_id("toast")
    await expect(toast).to_contain_text("You are not on duty. The audit cannot be written")
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await expect(toast).to_have_count(0)


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


def posted(stub: PanelStub, end: str) -> list[Json]:
    return [body for method, path, body in stub.asked if method == "POST" and path.endswith(end)]


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


async def test_an_ai_that_hears_nothing_is_not_said_to_listen(page: Page, stub: PanelStub) -> None:
    stub.deaf = ["Borealis"]
    await page.reload()
    call = stub.add_call("+49 30 5550142", "Maria Keller", "Borealis")
    await stub.update(call)
    await select(page, call)
    await expect(page.get_by_text("This AI hears nothing while a person speaks")).to_be_visible()
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await expect(page.get_by_test_id("banner")).to_contain_text("Borealis is silent and hears nothing.")
    await expect(page.get_by_role("img", name="Borealis is silent and hears nothing.")).to_be_visible()


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
    assert posted(stub, "/wrap-up") == [{"outcome": "resolved", "note": "Wants a letter, too."}]


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


async def test_a_recorded_call_says_so(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller", recording="call-1.wav")
    await stub.update(call)
    await select(page, call)
    await expect(page.locator('[data-fact="recording"] .value')).to_have_text("Recording")
    await stub.update(call, recording="")
    await expect(page.locator('[data-fact="recording"]')).to_have_count(0)


async def test_the_check_before_duty_asks_all_questions_and_leaves_nothing_open(page: Page, stub: PanelStub) -> None:
    await page.keyboard.press("q")
    await expect(page.get_by_test_id("finding-mic")).to_contain_text("Fake")
    for finding in ("mic", "line", "delay"):
        await expect(page.get_by_test_id(f"finding-{finding}")).to_have_attribute("data-tone", "good")
    # Chromium's own fake microphone beeps at full scale, and the check says so.
    await expect(page.get_by_test_id("finding-level")).to_have_attribute("data-tone", "warn")
    await page.get_by_test_id("check-echo").click()
    await expect(page.get_by_test_id("finding-echo")).not_to_have_attribute("data-tone", "wait")
    await page.get_by_test_id("check-close").click()
    await expect(page.get_by_test_id("duty-state")).to_have_text("Off duty")
    legs = [method for method, path, _ in stub.asked if path.startswith("/legs")]
    assert legs == ["POST", "DELETE"]


async def test_the_check_before_duty_names_blocked_udp_and_leads_to_duty(page: Page, stub: PanelStub) -> None:
    stub.udp_blocked = True
    await page.get_by_test_id("mic-test").click()
    await expect(page.get_by_test_id("finding-line")).to_contain_text("UDP is blocked")
    stub.udp_blocked = False
    await page.get_by_test_id("check-duty").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible(timeout=15000)


async def test_sound_that_stops_arriving_is_said(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    stub.stop_sound()
    fault = page.locator('[data-testid="fault"][data-fault="flow"]')
    await expect(fault).to_contain_text("you do not hear the call", timeout=20000)
    await banner(page, "live")


async def test_a_page_that_was_put_to_sleep_says_so(page: Page, stub: PanelStub) -> None:
    await stub.update(stub.add_call("+49 30 5550142", "Maria Keller"))
    await expect(page.get_by_test_id("call-row")).to_have_count(1)
    # A headless page is never hidden, so the browser does not freeze it; these are the events of one that does.
    await page.evaluate("document.dispatchEvent(new Event('freeze'))")
    await asyncio.sleep(2)
    await page.evaluate("document.dispatchEvent(new Event('resume'))")
    await expect(page.get_by_test_id("toast").get_by_text("This page was asleep")).to_be_visible(timeout=15000)


async def test_the_list_is_narrowed_by_queue_ai_and_situation(page: Page, stub: PanelStub) -> None:
    maria = stub.add_call("+49 30 5550142", "Maria Keller")
    jonas = stub.add_call("+49 30 5550143", "Jonas Wirth", "Borealis", queue="support")
    for call in (maria, jonas):
        await stub.update(call)
    await stub.colleague(jonas, "Ben Ortiz", "takeover")
    await stub.ask(maria, "Insists on a person", "urgent")
    rows, shown = page.get_by_test_id("call-row"), {maria: "Maria Keller", jonas: "Jonas Wirth"}
    for choice, value, left in (
        ("queue", "support", jonas),
        ("ai", "Aurora", maria),
        ("who", "asks", maria),
        ("who", "person", jonas),
        ("who", "ai", maria),
    ):
        await page.get_by_test_id(f"only-{choice}").select_option(value)
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text(shown[left])
        await page.get_by_test_id(f"only-{choice}").select_option("")
        await expect(rows).to_have_count(2)


async def test_500_calls_stay_smooth_while_50_changes_a_second_arrive(page: Page, stub: PanelStub) -> None:
    """What costs a frame is counted: elements touched a change. How long a frame takes is `tests.bench.frames`."""
    calls = [stub.add_call(f"+49 30 {number:07d}", f"Caller {number}", age=number) for number in range(500)]
    await page.reload()
    rows = page.get_by_test_id("call-row")
    await expect(rows).to_have_count(500)
    await page.evaluate(
        """() => { globalThis.touched = new Set(); globalThis.moved = 0;
            const row = node => (node.nodeType === 1 ? node : node.parentElement)?.closest("tk-calls li");
            new MutationObserver(records => {
                for (const one of records) {
                    moved += one.addedNodes.length * (one.target.className === "rows");
                    if (!row(one.target)?.querySelector(".timer").contains(one.target)) touched.add(row(one.target));
                }
            }).observe(document.querySelector("tk-calls"),
                { subtree: true, childList: true, characterData: true, attributes: true }); }"""
    )
    changed = {calls[(number * 37) % 500] for number in range(100)}
    for number in range(100):
        call = calls[(number * 37) % 500]
        if number % 2:
            await stub.say(call, "caller", f"Sentence {number}", final=False)
        else:
            await stub.push({"kind": "talking", "call": call, "role": "ai", "on": True})
        await asyncio.sleep(0.02)
    last = calls[(99 * 37) % 500]
    await expect(page.locator(f'[data-call="{last}"]')).to_contain_text("Sentence 99")
    touched, moved = await page.evaluate("[[...touched].map(row => row?.firstElementChild.dataset.call), moved]")
    assert {call for call in touched if call} == changed  # these rows, and no others
    assert moved == 0


async def test_the_whole_flow_by_keyboard_alone(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    press = page.keyboard.press
    await expect(page.get_by_test_id("call-row")).to_have_count(1)
    await press("j")
    await expect(page.get_by_role("heading", name="Maria Keller")).to_be_visible()
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
    await press("n")
    await page.keyboard.type("Refund approved, 4 days.")
    await press("Escape")
    await press("r")
    await banner(page, "resuming")
    await banner(page, "idle")
    released = [body for method, path, body in stub.asked if method == "POST" and path.endswith("/release")]
    assert released == [{"note": "Refund approved, 4 days."}]
    assert await stub.loudest(1.5) < AUDIBLE, "the microphone is heard after the return"


async def test_tab_reaches_every_action_of_a_live_agent(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    other = stub.add_call("+49 30 5550143", "Jonas Wirth")
    await stub.update(other)
    await stub.ask(other, "Insists on a person", "urgent")
    await expect(page.get_by_test_id("emergency")).to_be_visible()
    wanted = await page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a[href]")]
            .filter(one => one.checkVisibility() && !one.disabled)
            .map(one => one.dataset.testid ?? one.ariaLabel ?? one.textContent)"""
    )
    assert len(wanted) > 20
    reached: set[str] = set()
    for _ in range(len(wanted) + 10):
        await page.keyboard.press("Tab")
        reached.add(
            await page.evaluate(
                """() => { const one = document.activeElement;
                    return one.dataset.testid ?? one.ariaLabel ?? one.textContent; }"""
            )
        )
    assert set(wanted) - reached == set()
    await page.keyboard.press("Escape")
    await banner(page, "live")


async def test_the_transcript_grows_in_place_and_shows_markup_as_text(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.say(call, "ai", "Hello, how can I help?")
    await stub.update(call)
    await select(page, call)
    turns = page.get_by_test_id("turn")
    await expect(turns).to_have_count(1)
    turn = await stub.say(call, "caller", "I was", final=False)
    await expect(turns.nth(1)).to_have_attribute("data-final", "false")
    await stub.say(call, "caller", "I was <b onclick=x>charged\u202e twice</b>", turn=turn)
    await expect(turns.nth(1).locator(".text")).to_have_text("I was <b onclick=x>charged twice</b>")
    await expect(turns).to_have_count(2)
    await expect(turns.nth(1).locator(".speaker")).to_have_text("Maria Keller")
    await expect(page.get_by_text("caption")).to_have_count(0)
    await stub.say(call, "agent", "I see it here", turn="caption-1")
    await expect(turns.nth(2)).to_contain_text("caption")  # what a machine has understood is not what was said


async def test_a_reader_of_older_lines_is_not_carried_away(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    for number in range(30):
        await stub.say(call, "ai", f"Line {number} of what the AI has said.", ago=60 - number)
    await stub.update(call)
    await select(page, call)
    log, last = page.get_by_test_id("transcript"), page.get_by_test_id("turn").last
    await expect(last).to_be_in_viewport()
    await log.evaluate("log => { log.scrollTop = 0 }")
    await expect(page.get_by_test_id("newest")).to_be_visible()
    await stub.say(call, "caller", "And now?")
    await expect(page.get_by_test_id("newest")).to_have_text("1 new")
    assert await log.evaluate("log => log.scrollTop") == 0
    await page.keyboard.press("g")
    await expect(last).to_be_in_viewport()
    await expect(page.get_by_test_id("newest")).to_be_hidden()


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


async def test_lost_connection_is_said_and_what_happened_meanwhile_too(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    stub.refuse_events = True
    await stub.cut_events()
    await banner(page, "offline")
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "false")
    assert await stub.loudest(1.5) > AUDIBLE, "the caller lost the agent though only the events are cut"
    await stub.end_engagement(call, "deadman")
    stub.refuse_events = False
    await expect(page.get_by_test_id("toast").get_by_text("While you were not connected")).to_be_visible(timeout=15000)
    await banner(page, "idle")
    assert await stub.loudest(1.5) < AUDIBLE


async def test_a_half_open_connection_is_noticed(page: Page, stub: PanelStub) -> None:
    stub.heartbeat = False
    stub.refuse_events = True
    await banner(page, "offline", patience_ms=20000)


async def test_each_way_of_losing_a_call_has_its_sentence(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.end_engagement(call, "no-microphone")
    await banner(page, "resuming")
    toast = page.get_by_test_id("toast")
    await expect(toast).to_have_text(["Your microphone fell silent, so Maria Keller was given back to Aurora."])
    await page.get_by_role("button", name="Dismiss").click()
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await stub.hang_up(call)
    await expect(toast).to_have_text(["Maria Keller hung up."])
    await expect(page.get_by_text("This call has ended: the caller hung up.")).to_be_visible()


async def test_a_lost_leg_is_opened_again(page: Page, stub: PanelStub) -> None:
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await stub.lose_leg()
    legs = [1 for method, path, _ in stub.asked if (method, path) == ("POST", "/legs")]
    assert len(legs) == 1
    await expect(page.get_by_test_id("duty-off")).to_be_visible(timeout=15000)
    legs = [1 for method, path, _ in stub.asked if (method, path) == ("POST", "/legs")]
    assert len(legs) == 2
    assert await stub.loudest(1.5) < AUDIBLE


async def test_a_line_moved_to_another_window_is_not_taken_back(page: Page, stub: PanelStub) -> None:
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await stub.lose_leg("closed")
    await expect(page.get_by_test_id("toast")).to_contain_text("moved to another window")
    await expect(page.get_by_test_id("duty-on")).to_be_visible()
    await page.wait_for_timeout(2000)
    assert len([1 for method, path, _ in stub.asked if (method, path) == ("POST", "/legs")]) == 1


async def test_a_line_of_another_window_is_moved_only_on_demand(page: Page, stub: PanelStub) -> None:
    stub.fail("POST", "/legs", 409, "leg-exists", leg="another window's")
    await page.get_by_test_id("duty-on").click()
    await page.get_by_test_id("move-confirm").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    bodies = [body for method, path, body in stub.asked if (method, path) == ("POST", "/legs")]
    assert [body.get("replace", False) for body in bodies] == [False, True]


async def test_every_line_is_opened_with_a_turn_login_that_is_good_now(page: Page, stub: PanelStub) -> None:
    stub.ice_servers = [{"urls": "turn:127.0.0.1:9", "username": "early", "credential": "x"}]
    await page.add_init_script(
        """globalThis.logins = [];
        globalThis.RTCPeerConnection = class extends RTCPeerConnection {
            constructor(facts) { super(facts); logins.push(facts.iceServers.map(one => one.username).join()); } };"""
    )
    await page.reload()
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    stub.ice_servers = [{"urls": "turn:127.0.0.1:9", "username": "late", "credential": "x"}]
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    assert await page.evaluate("logins") == ["late"]


async def test_a_busy_media_server_is_asked_again(page: Page, stub: PanelStub) -> None:
    stub.fail("POST", "/legs", 503, "overloaded")
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await expect(page.get_by_test_id("toast")).to_have_count(0)


async def test_a_denied_microphone_is_explained_and_can_be_allowed_afterwards(stub: PanelStub) -> None:
    stub.logged_in = True
    asking = [one for one in ARGUMENTS if one != "--use-fake-ui-for-media-stream"]  # nobody clicks "Allow" by itself
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=CHROMIUM, args=asking) as browser,
        await browser.new_page(locale="en-GB") as page,
    ):
        await page.goto(stub.url)
        await page.get_by_test_id("duty-on").click()
        fault = page.locator('[data-testid="fault"][data-fault="microphone"]')
        await expect(fault).to_contain_text("Allow it by the symbol in the address bar")
        await expect(page.get_by_test_id("duty-state")).to_have_text("Off duty")
        assert [path for _, path, _ in stub.asked if path.startswith("/legs")] == []
        await page.context.grant_permissions(["microphone"])
        await fault.get_by_role("button", name="Try again").click()
        await expect(fault).to_have_count(0)
        await page.get_by_test_id("duty-on").click()
        await expect(page.get_by_test_id("duty-off")).to_be_visible()


async def test_supervisors_read_the_audit_page_by_page_and_as_a_file(page: Page, stub: PanelStub) -> None:
    await expect(page.get_by_test_id("audit")).to_be_hidden()
    stub.role = "supervisor"
    await page.reload()
    for number in range(14):
        stub.record("takeover" if number % 7 else "login", f"alpha~{number}", reason="<b>=1+1</b>\u202e")
    await page.get_by_test_id("audit").click()
    rows = page.get_by_test_id("audit-row")
    await expect(rows).to_have_count(12)
    await expect(rows.first).to_contain_text("reason: <b>=1+1</b>")
    await page.get_by_test_id("audit-more").click()
    await expect(rows).to_have_count(14)
    await expect(page.get_by_test_id("audit-more")).to_be_hidden()
    await page.get_by_test_id("audit-act").select_option("login")
    await expect(rows).to_have_count(2)
    await expect(page.get_by_test_id("audit-csv")).to_have_attribute(
        "href", "/api/v1/audit/export?act=login&format=csv"
    )
    await page.get_by_test_id("audit-act").select_option("transfer")
    await expect(page.get_by_test_id("audit-told")).to_have_text("Nothing on record matches.")
    stub.fail("GET", "/audit", 503, "store-unavailable")
    await page.get_by_test_id("audit-act").select_option("")
    await expect(page.get_by_test_id("toast")).to_be_visible()  # above the dialog, where it can be read


async def test_blocked_udp_is_explained(page: Page, stub: PanelStub) -> None:
    stub.udp_blocked = True
    await page.get_by_test_id("duty-on").click()
    fault = page.locator('[data-testid="fault"][data-fault="udp"]')
    await expect(fault).to_contain_text("UDP is blocked")
    stub.udp_blocked = False
    await fault.get_by_role("button", name="Try again").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await expect(fault).to_have_count(0)


async def test_a_pbx_that_is_away_is_said(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    await stub.pbx("alpha", up=False, why="connection refused")
    await expect(page.locator('[data-fault="pbx"]')).to_contain_text("connection refused")
    await expect(page.get_by_test_id("mode-takeover")).to_have_attribute("aria-disabled", "true")
    await stub.pbx("alpha", up=True)
    await expect(page.locator('[data-fault="pbx"]')).to_have_count(0)


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


async def test_a_reloaded_page_says_what_became_of_the_call(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)

    async def leave(dialog: Dialog) -> None:
        await dialog.accept()

    page.on("dialog", leave)
    await page.reload()
    await stub.end_engagement(call, "browser-gone")
    toast = page.get_by_test_id("toast")
    await expect(toast).to_contain_text("Maria Keller was given back to Aurora at once.")


async def test_measured_times_are_shown(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.push({"kind": "measured", "call": call, "facts": {"heard_ms": 31.2, "gap_ms": 20.0}})
    await expect(page.get_by_test_id("measured")).to_have_text("Caller heard you after 31 ms, gap 20 ms")


async def test_single_key_shortcuts_can_be_switched_off(page: Page, stub: PanelStub) -> None:
    await stub.update(stub.add_call("+49 30 5550142", "Maria Keller"))
    await page.keyboard.press("?")
    await expect(page.get_by_test_id("shortcuts")).to_be_visible()
    await page.get_by_label("Single-key shortcuts are on").uncheck()
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await expect(page.get_by_text("No call selected")).to_be_visible()


async def test_everything_needed_when_live_fits_the_small_screens(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    for size in ((1280, 720), (390, 844)):
        await page.set_viewport_size({"width": size[0], "height": size[1]})
        for hook in ("banner", "return-submit", "return-note", "mute", "hold", "end-call", "mode-monitor", "mic-level"):
            await expect(page.get_by_test_id(hook)).to_be_in_viewport(ratio=1)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= size[0], f"the page scrolls sideways at {size}: {wide} px"


async def test_the_other_language_is_complete_on_screen(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("combobox", name="Language").select_option("de")
    await expect(page.get_by_role("heading", name="Laufende Gespräche")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "de"


async def test_the_first_load_stays_under_200_kilobytes(page: Page, stub: PanelStub) -> None:
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(request.url.removeprefix(stub.url)))
    await page.reload()
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    files = [STATIC / path.removeprefix("/static/") for path in loaded if path.startswith("/static/")]
    assert STATIC / "app.js" in files
    bodies = [(file.suffix, file.read_bytes()) for file in [*files, STATIC / "index.html"]]
    size = sum(len(body) if suffix == ".woff2" else len(gzip.compress(body)) for suffix, body in bodies)
    assert 30_000 < size < 200_000
