"""What most tests of the panel begin with."""

from playwright.async_api import Page, expect

from .panel_stub import Json, PanelStub

AUDIBLE = 1000
"""Of 32767: well below the beep, well above a coder's idle noise."""


async def banner(page: Page, state: str, patience_ms: float = 15000) -> None:
    """Waits until the banner says so."""
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-state", state, timeout=patience_ms)


async def select(page: Page, call: str) -> None:
    """Opens a call's detail."""
    await page.locator(f'[data-call="{call}"]').click()


async def take_over(page: Page, stub: PanelStub) -> str:
    """The agent speaks with Maria Keller; returns the call's id."""
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    return call


def posted(stub: PanelStub, end: str) -> list[Json]:
    """Bodies of the POST requests whose path ends so, in order."""
    return [body for method, path, body in stub.asked if method == "POST" and path.endswith(end)]
