"""Every screen and state of the panel against the accessibility rules of axe-core: WCAG 2.2 AA and good practice."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from .panel_stub import CHROMIUM, PanelStub
from .states import STATES, enter

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {"phone": (390, 844), "desktop": (1280, 720)}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
    pytest.mark.skipif(not AXE.exists(), reason="no axe-core; `npm ci` installs it"),
]


async def violations(page: Page, rules: dict[str, object]) -> list[str]:
    """What axe-core finds on the page as it is now: rule, element and explanation."""
    found = await page.evaluate(
        """async rules => (await axe.run(document, { ...rules, resultTypes: ["violations"] })).violations.flatMap(
            one => one.nodes.map(node => `${one.id}: ${node.target} ${node.failureSummary}`))""",
        rules,
    )
    return [str(one) for one in found]


@pytest.mark.parametrize("name", STATES)
async def test_no_rule_is_broken(browser: Browser, stub: PanelStub, name: str) -> None:
    # axe-core is no script of the panel, so the panel's own policy would refuse it.
    context, page = await enter(browser, stub, bypass_csp=True)
    await STATES[name](page, stub)
    await page.evaluate(AXE.read_text())
    broken: dict[str, list[str]] = {}
    for size, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        # What lies under the way off duty, which stays in sight, is scrolled to, as by whoever wants to press it.
        await page.evaluate("document.querySelector('tk-line summary')?.scrollIntoView({ block: 'nearest' })")
        broken[size] = await violations(page, {"runOnly": RULES})
    await page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    for size, (width, height) in reversed(SIZES.items()):
        await page.set_viewport_size({"width": width, "height": height})
        broken[f"{size} in the dark"] = await violations(page, {"runOnly": ["color-contrast"]})
    await context.close()
    assert {where: what for where, what in broken.items() if what} == {}


async def test_the_rules_are_really_asked(browser: Browser, stub: PanelStub) -> None:
    context, page = await enter(browser, stub, bypass_csp=True)
    await page.evaluate(AXE.read_text())
    await page.evaluate("document.querySelector('[data-testid=logout]').removeAttribute('aria-label')")
    await page.evaluate("document.querySelector('[data-testid=logout]').removeAttribute('title')")
    await page.evaluate("document.querySelector('h1').style.color = '#999'")
    broken = await violations(page, {"runOnly": RULES})
    await context.close()
    assert sorted({one.split(":")[0] for one in broken}) == ["button-name", "color-contrast"]
