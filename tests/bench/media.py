"""What an agent's line costs, delays and loses, and stock aiortc beside it: `python -m tests.bench.media --json`.

Real workers, browsers made of aiortc, the PBX's end of an AudioSocket, all on one clock. Networks are explicit
patterns on the browser's packets: `loss1`, `loss5`, `loss10` (the same packets each run) and `jitter60` (0 to 60 ms
each, so they overtake each other).

- `cpu_ms_per_s`: of the worker, per session with an open patch and the voice chain on. `sessions_per_core` is
  extrapolated from it (`basis`), as the browsers of a full worker would need more cores than a machine has
- `mic_to_pbx_ms`: from handing a packet to the browser's sender to its first sample at the PBX; `pbx_to_browser_ms`:
  from the PBX's write to the packet's arrival at the browser (whose own buffer comes on top). Bursts of a tone; the
  voice chain is off, as a suppressor rightly removes them: its `voice_chain_ms` come on top of the first
- `frames_unconcealed_pct`: frames of 20 ms at the PBX with a hole in a steady tone: neither played, nor recovered,
  nor concealed
- `drift_200ppm_ok`: ten minutes of a sender 200 ppm too fast and too slow, in virtual time, stay below 60 ms and
  without a hole
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from aiortc.rtp import RtpPacket, is_rtcp

from media.audiosocket import AUDIO, encode
from media.frame import HOP, RATE, SAMPLES, Frame, to_frame
from media.jitter import JitterBuffer, Kind
from media.messages import Tier
from media.opus import Decoder
from media.pool import Endpoint, MediaSettings, Pool
from tests.bench.media_leg import bursts, cpu_seconds, delays
from tests.support.browser_leg import BrowserLeg, Source, power_at, tone
from tests.unit.media.pbx_end import PbxEnd
from tests.unit.media.synthetic import noise, speech

BUSY = 0.8
"Share of a core that the sessions of an extrapolation may take: the rest is for what comes at once."
SETTLE_S = 3.0
HOLE_DB = -30.0
HZ = 1000.0


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


# ---- networks ----

Network = Callable[[int], float | None]
"Number of the packet -> seconds that it takes, None if it is lost."


def lossy(share: float) -> Network:
    """Loses the same packets each time."""
    chance = random.Random(round(share * 1000))
    lost = [chance.random() < share for _ in range(10_000)]
    return lambda number: None if lost[number % len(lost)] else 0.0


def jittery(worst: float) -> Network:
    """Delays each packet by itself."""
    chance = random.Random(60)
    late = [chance.uniform(0, worst) for _ in range(10_000)]
    return lambda number: late[number % len(late)]


NETWORKS: dict[str, Network] = {
    "clean": lambda _number: 0.0,
    "loss1": lossy(0.01),
    "loss5": lossy(0.05),
    "loss10": lossy(0.10),
    "jitter60": jittery(0.060),
}


def spoil(browser: BrowserLeg, network: Network) -> None:
    """From now on the browser's RTP goes through the network."""
    transport = browser._peer.getSenders()[0].transport
    send, loop, numbers = transport._send_rtp, asyncio.get_running_loop(), itertools.count()
    under_way: set[asyncio.Task[None]] = set()

    async def later(delay: float, data: bytes) -> None:
        await asyncio.sleep(delay)
        with contextlib.suppress(ConnectionError):  # hung up meanwhile
            await send(data)

    async def through(data: bytes) -> None:
        delay = 0.0 if is_rtcp(data) else network(next(numbers))
        if not delay:
            if delay is not None:
                await send(data)
            return
        task = loop.create_task(later(delay, data))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    transport._send_rtp = through  # type: ignore[method-assign]


def deaf(browser: BrowserLeg) -> None:
    """From now on the browser decodes nothing: the load generator must not starve what is measured."""

    async def ignore(packet: RtpPacket, arrival_time_ms: int) -> None: ...

    browser._peer.getReceivers()[0]._handle_rtp_packet = ignore  # type: ignore[method-assign]


@cache
def talk(seed: int) -> Source:
    """Somebody who speaks in a noisy room. Takes a while to make: not to be called while workers run."""
    sound = (speech(2, -26) + noise(2, -45, seed)).astype(np.float32)
    frames = [to_frame(sound[at : at + SAMPLES]) for at in range(0, len(sound), SAMPLES)]
    return lambda number: frames[number % len(frames)]


# ---- both ends ----


