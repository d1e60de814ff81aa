"""What is shown of calls: the list, what was said, what is known of a call. Real Chromium, scripted server."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from .panel_stub import CHROMIUM, PanelStub
from .steps import banner, select, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


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


async def test_a_recorded_call_says_so(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller", recording="call-1.wav")
    await stub.update(call)
    await select(page, call)
    await expect(page.locator('[data-fact="recording"] .value')).to_have_text("Recording")
    await stub.update(call, recording="")
    await expect(page.locator('[data-fact="recording"]')).to_have_count(0)


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


async def test_the_list_says_whose_words_the_last_ones_are_and_who_lets_wait(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    row = page.get_by_test_id("call-row")
    await stub.say(call, "agent", "I have the refund here.")
    await expect(row).to_contain_text("You: I have the refund here.")
    await expect(row).to_contain_text("You are speaking")
    await page.keyboard.press("h")
    await expect(row).to_contain_text("You hold the caller")
    await page.keyboard.press("h")
    await page.keyboard.press("r")
    await banner(page, "idle")
    await stub.colleague(call, "Ben Ortiz", "takeover")
    await stub.say(call, "agent", "This is Ben.")
    await expect(row).to_contain_text("Ben Ortiz: This is Ben.")
    await expect(page.get_by_test_id("banner")).to_contain_text("The AI handles 0 calls.")


async def test_who_searches_opens_what_is_found_with_enter(page: Page, stub: PanelStub) -> None:
    for name in ("Maria Keller", "Jonas Wirth"):
        await stub.update(stub.add_call("+49 30 5550142", name))
    await page.keyboard.press("/")
    await page.keyboard.type("jonas")
    await expect(page.locator("[data-call]")).to_have_count(1)  # both have come, and one is found
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Jonas Wirth")).to_be_visible()
    await page.keyboard.press("1")  # a mode, no letter any more
    await banner(page, "listen")


async def test_a_colleague_who_speaks_is_in_who_hears_whom(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    words = page.get_by_test_id("hearing-words")
    await expect(words).to_be_hidden()
    ben = page.locator('[data-who="other"]')
    await expect(ben).to_be_hidden()
    await stub.colleague(call, "Ben Ortiz", "takeover")
    await expect(ben).to_have_text("Ben Ortiz")
    await expect(words).to_have_text("Maria Keller and Ben Ortiz hear each other. Aurora listens.")
    await page.get_by_test_id("mode-monitor").click()
    await expect(words).to_have_text("You hear Maria Keller and Ben Ortiz. Nobody hears you.")
    await expect(page.locator('[data-path="other>me"]')).to_have_attribute("data-on", "true")


async def test_who_listens_to_me_is_in_who_hears_whom(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.colleague(call, "Carla Rossi", "monitor")
    await stub.colleague(call, "Ben Ortiz", "whisper")
    await expect(page.locator('[data-who="other"]')).to_have_text("Ben Ortiz +1")
    for path, on in (("me>other", "true"), ("other>ai", "true"), ("other>caller", "false"), ("other>me", "false")):
        await expect(page.locator(f'[data-path="{path}"]')).to_have_attribute("data-on", on)
    told = "You and Maria Keller hear each other. Aurora hears both and is silent."
    await expect(page.get_by_test_id("hearing-words")).to_have_text(
        f"{told} Ben Ortiz whispering, Carla Rossi listening."
    )
    await stub.end_engagement(call, "released")
    await expect(page.locator('[data-who="other"]')).to_be_hidden()


async def test_what_happens_in_other_calls_costs_the_transcript_nothing(page: Page, stub: PanelStub) -> None:
    """To ask where its end is makes the browser lay out the whole page, which a click would wait for."""
    read, other = (stub.add_call("+49 30 5550142", name) for name in ("Maria Keller", "Jonas Wirth"))
    for call in (read, other):
        await stub.update(call)
    await select(page, read)
    await stub.say(read, "caller", "I was charged twice.")
    await expect(page.get_by_test_id("turn")).to_have_count(1)
    await page.evaluate(
        """() => { globalThis.looked = 0;
            const height = Object.getOwnPropertyDescriptor(Element.prototype, "scrollHeight");
            Object.defineProperty(document.querySelector("tk-transcript .log"), "scrollHeight",
                { get() { looked += 1; return height.get.call(this); } }); }"""
    )
    for number in range(10):
        await stub.say(other, "ai", f"Sentence {number}")
    await stub.push({"kind": "talking", "call": read, "role": "caller", "on": True})
    await expect(page.locator(f'[data-call="{other}"]')).to_contain_text("Sentence 9")
    assert await page.evaluate("looked") == 0
    await stub.say(read, "ai", "I am sorry to hear that.")
    await expect(page.get_by_test_id("turn")).to_have_count(2)
    assert await page.evaluate("looked") > 0


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


async def test_measured_times_are_shown(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.push({"kind": "measured", "call": call, "facts": {"heard_ms": 31.2, "gap_ms": 20.0}})
    await expect(page.get_by_test_id("measured")).to_have_text("Caller heard you after 31 ms, gap 20 ms")
