"""Administrators manage people and tokens in the panel. Real Chromium, the real web over a real store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.unit.web.house import PASSWORD, House

from .panel_stub import CHROMIUM

NEW = "another long password"

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


@asynccontextmanager
async def panel(browser: Browser, house: House, username: str, password: str = PASSWORD) -> AsyncIterator[Page]:
    """The panel after a log-in with a password."""
    context = await browser.new_context(viewport={"width": 1280, "height": 720}, locale="en-GB")
    page = await context.new_page()
    await page.goto(f"{house.url}/login")
    await page.get_by_test_id("login-username").fill(username)
    await page.get_by_test_id("login-password").fill(password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    yield page
    await context.close()


async def test_an_administrator_adds_changes_and_removes_a_person(browser: Browser, tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        await house.account("root", "admin")
        async with panel(browser, house, "root") as page:
            await page.get_by_test_id("people").click()
            row = page.locator('[data-testid="person-row"][data-name="anna"]')
            await page.get_by_test_id("new-users").click()
            await page.get_by_test_id("people-username").fill("anna")
            await page.get_by_test_id("people-name").fill("Anna <b>Berg</b>")
            await page.get_by_test_id("people-role").select_option("supervisor")
            await page.get_by_test_id("people-queues").fill("sales, support")
            await page.get_by_test_id("people-password").fill(PASSWORD)
            await page.keyboard.press("Enter")
            await expect(row).to_contain_text("Anna <b>Berg</b>")
            await expect(row).to_contain_text("anna · Supervisor · Queues: sales, support")

            await row.get_by_test_id("person-change").click()
            await page.get_by_test_id("people-role").select_option("agent")
            await page.get_by_test_id("people-queues").fill("*")
            await page.get_by_test_id("people-password").fill(NEW)
            await page.get_by_test_id("people-save").click()
            await expect(row).to_contain_text("anna · Agent · All calls")
            async with panel(browser, house, "anna", NEW) as hers:
                await expect(hers.get_by_test_id("people")).to_be_hidden()

            await row.get_by_test_id("person-change").click()
            await page.get_by_test_id("person-remove").click()  # asks once more
            await expect(row).to_be_visible()
            await page.get_by_test_id("person-remove").click()
            await expect(row).to_have_count(0)
            assert [one.username for one in await house.store.accounts.list()] == ["root"]


async def test_nobody_takes_ones_own_rights_and_a_refusal_keeps_what_was_typed(
    browser: Browser, tmp_path: Path
) -> None:
    async with House(tmp_path) as house:
        await house.account("root", "admin")
        async with panel(browser, house, "root") as page:
            await page.get_by_test_id("people").click()
            await page.get_by_test_id("person-change").click()
            await expect(page.get_by_test_id("people-password")).to_be_focused()
            await expect(page.get_by_test_id("people-role")).to_have_count(0)
            await expect(page.get_by_test_id("person-remove")).to_have_count(0)
            await page.get_by_test_id("new-users").click()
            await page.get_by_test_id("people-username").fill("root")
            await page.get_by_test_id("people-password").fill(PASSWORD)
            await page.get_by_test_id("people-save").click()
            await expect(page.get_by_test_id("toast")).to_contain_text("exists already")
            await expect(page.get_by_test_id("people-username")).to_have_value("root")


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(browser: Browser, tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        await house.account("root", "admin")
        async with panel(browser, house, "root") as page:
            await page.get_by_test_id("people").click()
            row = page.locator('[data-testid="token-row"][data-name="my-platform"]')
            await page.get_by_test_id("new-tokens").click()
            await page.get_by_test_id("people-token-name").fill("my-platform")
            await page.get_by_test_id("people-role").select_option("metrics")
            await expect(page.get_by_test_id("people-ai")).to_be_hidden()
            await expect(page.get_by_test_id("people-queues")).to_be_hidden()
            await page.get_by_test_id("people-role").select_option("ai")
            await page.get_by_test_id("people-ai").fill("acme")
            await page.get_by_test_id("people-tenants").fill("globex")
            await page.get_by_test_id("people-save").click()
            await expect(row).to_contain_text("AI · acme · Tenants: globex")
            secret = await page.get_by_test_id("token-secret").inner_text()
            bot = await house.visitor(Authorization=f"Bearer {secret}")
            assert (await bot.ask("GET", "session")).body["tenants"] == ["globex"]

            await page.get_by_test_id("people-close").click()
            await page.get_by_test_id("people").click()
            await expect(row).to_be_visible()
            assert secret not in await page.content()
            await row.get_by_test_id("token-revoke").click()
            await row.get_by_test_id("token-revoke").click()
            await expect(row).to_have_count(0)
            await house.guard.recheck()
            assert (await bot.ask("GET", "session")).status == 401


async def test_ones_own_password_is_changed_by_keyboard_and_only_ones_other_sessions_end(
    browser: Browser, tmp_path: Path
) -> None:
    async with House(tmp_path) as house:
        await house.account("anna")
        async with panel(browser, house, "anna") as page, panel(browser, house, "anna") as other:
            await page.get_by_test_id("password").focus()
            await page.keyboard.press("Enter")
            await expect(page.get_by_test_id("password-old")).to_be_focused()
            await page.keyboard.type("not my password")
            for secret in (NEW, f"{NEW}!"):
                await page.keyboard.press("Tab")
                await page.keyboard.type(secret)
            await page.keyboard.press("Enter")  # the browser says that they differ
            again = page.get_by_test_id("password-again")
            assert await again.evaluate("field => field.validationMessage") == "The two new passwords differ."
            await again.fill(NEW)
            await page.keyboard.press("Enter")
            await expect(page.get_by_test_id("password-wrong")).to_have_text("The present password is wrong.")
            await expect(page.get_by_test_id("password-old")).to_be_focused()
            await page.keyboard.type(PASSWORD)  # what was wrong is selected
            await page.keyboard.press("Enter")
            await expect(page.get_by_test_id("toast")).to_contain_text("Your password is changed.")
            await expect(page.get_by_test_id("password")).to_be_focused()
            await house.guard.recheck()
            await expect(other.get_by_test_id("login-username")).to_be_visible()
            await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
        async with panel(browser, house, "anna", NEW):
            pass