class BurstingPbx(PbxEnd):
    """Plays bursts, and notes when the first frame of each left."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.sent: list[float] = []

    async def _talk(self) -> None:
        start, samples = time.monotonic(), self.endpoint.rate // 50
        for number in itertools.count():
            if self.closed.is_set():
                return
            frame = bursts(number + 12)[:: RATE // self.endpoint.rate]
            if frame.any() and (not self.sent or time.monotonic() - self.sent[-1] > 0.2):
                self.sent.append(time.monotonic())
            self._writer.write(encode(AUDIO[self.endpoint.rate], frame[:samples].astype("<i2").tobytes()))
            await asyncio.sleep(max(0.0, start + (number + 1) * 0.02 - time.monotonic()))


@dataclass
class Ear:
    """What arrives at the browser, before its buffer."""

    heard: list[tuple[float, float]] = field(default_factory=list)
    "Monotonic seconds of the first loud sample, relative to its packet's start, and of the arrival."
    _decoder: Decoder = field(default_factory=Decoder)
    _quiet: bool = True

    def listen(self, browser: BrowserLeg) -> None:
        """From now on."""
        receiver = browser._peer.getReceivers()[0]
        handle = receiver._handle_rtp_packet

        async def hear(packet: RtpPacket, arrival_time_ms: int) -> None:
            self.take(packet.payload, time.monotonic())
            await handle(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = hear  # type: ignore[method-assign]

    def take(self, payload: bytes, now: float) -> None:
        """One packet."""
        frame = self._decoder.decode(payload)
        loud = np.flatnonzero(np.abs(frame) > 3000)
        if len(loud) and self._quiet:
            self.heard.append((loud[0] / RATE, now))
        self._quiet = not len(loud)


@dataclass
class Line:
    """One session."""

    browser: BrowserLeg
    pbx: PbxEnd
    ear: Ear


async def line(stack: AsyncExitStack, pool: Pool, source: Source, *, bursting: bool) -> Line:
    """A browser, a leg, and a call."""
    browser = await stack.enter_async_context(BrowserLeg(source))
    opened = await pool.open_leg(await browser.offer(), owner="bench")
    await browser.accept(opened.answer)
    async with asyncio.timeout(30):
        while not pool.alive(opened.leg):  # noqa: ASYNC110  as the readiness gate asks
            await asyncio.sleep(0.05)
    endpoint = await pool.open_patch(opened.leg)
    pbx = await stack.enter_async_context(BurstingPbx(endpoint) if bursting else PbxEnd(endpoint))
    return Line(browser, pbx, Ear())


def settings(tier: Tier, *, suppression: bool) -> MediaSettings:
    """One worker that takes whatever comes."""
    return MediaSettings(tier=tier, suppression=suppression, max_lateness_ms=10_000)


# ---- figures ----


def spread(values: list[float]) -> dict[str, float] | None:
    """p50 and p99 of milliseconds."""
    if len(values) < 2:
        return None
    return {"p50": round(statistics.median(values), 1), "p99": round(statistics.quantiles(values, n=100)[-1], 1)}


async def capacity(tier: Tier, legs: int, seconds: float) -> dict[str, float]:
    """CPU and lateness of a worker with so many sessions, the voice chain on."""
    async with AsyncExitStack() as stack:
        talkers = [talk(seed) for seed in range(4)]
        pool = await stack.enter_async_context(Pool(settings(tier, suppression=True)))
        for number in range(legs):
            deaf((await line(stack, pool, talkers[number % len(talkers)], bursting=False)).browser)
        await asyncio.sleep(SETTLE_S)
        pid = pool.stats()[0].pid
        before, began = cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(seconds)
        cpu = (cpu_seconds(pid) - before) / (time.monotonic() - began) * 1000 / legs
        late = pool.stats()[0].lateness_p99_ms
    say(f"{tier}: {cpu:.1f} ms/s per session, ticks {late} ms late")
    return {"cpu_ms_per_s": round(cpu, 2), "tick_late_p99_ms": late}


async def delay(tier: Tier, name: str, legs: int, seconds: float) -> dict[str, Any]:
    """Both ways through a network."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(settings(tier, suppression=False)))
        lines = [await line(stack, pool, bursts, bursting=True) for _ in range(legs)]
        for one in lines:
            spoil(one.browser, NETWORKS[name])
            one.ear.listen(one.browser)
        await asyncio.sleep(SETTLE_S)
        since = time.monotonic()
        await asyncio.sleep(seconds)
        to_pbx = [float(ms) for one in lines for ms in delays(one.browser, one.pbx, since)]
        to_browser = [ms for one in lines for ms in _arrivals(one, since)]
    say(f"{tier} {name}: to the PBX {spread(to_pbx)}, to the browser {spread(to_browser)}")
    return {"to_pbx": spread(to_pbx), "to_browser": spread(to_browser)}


