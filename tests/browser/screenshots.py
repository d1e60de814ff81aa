"""Photographs every state of the panel: ``python -m tests.browser.screenshots [STATE...]`` writes docs/screenshots/.

Each state at desktop width in both themes and at phone width in the theme that alternates from state to state.
"""

import asyncio
import shutil
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from playwright.async_api import async_playwright, expect

from .panel_stub import ARGUMENTS, CHROMIUM, PanelStub
from .states import STATES, enter

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
RATE = 48_000
SETTLED_MS = 1200
"""Enough for the meters to show something."""


async def main(names: list[str]) -> None:
    expect.set_options(timeout=30_000)  # on a machine that does other things too
    unknown = set(names) - set(STATES)
    if unknown:
        sys.exit(f"no state named {', '.join(sorted(unknown))}; there are {', '.join(STATES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "voice.wav"
        write_voice(sound)
        await photograph(names, f"--use-file-for-fake-audio-capture={sound}")


async def photograph(names: list[str], capture: str) -> None:
    """Each state that is named, or all."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, capture])
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
                await pack(*FOLDER.glob(f"{name}-*.png"))
                print(name)
        await browser.close()


async def pack(*pictures: Path) -> None:
    """A third of the size in 255 colours, where ImageMagick is installed: a panel has few."""
    if convert := shutil.which("convert"):
        for picture in pictures:
            options = ("-dither", "None", "-colors", "255", "-strip")
            process = await asyncio.create_subprocess_exec(convert, picture, *options, f"PNG8:{picture}")
            assert await process.wait() == 0


def write_voice(path: Path) -> None:
    """Something that a meter takes for a voice in a quiet room: Chromium's own beep is as loud as can be."""
    time = np.arange(10 * RATE) / RATE
    voiced = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time), 0, 1) * (np.sin(2 * np.pi * 0.35 * time) > -0.6)
    sound = 0.12 * voiced * syllables + 0.0005 * np.random.default_rng(1).standard_normal(len(time))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * np.clip(sound, -1, 1)).astype("<i2").tobytes())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
