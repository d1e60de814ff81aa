"""`takeover demo --check`: one takeover and one return through everything that is real, measured at the caller's ear.

A real Chromium works the real panel, its microphone a tone; caller and AI are peers with a tone each, so what every
party received tells who heard whom, when, and whether anything was missing.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from . import report, tones
from .ai_platform import Platform
from .browser import Panel, PanelFault, panel
from .exchanges import Kind
from .groups import leaves
from .house import House, free_port
from .packages import Progress
from .report import Ears, Moments
from .scene import Installations, Scene, Seat
from .script import CLAIM, Script
from .tonecall import ToneCall

NOTE = "The refund is approved."
LONGEST_S = 55.0
SECOND_PBX_S = 40.0  # more with a second PBX: one that starts on a machine with ten times the load it has cores for
READY_S, TOLD_S = 15.0, 5.0
BEFORE_S, DURING_S, AFTER_S = 1.0, 2.0, 2.0
HEARD_DB = -60.0  # in the page; a tone arrives at about -20, leakage of the analyser's window lies below -80


class CheckFault(Exception):
    """The check could not be done to its end; the text says how far it came."""


async def check(installations: Installations, progress: Progress) -> dict[str, Any]:
    """The report, with `ok` and all `faults`: of a call on the FreeSWITCH, where there is one beside the Asterisk.
    Raises NotProvided, DidNotStart."""
    began = time.monotonic()
    facts: dict[str, Any] = {}
    faults: list[str] = []
    longest_s = LONGEST_S + (SECOND_PBX_S if installations.freeswitch else 0)
    try:
        async with asyncio.timeout(longest_s):
            facts = await _takeover_and_return(installations, progress)
            faults = report.faults(facts)
    except* (PanelFault, CheckFault) as failures:
        faults = [str(failure) for failure in leaves(failures)]
    except* TimeoutError:
        faults = [f"the check was not done after {longest_s:g} s"]
    for fault in faults:
        progress(f"check: {fault}")
    seconds = round(time.monotonic() - began, 1)
    versions = {"asterisk": installations.asterisk.version}
    if installations.freeswitch is not None:
        versions["freeswitch"] = installations.freeswitch.version
    return {"ok": not faults, "faults": faults, **versions, "seconds": seconds, **facts}


async def _takeover_and_return(installations: Installations, progress: Progress) -> dict[str, Any]:
    progress(f"check: starting {installations.titles}, the service and Chromium")
    async with staged(installations, progress) as stage, panel(tones.AGENT_HZ) as page:
        facts = await _measured(stage.call, page, stage.home.address.link, progress)
    return {"pbx": stage.call.call.partition("~")[0], **facts}


@dataclass(frozen=True)
class Stage:
    """Everything real but the browser: the PBXs, the service, and one call of two tones."""

    scene: Scene
    home: House
    call: ToneCall


@asynccontextmanager
async def staged(installations: Installations, progress: Progress) -> AsyncIterator[Stage]:
    """A stage whose call Takeover knows, on the FreeSWITCH where there is one. Raises CheckFault, DidNotStart,
    NotProvided."""
    first: asyncio.Future[ToneCall] = asyncio.get_running_loop().create_future()

    def play(_script: Script, platform: Platform) -> ToneCall:
        call = ToneCall(platform)
        if not first.done():
            first.set_result(call)
        return call

    pbx: Kind = "freeswitch" if installations.freeswitch is not None else "asterisk"
    scene = Scene(installations, (Seat("sip", (CLAIM,), pbx),), play, progress)
    async with scene, House(scene, free_port()) as home, asyncio.TaskGroup() as tasks:
        service = tasks.create_task(
            home.keep(lambda address: progress(f"the service was started again: {address.url}"))
        )
        calls = tasks.create_task(scene.run(home.address.url, home.tokens), name="scene")
        try:
            async with asyncio.timeout(READY_S):
                call = await first
                await call.ready.wait()
        except TimeoutError:
            raise CheckFault(f"no call appeared at the AI's platform within {READY_S:g} s") from None
        try:
            yield Stage(scene, home, call)
        finally:
            for task in (calls, service):
                task.cancel()


async def _measured(call: ToneCall, page: Panel, link: str, progress: Progress) -> dict[str, Any]:
    """The agent's way through the panel, and what everybody received meanwhile."""
    progress("check: logging in by the link, going on duty")
    await page.open(link)
    await page.go_on_duty()
    await page.select(call.call)
    await page.voice_chain_off()
    began = time.monotonic()
    await asyncio.sleep(BEFORE_S)
    progress("check: takeover")
    await page.press("mode-takeover")
    await page.see("banner", 'data-state="live"')
    await asyncio.sleep(DURING_S)
    caller_db, ai_db = await page.hears(tones.CALLER_HZ, tones.AI_HZ)
    await page.see("measured")
    shown = await page.text("measured")
    progress("check: return, with a note")
    await page.give_back(NOTE)
    try:
        async with asyncio.timeout(TOLD_S):
            await call.given_back.wait()
    except TimeoutError:
        raise CheckFault(f"the AI was not told of the return within {TOLD_S:g} s") from None
    await asyncio.sleep(AFTER_S)
    at = Moments(began, _sent(page, "POST engagements"), _sent(page, "POST release"), time.monotonic())
    ears = Ears(call.heard_by_caller, call.heard_by_ai)
    return {
        "times_ms": report.times_ms(ears, at),
        "hole_ms": report.holes_ms(ears, at),
        "rtp": report.rtp_facts(call.report(at.began, at.ended)),
        "who_heard_whom": report.who_heard_whom(ears, at),
        "agent": {
            "hears_caller": caller_db > HEARD_DB,
            "hears_ai": ai_db > HEARD_DB,
            "caller_db": round(caller_db, 1),
            "ai_db": round(ai_db, 1),
        },
        "note": {"sent": NOTE, "received": call.note},
        "caller_measured": asdict(call.measured) if call.measured else None,
        "panel": {"measured": shown, "errors": page.said},
    }


def _sent(page: Panel, request: str) -> float:
    """When the browser sent a request."""
    if request not in page.sent:
        raise CheckFault(f"the panel never sent {request!r}, only {', '.join(page.sent) or 'nothing'}")
    return page.sent[request]
