"""What a caller understands of an agent, and how late: `python -m tests.bench.sound --json`.

Voices of the evaluation set's talkers, through a browser, a network (explicit patterns of loss and jitter, both ways),
a media worker and a real Asterisk, to a phone with G.711.

- `stoi`: intelligibility of what the caller hears against what was said, mean of the sentences; `stoi_of_codec` is the
  phone's G.711 alone. `ours` and `stock` (aiortc's own path) have a browser made of aiortc, which sends FEC when it is
  told of loss; `chromium` is a real one, with its own reaction to loss
- `suppression` and `plain`: the voice chain on and off
- `mic_to_caller_ms`: from the browser getting the sound to the phone having its packet, first sample to first sample,
  at 8 kHz; `chromium` has the 20 ms of its own packets in it
- `caller_to_browser_ms`: from the phone's packet to the browser's; `chromium_buffer_ms` comes on top of it
- `late_ms`: the 99th percentile of the worker's ticks while it was measured: a busy machine spoils every figure
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
from playwright.async_api import async_playwright

from connector.domain.calls import Mode
from media.frame import RATE, Frame
from media.messages import Tier
from media.pool import MediaSettings, Pool
from tests.browser.panel_stub import ARGUMENTS, CHROMIUM
from tests.support.adapter import Watched, watched
from tests.support.chromium_leg import chromium_leg
from tests.support.figures import spread
from tests.support.headset import Headset
from tests.support.lab import Lab
from tests.support.network import Road, jittery, lossy
from tests.support.sentences import sentences
from tests.support.sound_path import TOLD_S, Said, in_call, patch, sound_path
from tests.support.stoi import resampled, stoi
from web.demo import asterisk
from web.demo.tones import CALLER_HZ, ulaw_decode, ulaw_encode
from web.demo.voice import Silence, Tone

ROADS: Mapping[str, Road | None] = {
    "clean": None,
    "loss5": lossy(0.05),
    "loss10": lossy(0.10),
    "jitter60": jittery(0.060),
}
TONES = 20


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def mean(said: Sequence[Said]) -> float:
    return round(statistics.fmean(one.stoi for one in said), 3)


def told(what: str, said: Sequence[Said]) -> dict[str, Any]:
    """One row."""
    delays = spread(one.delay_ms for one in said)
    say(f"{what}: STOI {mean(said)}, worst {min(one.stoi for one in said):.3f}, delay {delays}")
    return {"stoi": mean(said), "worst": round(min(one.stoi for one in said), 3), "mic_to_caller_ms": delays}


def codec_alone(voices: Sequence[Frame]) -> float:
    """What G.711 at 8 kHz leaves."""
    found = []
    for voice in voices:
        clean = voice.astype(float)
        narrow = np.rint(resampled(clean, len(clean) // 2)).astype(np.int16)
        found.append(stoi(clean, resampled(ulaw_decode(ulaw_encode(narrow)).astype(float), len(clean)), RATE))
    return round(statistics.fmean(found), 3)


async def pooled(stack: AsyncExitStack, tier: Tier) -> Pool:
    return await stack.enter_async_context(Pool(MediaSettings(tier=tier, max_lateness_ms=10_000)))


async def aiortc(lab: Lab, adapter: Watched, tier: Tier, voices: Sequence[Frame], roads: Sequence[str]) -> Any:
    """Rows by suppression and network."""
    rows: dict[str, dict[str, Any]] = {}
    async with AsyncExitStack() as stack:
        pool = await pooled(stack, tier)
        for kind in ("suppression", "plain"):
            rows[kind] = {}
            for name in roads:
                on = kind == "suppression"
                async with sound_path(lab, adapter, pool, ROADS[name], suppression=on) as path:
                    rows[kind][name] = told(f"{tier} {kind} {name}", await path.hear(voices))
        rows["late_ms"] = {"p99": pool.stats()[0].lateness_p99_ms}
    return rows


async def chromium(lab: Lab, adapter: Watched, voices: Sequence[Frame], roads: Sequence[str]) -> Any:
    """Rows by network, the voice chain on."""
    rows: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        pool = await pooled(stack, "fast")
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        stack.push_async_callback(browser.close)
        for name in roads:
            async with (
                chromium_leg(browser, pool, ROADS[name], speaks=True) as leg,
                in_call(lab, adapter, pool, leg.leg, leg, leg.network) as path,
            ):
                await asyncio.sleep(TOLD_S)
                rows[name] = told(f"chromium {name}", await path.hear(voices))
                facts = await leg.facts()
                rows[name]["chromium_buffer_ms"] = round(facts.buffer_ms, 1)
                rows[name]["chromium_concealed"] = round(facts.concealed, 4)
    return rows


async def caller_to_browser(lab: Lab, adapter: Watched) -> Any:
    """Milliseconds from a tone's first packet at the phone to its first packet at the browser."""
    found: list[float] = []
    async with AsyncExitStack() as stack:
        pool = await pooled(stack, "fast")
        ear = await stack.enter_async_context(Headset())
        opened = await pool.open_leg(await ear.offer(), owner="bench")
        await ear.accept(opened.answer)
        call = await lab.call("T1")
        known = await adapter.call(call)
        engaged = await adapter.pbx.engage(known, await patch(pool, opened.leg, 8000), Mode.TAKEOVER)
        for _ in range(TONES):
            await adapter.pbx.renew(engaged)
            call.caller.source = Silence()
            await asyncio.sleep(0.5)
            packets, began = call.caller.media.sent, time.monotonic()
            call.caller.source = Tone(CALLER_HZ)
            while call.caller.media.sent == packets:  # noqa: ASYNC110  the phone tells nobody that it sends
                await asyncio.sleep(0.001)
            began = time.monotonic()
            await asyncio.sleep(0.5)
            heard = ear.recording(began - 0.1).trace(CALLER_HZ, began - 0.02).first()
            if heard is not None:
                found.append((heard - began) * 1000)
        await adapter.pbx.release(engaged)
        await call.hangup()
    say(f"caller to browser: {spread(found)}")
    return spread(found)


async def bench(each: int, roads: Sequence[str]) -> dict[str, Any]:
    """Everything, as one JSON object."""
    voices = [voice for some in sentences().values() for voice in some[:each]]
    installation = await asterisk.provide(say)
    async with Lab(installation) as lab, watched(lab, deadman_s=60.0) as adapter:
        ours = await aiortc(lab, adapter, "fast", voices, roads)
        back = await caller_to_browser(lab, adapter)
        real = await chromium(lab, adapter, voices, roads) if CHROMIUM else None
        stock = await aiortc(lab, adapter, "stock", voices, [name for name in ("clean", "loss10") if name in roads])
    return {
        "bench": "sound",
        "sentences": len(voices),
        "stoi_of_codec": codec_alone(voices),
        "ours": ours,
        "stock": stock,
        "chromium": real,
        "caller_to_browser_ms": back,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sound", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--each", type=int, default=2, help="sentences of each of the four talkers, at most 3")
    parser.add_argument("--roads", default=",".join(ROADS), help="which networks, by comma (all)")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(bench(arguments.each, arguments.roads.split(",")))))


if __name__ == "__main__":
    main()
