"""The panel for those who see it large, do not see it, or have no mouse; on the scripted server."""

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from .panel_stub import CHROMIUM, PanelStub
from .states import KEPT, STATES, UNPLUGGED, enter
from .steps import AUDIBLE, banner, select, take_over

LARGE = {"width": 640, "height": 360}
"""What a screen of 1280x720 is at 200 %."""
PHONE = {"width": 390, "height": 844}

# In sight means: at its middle lies the control itself, or a part of it.
AS_IT_IS = """control => {
  const { left, right, top, bottom } = control.getBoundingClientRect();
  const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight && control.contains(there);
}"""
IN_SIGHT = f"""control => {{
  control.scrollIntoView({{ block: "nearest" }});
  return ({AS_IT_IS})(control);
}}"""

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def hidden(controls: Locator) -> list[str]:
    """Those of the visible controls that cannot be brought into sight."""
    return [
        str(await control.evaluate("control => control.outerHTML.slice(0, 120)"))
        for control in await controls.filter(visible=True).all()
        if not await control.evaluate(IN_SIGHT)
    ]


@pytest.mark.parametrize("name", ["login", "read-along", "emergencies", "live", "wrap-up", "udp-blocked", "long-names"])
async def test_at_twice_the_size_everything_can_be_reached(browser: Browser, stub: PanelStub, name: str) -> None:
    context, page = await enter(browser, stub)
    await STATES[name](page, stub)
    await page.set_viewport_size({"width": LARGE["width"], "height": LARGE["height"]})
    controls = page.locator("button, input, select, [role=log]")
    assert await controls.filter(visible=True).count() > 0
    assert await hidden(controls) == []
    if name != "login":
        await page.get_by_label("Back to the list").click()
        assert await page.get_by_test_id("call-row").filter(visible=True).count() > 0
        assert await hidden(controls) == []
    await context.close()


async def test_going_off_duty_stays_in_sight_whatever_the_line_has_to_tell(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    for name in ("Carla Rossi", "Ben Ortiz"):
        await stub.colleague(call, name, "monitor")
    await stub.quality(lost=0.084, jitter_ms=61.0, recovered=312)
    await expect(page.get_by_test_id("quality")).to_contain_text("8.4 % lost")
    await page.get_by_test_id("quality-details").locator("summary").click()
    assert await page.get_by_test_id("duty-off").evaluate(AS_IT_IS)
    assert await page.get_by_test_id("quality-details").locator("dd").last.evaluate(IN_SIGHT)
    assert await page.get_by_test_id("duty-off").evaluate(AS_IT_IS)


async def test_everybody_in_the_call_is_named_on_a_phone(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.colleague(call, "Carla Rossi", "monitor")
    await stub.colleague(call, "Ben Ortiz", "whisper")
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    people = page.locator('[data-fact="listeners"] .value')
    await expect(people).to_contain_text("Ben Ortiz whispering")
    assert await people.evaluate(
        "all => all.scrollWidth <= all.clientWidth && all.scrollHeight <= all.clientHeight + 1"
    )


async def test_on_a_phone_the_focus_goes_into_the_call_and_back(page: Page, stub: PanelStub) -> None:
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    row = page.locator(f'[data-call="{call}"]')
    await row.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Maria Keller")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(row).to_be_focused()


async def test_the_focus_goes_along_the_list_with_the_arrows(page: Page, stub: PanelStub) -> None:
    calls = [stub.add_call(f"+49 30 555014{number}", "", age=90 - number) for number in range(3)]
    for call in calls:
        await stub.update(call)
    await select(page, calls[0])
    for call in calls[1:]:
        await page.keyboard.press("ArrowDown")
        await expect(page.locator(f'[data-call="{call}"]')).to_be_focused()
        await expect(page.locator(f'[data-call="{call}"]')).to_have_attribute("aria-current", "true")


async def test_what_is_read_out_is_my_part_not_every_call_that_comes(page: Page, stub: PanelStub) -> None:
    told = page.get_by_test_id("banner-told")
    await expect(told).to_have_text("OFF DUTY. Your microphone is closed.")
    await page.evaluate(
        """() => { globalThis.spoken = 0;
        const seen = new MutationObserver(all => { spoken += all.length; });
        for (const live of document.querySelectorAll("tk-topbar [role=status], tk-banner [role=status]"))
            seen.observe(live, { childList: true, characterData: true, subtree: true }); }"""
    )
    for number in range(3):
        await stub.update(stub.add_call(f"+49 30 555014{number}", ""))
    await expect(page.get_by_test_id("banner")).to_contain_text("The AI handles 3 calls.")
    assert await page.evaluate("spoken") == 0
    assert await page.get_by_test_id("lamp").get_attribute("role") == "img"
    await take_over(page, stub)
    await expect(told).to_have_text("YOU ARE LIVE. Maria Keller hears you. Aurora is silent and listens along.")
    await expect(page.get_by_test_id("transcript")).to_have_attribute("aria-live", "off")


async def test_a_microphone_that_is_pulled_out_is_said_until_there_is_another(page: Page, stub: PanelStub) -> None:
    await page.evaluate(KEPT)
    await take_over(page, stub)
    await page.evaluate("() => { globalThis.plugged = navigator.mediaDevices.getUserMedia; }")
    await page.evaluate(UNPLUGGED)
    frame = page.get_by_test_id("banner")
    await expect(frame).to_have_attribute("data-lost", "true")
    await expect(frame).to_contain_text("NOBODY HEARS YOU")
    await expect(page.locator('.hearing [data-who="me"]')).to_have_attribute("data-open", "false")
    await page.evaluate("() => { navigator.mediaDevices.getUserMedia = plugged; }")
    await page.locator('[data-fault="microphone"]').get_by_role("button").click()
    await expect(frame).not_to_have_attribute("data-lost", "true")
    await expect(frame).to_contain_text("YOU ARE LIVE")
    assert await stub.loudest(2.5) > AUDIBLE  # the beep of a second


async def test_an_ai_that_had_hung_up_is_not_said_to_go_on(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.end_engagement(call, "ai-fallback")
    await banner(page, "idle")
    await expect(page.get_by_test_id("toast")).to_contain_text("Aurora had hung up")
    await select(page, call)
    await expect(page.get_by_test_id("banner")).not_to_contain_text("speaks with")


async def test_larger_text_in_the_browsers_settings_acts_as_its_zoom_does(browser: Browser, stub: PanelStub) -> None:
    """Twice the text on a screen of 1280x720 is a screen of 640x360, as far as the layout goes."""
    context, page = await enter(browser, stub)
    await take_over(page, stub)
    devtools = await context.new_cdp_session(page)
    await devtools.send("Page.setFontSizes", {"fontSizes": {"standard": 32}})
    await expect(page.locator("body")).to_have_css("font-size", "28px")
    await expect(page.get_by_test_id("banner")).to_have_css("min-height", "92px")
    for control in ("mode-takeover", "return-submit", "mute", "hold", "end-call"):
        assert await page.get_by_test_id(control).evaluate(IN_SIGHT), control
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()


async def test_a_message_does_not_cover_the_dialog_that_is_opened_after_it(page: Page, stub: PanelStub) -> None:
    await page.keyboard.press("a")
    toast = page.get_by_test_id("toast")
    await expect(toast).to_have_count(1)
    await page.keyboard.press("q")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    said, asked = await toast.bounding_box(), await dialog.bounding_box()
    assert said
    assert asked
    assert said["y"] + said["height"] <= asked["y"]
