"""The demo as its users meet it: real Asterisk, real service, real Chromium; and what it leaves behind."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import processes
from web.demo import asterisk, browser, check, report, tones
from web.demo.house import free_port
from web.demo.scene import Installations

STARTED_S = 60
ENDED_S = 20


@pytest.fixture
async def installations() -> Installations:
    return Installations(await asterisk.provide(print))


async def _run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "web.demo.run", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, told = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), told.decode()


async def test_the_check_takes_over_and_gives_back() -> None:
    code, output, told = await _run("--check")

    assert output.count("\n") == 1, output
    found: dict[str, Any] = json.loads(output)
    assert found["ok"], (found, told)
    assert code == 0
    assert report.as_expected(found["who_heard_whom"]) == []
    assert found["agent"]["hears_caller"]
    assert not found["agent"]["hears_ai"]
    assert found["rtp"]["lost"] == 0
    assert found["rtp"]["ssrc_changes"] == 0
    assert found["note"]["received"] == check.NOTE
    measured = found["caller_measured"]
    shown = [int(figure) for figure in re.findall(r"\d+", found["panel"]["measured"])]
    assert shown == pytest.approx([measured["heard_ms"], measured["gap_ms"]], abs=1)
    # Two ways to the same moment: correlation with what the AI sent, and the agent's own tone.
    assert abs(measured["heard_ms"] - found["times_ms"]["agent_heard"]) < 300


@dataclass
class Running:
    """A demo in a process of its own, up, with the link it printed."""

    process: asyncio.subprocess.Process
    link: str
    children: list[int]


def _as_in_a_terminal() -> None:
    """A shell's background job and `nohup` hand on signals that are ignored, and the demo heeds that."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@asynccontextmanager
async def _demo(*wrapper: str, folder: Path) -> AsyncIterator[Running]:
    """`wrapper` is put in front of the command, as make is."""
    command = (*wrapper, sys.executable, "-m", "web.demo.run", "--port", str(free_port()))
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
        preexec_fn=_as_in_a_terminal,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(STARTED_S):
            while not (found := re.search(r"http\S+once=\S+", (await process.stdout.readline()).decode())):
                assert process.returncode is None
        yield Running(process, found[0], processes.descendants(process.pid))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("takeover-*")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_stopped_demo_leaves_no_process_and_no_file(number: signal.Signals, tmp_path: Path) -> None:
    async with _demo(folder=tmp_path) as demo:
        assert len(demo.children) >= 3  # Asterisk, the service, its media worker

        demo.process.send_signal(number)
        async with asyncio.timeout(ENDED_S):
            assert await demo.process.wait() == 0

        assert [pid for pid in demo.children if processes.alive(pid)] == []
        assert _left(tmp_path) == []


async def test_a_demo_whose_parent_is_killed_ends_in_order(tmp_path: Path) -> None:
    wrapper = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    async with _demo(sys.executable, "-c", wrapper, folder=tmp_path) as demo:
        demo.process.kill()

        for pid in demo.children:
            assert await processes.gone(pid, ENDED_S)
        assert _left(tmp_path) == []


async def test_a_killed_demo_takes_everything_with_it(tmp_path: Path) -> None:
    async with _demo(folder=tmp_path) as demo:
        demo.process.kill()

        for pid in demo.children:
            assert await processes.gone(pid, ENDED_S)
        assert not [name for name in _left(tmp_path) if name.startswith("takeover-demo-")]  # passwords stood there


async def test_a_demo_whose_asterisk_dies_says_so_and_ends(tmp_path: Path) -> None:
    async with _demo(folder=tmp_path) as demo:
        pbx = next(pid for pid in processes.children(demo.process.pid) if b"asterisk.conf" in _command(pid))

        processes.kill(pbx)
        async with asyncio.timeout(ENDED_S):
            _, told = await demo.process.communicate()

        assert demo.process.returncode == 1
        assert "error: Asterisk ended by itself" in told.decode()
        assert [pid for pid in demo.children if processes.alive(pid)] == []


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_browser_closed_in_a_takeover_gives_the_call_back(installations: Installations) -> None:
    async with check.staged(installations, print) as stage:
        async with browser.panel() as page:
            await _take_over(page, stage)
        closed = asyncio.get_running_loop().time()

        async with asyncio.timeout(10):
            await stage.call.given_back.wait()
        await asyncio.sleep(1)

        heard = stage.call.heard_by_caller
        ai = heard.trace(tones.AI_HZ, closed)
        assert (back := ai.first(closed)) is not None
        assert ai.between(back + 0.1, back + 0.8).share() > report.HEARD_SHARE
        assert heard.trace(tones.AGENT_HZ, back + 0.1).share() < report.SILENT_SHARE


async def test_a_service_killed_in_a_takeover_leaves_the_call_alone(installations: Installations) -> None:
    async with check.staged(installations, print) as stage, browser.panel() as page:
        await _take_over(page, stage)
        killed = asyncio.get_running_loop().time()
        call = stage.call.call

        processes.kill(stage.home.child.pid)
        async with asyncio.timeout(STARTED_S):
            await stage.call.found_again.wait()

        ai = stage.call.heard_by_caller.trace(tones.AI_HZ, killed)
        assert (back := ai.first(killed)) is not None
        assert back - killed < 5  # by the PBX alone: the service needs longer to start
        assert ai.between(back + 0.1, np.inf).share() > report.HEARD_SHARE
        assert stage.call.call == call
        assert stage.call.report(killed, asyncio.get_running_loop().time()).max_gap_ms < 500


async def _take_over(page: browser.Panel, stage: check.Stage) -> None:
    await page.open(stage.home.address.link)
    await page.go_on_duty()
    await page.select(stage.call.call)
    await page.voice_chain_off()
    await page.press("mode-takeover")
    await page.see("banner", 'data-state="live"')
    await asyncio.sleep(0.5)
    now = asyncio.get_running_loop().time()
    assert stage.call.heard_by_caller.trace(tones.AI_HZ, now - 0.3).share() < report.SILENT_SHARE