def _arrivals(one: Line, since: float) -> list[float]:
    sent = one.pbx.sent if isinstance(one.pbx, BurstingPbx) else []
    found = []
    for at in sent:
        first = next((offset + came for offset, came in one.ear.heard if at <= came < at + 0.4), None)
        if first is not None and at > since:
            found.append(float(first - at) * 1000)
    return found


async def holes(tier: Tier, name: str, legs: int, seconds: float) -> float:
    """Per cent of the frames at the PBX with a hole in a steady tone."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(settings(tier, suppression=False)))
        lines = [await line(stack, pool, tone(HZ), bursting=False) for _ in range(legs)]
        for one in lines:
            spoil(one.browser, NETWORKS[name])
        await asyncio.sleep(SETTLE_S)
        skip = [len(one.pbx.heard) for one in lines]
        await asyncio.sleep(seconds)
        frames = [frame for one, start in zip(lines, skip, strict=True) for frame in one.pbx.heard[start:]]
    share = 100 * sum(_is_hole(frame) for frame in frames) / max(1, len(frames))
    say(f"{tier} {name}: {share:.2f} % of {len(frames)} frames are holes")
    return round(share, 2)


def _is_hole(frame: Frame) -> bool:
    return power_at(frame, HZ, 8000) < HOLE_DB


def drift_ok(ppm: float, minutes: float = 10) -> bool:
    """A sender whose clock differs, in virtual time."""
    buffer, sent, worst, holes_ = JitterBuffer(), 0, 0.0, 0
    for tick in range(round(minutes * 3000)):
        now = tick * 0.02 + 0.006
        while sent * 0.02 * (1 + ppm * 1e-6) <= now:
            buffer.push(sent * 960, b"x", sent * 0.02 * (1 + ppm * 1e-6))
            sent += 1
        pop = buffer.pop(now, quiet=tick % 75 < 15)
        if tick > 100:
            worst = max(worst, buffer.delay_ms)
            holes_ += pop.kind is Kind.IDLE
    return worst < 60 and holes_ == 0


async def bench(legs: int, seconds: float) -> dict[str, Any]:
    """Everything, as one JSON object."""
    few = min(3, legs)
    ours, theirs = await capacity("fast", legs, seconds), await capacity("stock", max(2, legs // 3), seconds)
    networks = {name: await delay("fast", name, few, 2 * seconds) for name in ("clean", "loss5", "jitter60")}
    stock = {name: await delay("stock", name, few, seconds) for name in ("clean", "loss5")}
    unconcealed = {name: await holes("fast", name, few, seconds) for name in ("loss1", "loss5", "loss10")}
    return {
        "sessions_per_core": round(BUSY * 1000 / ours["cpu_ms_per_s"]),
        "stock_sessions_per_core": round(BUSY * 1000 / theirs["cpu_ms_per_s"]),
        "ratio": round(theirs["cpu_ms_per_s"] / ours["cpu_ms_per_s"], 2),
        "cpu_ms_per_s": ours["cpu_ms_per_s"],
        "stock_cpu_ms_per_s": theirs["cpu_ms_per_s"],
        "basis": f"extrapolated: {BUSY:.0%} of a core over the CPU per session of {legs} sessions, voice chain on",
        "cores": os.cpu_count(),
        "mic_to_pbx_ms": {name: one["to_pbx"] for name, one in networks.items()},
        "stock_mic_to_pbx_ms": {name: one["to_pbx"] for name, one in stock.items()},
        "voice_chain_ms": HOP * 1000 / RATE,
        "pbx_to_browser_ms": {name: one["to_browser"] for name, one in networks.items()},
        "frames_unconcealed_pct": unconcealed,
        "stock_frames_unconcealed_pct": {"loss5": await holes("stock", "loss5", few, seconds)},
        "tick_late_ms": {"p99": ours["tick_late_p99_ms"]},
        "drift_200ppm_ok": drift_ok(200) and drift_ok(-200),
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--legs", type=int, default=12, help="sessions of the CPU measurement")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement; twice that for delays")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(bench(arguments.legs, arguments.seconds))))


if __name__ == "__main__":
    main()
