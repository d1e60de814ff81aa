"""What one agent leg costs and how late the PBX hears it: `python -m tests.bench.media_leg [--json]`.

Clicks in the microphone are found again at the PBX's end of a patch, all on one clock. The delay is from handing a
packet to the browser's RTP sender to the PBX receiving the sound (first sample to first sample), so it has neither
the 20 ms of packetising nor the PBX's mixer in it. CPU is the worker's own, per leg with its patch open.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from media.frame import SILENCE, Frame
from media.pool import MediaSettings, Pool
from tests.support.browser_leg import BrowserLeg, tone
from tests.unit.media.pbx_end import PbxEnd

_EVERY = 25
"Frames between two bursts."
_BURST = 3


def bursts(number: int) -> Frame:
    """60 ms of tone every half second."""
    return tone(1000, 0.5)(number) if number % _EVERY < _BURST else SILENCE


def delays(browser: BrowserLeg, pbx: PbxEnd, since: float = 0.0) -> list[float]:
    """Milliseconds from each burst's packet to its first sample at the PBX, for the bursts after a moment."""
    found = []
    samples = pbx.endpoint.rate // 50
    sent = browser.microphone.sent_at
    for number in range(0, len(sent), _EVERY):
        if sent[number] < since:
            continue
        window = [n for n, at in enumerate(pbx.heard_at) if 0 <= at - sent[number] < 0.4]
        for n in window:
            loud = np.flatnonzero(np.abs(pbx.heard[n]) > 3000)
            before = np.abs(pbx.heard[n - 1]).max() if n else 32767
            if len(loud) and before < 3000:
                found.append((pbx.heard_at[n] - sent[number]) * 1000 + loud[0] * 20 / samples)
                break
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(legs: int, seconds: float, *, loss: float, suppression: bool) -> dict[str, float | int]:
    """One line of the table."""
    async with AsyncExitStack() as stack:
        settings = MediaSettings(suppression=suppression, max_lateness_ms=10_000)
        pool = await stack.enter_async_context(Pool(settings))
        pid = pool.stats()[0].pid
        browsers, ends = [], []
        for _ in range(legs):
            browser = await stack.enter_async_context(BrowserLeg(bursts, loss=loss))
            opened = await pool.open_leg(await browser.offer(), owner="bench")
            await browser.accept(opened.answer)
            async with asyncio.timeout(15):
                while not pool.alive(opened.leg):  # noqa: ASYNC110  as the readiness gate asks
                    await asyncio.sleep(0.05)
            ends.append(await stack.enter_async_context(PbxEnd(await pool.open_patch(opened.leg))))
            browsers.append(browser)
        await asyncio.sleep(2)
        before, began = cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(seconds)
        used = (cpu_seconds(pid) - before) / (time.monotonic() - began)
        found = [delay for browser, end in zip(browsers, ends, strict=True) for delay in delays(browser, end)]
        stats = pool.stats()[0]
        return {
            "legs": legs,
            "loss": loss,
            "suppression": suppression,
            "bursts": len(found),
            "mic_to_pbx_ms_p50": round(statistics.median(found), 1),
            "mic_to_pbx_ms_p95": round(statistics.quantiles(found, n=20)[-1], 1),
            "mic_to_pbx_ms_max": round(max(found), 1),
            "cpu_ms_per_leg_and_second": round(used * 1000 / legs, 2),
            "tick_lateness_p99_ms": stats.lateness_p99_ms,
            "skipped_ticks": stats.skipped_ticks,
        }


async def run(legs: int, seconds: float) -> list[dict[str, float | int]]:
    return [
        await measure(legs, seconds, loss=loss, suppression=suppression)
        for loss, suppression in ((0.0, False), (0.0, True), (0.05, False))
    ]


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--legs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments.legs, arguments.seconds))
    if arguments.json:
        print(json.dumps({"bench": "media_leg", "cores": os.cpu_count(), "rows": rows}))
        return
    for row in rows:
        sys.stdout.write("  ".join(f"{key}={value}" for key, value in row.items()) + "\n")


if __name__ == "__main__":
    main()
