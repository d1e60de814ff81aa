"""How smooth the panel stays in a real Chromium while calls change: `python -m tests.bench.frames --json`.

- `frame_ms`: from one drawn frame to the next (16.7 is the screen's own pace); `over_50_ms`: how many took longer
- `long_tasks_ms`: the browser's own list of what blocked the page for more than 50 ms, while deltas came
- `click_ms`: from a click on a call of the list, meanwhile, to the drawn frame that shows it; `key_ms`: the same for
  the key that goes to the next call. By the browser's event timing, which has steps of 8 ms and leaves out what took
  less than 16; `pressed`: how many of both there were in all
- `first_paint_ms`, `loaded_kb`: the first visit, with an empty cache; packed as the service packs it
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from playwright.async_api import Page, async_playwright, expect

from tests.browser.panel_stub import ARGUMENTS, CHROMIUM, STATIC, PanelStub
from tests.support.figures import spread
from web import pages

SECONDS = 10
PRESSES_PER_S = 4
WATCH = """() => {
  globalThis.gaps = [];
  globalThis.long = [];
  new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => Math.round(one.duration))))
    .observe({ type: "longtask" });
  globalThis.presses = [];
  new PerformanceObserver((list) => presses.push(...list.getEntries().map((one) => [one.name, one.duration])))
    .observe({ type: "event", durationThreshold: 16 });
  let last = 0;
  const frame = (now) => {
    if (last) gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always so)")
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--per-s", type=int, default=50, help="changes per second")
    options = parser.parse_args(arguments)
    print(json.dumps(asyncio.run(measured(options.calls, options.per_s))))
    return 0


async def measured(count: int, per_s: int) -> dict[str, Any]:
    """The whole object."""
    async with PanelStub(logged_in=True) as stub, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 720})
        loaded: set[str] = set()
        page.on("request", lambda request: loaded.add(request.url.removeprefix(stub.url)))
        await page.goto(stub.url)
        await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
        paint = await page.evaluate(PAINT)
        gaps, long, presses = await _under_load(page, stub, count, per_s)
        await browser.close()
    return {
        "calls": count,
        "deltas_per_s": per_s,
        "seconds": SECONDS,
        "frame_ms": spread(gaps),
        "over_50_ms": sum(gap > 50 for gap in gaps),
        "long_tasks_ms": long,
        "pressed": PRESSES_PER_S * SECONDS,
        "click_ms": spread([duration for name, duration in presses if name == "click"]),
        "key_ms": spread([duration for name, duration in presses if name == "keydown"]),
        "first_paint_ms": None if paint is None else round(paint),
        "loaded_kb": round(_packed(loaded) / 1000, 1),
    }


async def _under_load(
    page: Page, stub: PanelStub, count: int, per_s: int
) -> tuple[list[float], list[int], list[tuple[str, float]]]:
    """Frame times, long tasks and presses while calls change, once the list is there."""
    calls = [stub.add_call(f"+49 30 {number:07d}", f"Caller {number}", age=number) for number in range(count)]
    await page.reload()
    await expect(page.get_by_test_id("call-row")).to_have_count(count, timeout=60_000)
    await page.wait_for_timeout(1000)
    await page.evaluate(WATCH)
    clock = asyncio.get_running_loop()
    pressing = asyncio.create_task(_press(page))
    began = clock.time()
    for number in range(per_s * SECONDS):
        call = calls[(number * 37) % count]
        match number % 3:
            case 0:
                await stub.say(call, "caller", f"Sentence {number}", final=False)
            case 1:
                await stub.push({"kind": "talking", "call": call, "role": "ai", "on": number % 2 == 0})
            case _:
                await stub.update(call, queue=f"queue {number % 5}")
        await asyncio.sleep(max(0.0, began + (number + 1) / per_s - clock.time()))
    await pressing
    gaps, long, presses = await page.evaluate("[gaps, long, presses]")
    return list(gaps), list(long), list(presses)


async def _press(page: Page) -> None:
    """By turns a click on another call of those in sight, and the key for the next one."""
    rows = page.get_by_test_id("call-row")
    for number in range(PRESSES_PER_S * SECONDS):
        await asyncio.sleep(1 / PRESSES_PER_S)
        if number % 2:
            await page.keyboard.press("j")
        else:
            await rows.nth(number // 2 % 4).click()


def _packed(loaded: set[str]) -> int:
    """Bytes of these files as the service sends them to a browser that takes gzip."""
    files = pages.load(STATIC)
    names = {path.removeprefix("/static/") for path in loaded if path.startswith("/static/")} | {"index.html"}
    return sum(len(file.packed or file.body) for name, file in files.items() if name in names)


if __name__ == "__main__":
    sys.exit(main())
