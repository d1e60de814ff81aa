"""What the panel says, and does, when something between it and the caller breaks. Real Chromium, scripted server."""

import asyncio

import pytest
from playwright.async_api import Dialog, Page, expect

from .panel_stub import CHROMIUM, PanelStub
from .steps import AUDIBLE, banner, select, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def test_a_page_that_was_put_to_sleep_says_so(page: Page, stub: PanelStub) -> None:
    await stub.update(stub.add_call("+49 30 5550142", "Maria Keller"))
    await expect(page.get_by_test_id("call-row")).to_have_count(1)
    # A headless page is never hidden, so the browser does not freeze it; these are the events of one that does.
    await page.evaluate("document.dispatchEvent(new Event('freeze'))")
    await asyncio.sleep(2)
    await page.evaluate("document.dispatchEvent(new Event('resume'))")
    await expect(page.get_by_test_id("toast").get_by_text("This page was asleep")).to_be_visible(timeout=15000)


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


async def test_what_says_that_the_network_is_gone_needs_no_network(page: Page, stub: PanelStub) -> None:
    await page.context.set_offline(True)
    await stub.cut_events()
    await banner(page, "offline")
    for icon in ("tk-banner .badge use", "tk-topbar .lamp use"):
        drawn = await page.locator(icon).evaluate("icon => icon.getBBox().width")
        assert drawn > 0, icon


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


async def test_a_pbx_that_is_away_is_said(page: Page, stub: PanelStub) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    await stub.pbx("alpha", up=False, why="connection refused")
    await expect(page.locator('[data-fault="pbx"]')).to_contain_text("connection refused")
    await expect(page.get_by_test_id("mode-takeover")).to_have_attribute("aria-disabled", "true")
    await stub.pbx("alpha", up=True)
    await expect(page.locator('[data-fault="pbx"]')).to_have_count(0)


async def test_a_reloaded_page_says_what_became_of_the_call(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)

    async def leave(dialog: Dialog) -> None:
        await dialog.accept()

    page.on("dialog", leave)
    await page.reload()
    await stub.end_engagement(call, "browser-gone")
    toast = page.get_by_test_id("toast")
    await expect(toast).to_contain_text("Maria Keller was given back to Aurora at once.")


@pytest.mark.parametrize("key", ["e", "x", "f"])
async def test_a_key_that_needs_the_server_says_when_there_is_none(page: Page, stub: PanelStub, key: str) -> None:
    await take_over(page, stub)
    stub.refuse_events = True
    await stub.cut_events()
    await banner(page, "offline")
    await page.keyboard.press(key)
    await expect(page.get_by_test_id("toast").get_by_text("Not connected to the server.")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_have_count(0)
