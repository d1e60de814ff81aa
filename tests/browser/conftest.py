"""One Chromium for all tests that need no microphone of their own; a context, a stub and a page for each test."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from web.demo.browser import write_tone
from web.demo.tones import AGENT_HZ

from .panel_stub import ARGUMENTS, CHROMIUM, PanelStub

PATIENCE_MS = 15_000
"""How long a state is waited for: a shared machine may be busy with something else."""
expect.set_options(timeout=PATIENCE_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def toned(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """A Chromium whose microphone is the agent's tone."""
    sound = tmp_path_factory.mktemp("microphone") / "tone.wav"
    write_tone(sound, AGENT_HZ)
    async with async_playwright() as playwright:
        capture = f"--use-file-for-fake-audio-capture={sound}"
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, capture])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stub() -> AsyncIterator[PanelStub]:
    async with PanelStub() as stub:
        yield stub


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, stub: PanelStub) -> AsyncIterator[Page]:
    """A logged-in panel at 1280x720; any error on its console, a CSP violation included, fails the test."""
    context = await browser.new_context(viewport={"width": 1280, "height": 720}, locale="en-GB")
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    stub.logged_in = True
    await page.goto(stub.url)
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    yield page
    await context.close()
    expected = re.compile(r"Failed to load resource|WebSocket connection")  # answers that a test asked to fail
    assert [error for error in errors if not expected.search(error)] == []
