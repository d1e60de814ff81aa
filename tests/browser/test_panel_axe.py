"""Every screen and state of the panel against the accessibility rules of axe-core: WCAG 2.2 AA and good practice."""

from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from .panel_stub import ARGUMENTS, CHROMIUM, PanelStub
from .states import STATES, enter

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {"desktop": (1280, 720), "phone": (390, 844)}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
    pytest.mark.skipif(not AXE.exists(), reason="no axe-core; `npm ci` installs it"),
]


async def violations(page: Page) -> list[str]:
    """What axe-core finds on the page as it is now: rule, element and explanation."""
    found = await page.evaluate(
        """async rules => (await axe.run(document, { runOnly: rules, resultTypes: ["violations"] })).violations.flatMap(
            one => one.nodes.map(node => `${one.id}: ${node.target} ${node.failureSummary}`))""",
        RULES,
    )
    return [str(one) for one in found]


@pytest.mark.parametrize("name", STATES)
async def test_no_rule_is_broken(name: str) -> None:
    async with PanelStub() as stub, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        # axe-core is no script of the panel, so the panel's own policy would refuse it.
        context, page = await enter(browser, stub, bypass_csp=True)
        await STATES[name](page, stub)
        await page.evaluate(AXE.read_text())
        broken: dict[str, list[str]] = {}
        for size, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
                broken[f"{size} {scheme}"] = await violations(page)
        await context.close()
        await browser.close()
    assert {where: what for where, what in broken.items() if what} == {}


async def test_the_rules_are_really_asked() -> None:
    async with PanelStub() as stub, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        _, page = await enter(browser, stub, bypass_csp=True)
        await page.evaluate(AXE.read_text())
        await page.evaluate("document.querySelector('[data-testid=logout]').removeAttribute('aria-label')")
        await page.evaluate("document.querySelector('[data-testid=logout]').removeAttribute('title')")
        broken = await violations(page)
        await browser.close()
    assert [one.split(":")[0] for one in broken] == ["button-name"]
