"""Photographs every state of the panel: ``python -m tests.browser.screenshots [STATE...]`` writes docs/screenshots/.

Each state at desktop width in both themes and at phone width in the theme that alternates from state to state.
"""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright

from .panel_stub import ARGUMENTS, CHROMIUM, PanelStub
from .states import STATES, enter

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SETTLED_MS = 1200
"""Enough for the meters to show something."""


async def main(names: list[str]) -> None:
    unknown = set(names) - set(STATES)
    if unknown:
        sys.exit(f"no state named {', '.join(sorted(unknown))}; there are {', '.join(STATES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for number, name in enumerate(STATES):
            if names and name not in names:
                continue
            async with PanelStub() as stub:
                context, page = await enter(browser, stub)
                await STATES[name](page, stub)
                await page.wait_for_timeout(SETTLED_MS)
                for theme in ("light", "dark"):
                    await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
                    await page.screenshot(path=FOLDER / f"{name}-{theme}.png")
                await page.emulate_media(color_scheme="dark" if number % 2 else "light")
                await page.set_viewport_size({"width": 390, "height": 844})
                await page.wait_for_timeout(200)
                await page.screenshot(path=FOLDER / f"{name}-phone.png")
                await context.close()
                print(name)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
