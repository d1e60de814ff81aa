"""Where the focus is after a control that had it did its work and went away. Real Chromium, scripted server."""

import pytest
from playwright.async_api import Page, expect

from .panel_stub import CHROMIUM, PanelStub
from .steps import banner, select, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def press(page: Page, control: str) -> None:
    """Works a control by the keyboard alone."""
    await page.get_by_test_id(control).focus()
    await page.keyboard.press("Enter")


async def test_a_control_that_is_busy_keeps_the_focus(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    stub.slow = 0.2
    for held in ("true", None):
        await press(page, "hold")
        shown = page.get_by_test_id("banner")
        await (
            expect(shown).to_have_attribute("data-hold", held)
            if held
            else expect(shown).not_to_have_attribute("data-hold", "true")
        )
        await expect(page.get_by_test_id("hold")).to_be_focused()


@pytest.mark.parametrize(("presses", "asked"), [(2, [True, False]), (3, [True])])
async def test_who_presses_a_busy_hold_again_gets_what_was_wanted_last(
    page: Page, stub: PanelStub, presses: int, asked: list[bool]
) -> None:
    await take_over(page, stub)
    stub.slow = 0.5
    await press(page, "hold")
    for _ in range(presses - 1):
        await page.keyboard.press("h")
    shown = page.get_by_test_id("banner")
    await expect(shown).to_have_attribute("data-hold", "true")
    if not asked[-1]:
        await expect(shown).not_to_have_attribute("data-hold", "true")
    sent = [body for method, path, body in stub.asked if method == "PATCH" and "/engagements/" in path]
    assert sent == [{"hold": hold} for hold in asked]


async def test_after_the_return_the_focus_is_at_the_call_where_no_key_does_harm(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await press(page, "return-note")
    await banner(page, "resuming")
    heading = page.get_by_role("heading", name="Maria Keller")
    await expect(heading).to_be_focused()
    await page.get_by_test_id("wrap-up-outcome").select_option("resolved")
    await press(page, "wrap-up-note")
    await expect(page.get_by_test_id("wrap-up")).to_be_hidden()
    await expect(heading).to_be_focused()


async def test_after_leaving_the_focus_is_at_the_call(page: Page, stub: PanelStub) -> None:
    await stub.update(call := stub.add_call("+49 30 5550142", "Maria Keller"))
    await select(page, call)
    await page.get_by_test_id("mode-monitor").click()
    await banner(page, "listen")
    await press(page, "leave")
    await expect(page.get_by_role("heading", name="Maria Keller")).to_be_focused()


async def test_on_and_off_duty_the_focus_stays_at_the_own_line(page: Page, stub: PanelStub) -> None:
    for control in ("duty-on", "duty-off"):
        await press(page, control)
        await expect(page.get_by_test_id(control)).to_be_hidden()
        await expect(page.get_by_role("heading", name="Your line")).to_be_focused()


async def test_a_request_that_goes_away_leaves_the_focus_among_the_requests(page: Page, stub: PanelStub) -> None:
    await stub.update(call := stub.add_call("+49 30 5550142", "Maria Keller"))
    await stub.ask(call, "Wants a person", "urgent")
    await press(page, "emergency-withdraw")
    await expect(page.get_by_test_id("emergency")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Calls for a person")).to_be_focused()


async def test_after_help_was_asked_for_the_focus_is_at_the_call(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await press(page, "ask-help")
    await page.keyboard.type("Needs a doctor")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("ask-help")).to_be_hidden()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.get_by_role("heading", name="Maria Keller")).to_be_focused()


async def test_a_call_that_leaves_the_list_leaves_the_focus_there(page: Page, stub: PanelStub) -> None:
    await stub.update(call := stub.add_call("+49 30 5550142", "Maria Keller"))
    await page.locator(f'[data-call="{call}"]').focus()
    await stub.hang_up(call)
    await expect(page.get_by_test_id("call-row")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Live calls")).to_be_focused()


async def test_a_message_that_is_dismissed_gives_the_focus_back(page: Page, stub: PanelStub) -> None:
    await stub.update(call := stub.add_call("+49 30 5550142", "Maria Keller"))
    await select(page, call)
    await page.keyboard.press("r")
    await page.keyboard.press("a")
    toast = page.get_by_test_id("toast")
    await toast.get_by_role("button").focus()
    await page.keyboard.press("Enter")
    await expect(toast).to_have_count(0)
    await expect(page.get_by_role("heading", name="Maria Keller")).to_be_focused()


async def test_a_row_that_moves_up_takes_the_focus_along(page: Page, stub: PanelStub) -> None:
    calls = [stub.add_call(f"+49 30 555014{number}", "", age=90 - number) for number in range(3)]
    for call in calls:
        await stub.update(call)
    row = page.locator(f'[data-call="{calls[2]}"]')
    await row.focus()
    await stub.ask(calls[2], "Wants a person", "urgent")
    await expect(page.get_by_test_id("call-row").first).to_have_attribute("data-call", calls[2])
    await expect(row).to_be_focused()
