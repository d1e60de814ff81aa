"""`takeover doctor --call` as on the command line: in a thread with a loop of its own, or in a process to be killed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from web.commands.doctor import Dialling, doctor
from web.commands.outcome import Outcome
from web.commands.testcall.number import Number
from web.settings import Settings

from .exchange import Exchange
from .processes import gone, kill

NAME = "main"
TAKEN_S, ENDS_S = 40.0, 20.0
"""For the doctor and its media worker to load, and for a PBX to miss them: FreeSWITCH's `media_timeout` is 3 s."""


def _tree(pbx: Mapping[str, Any]) -> dict[str, Any]:
    return {"pbx": {NAME: {"kind": "asterisk", **pbx}}}


async def called(pbx: Mapping[str, Any], number: Number | None = None) -> tuple[Outcome, Mapping[str, Any]]:
    """What it says of one PBX, given as in the settings: the whole, and the facts of this one. `number`: a number there
    is called instead of a test call."""
    what = Dialling(NAME, number) if number is not None else True
    outcome = await asyncio.to_thread(doctor, Settings.model_validate(_tree(pbx)), call=what)
    return outcome, outcome.facts["pbx"][NAME]


def proven(outcome: Outcome, facts: Mapping[str, Any]) -> bool:
    """Whether the test call came to its end, everybody heard whom they should, and nothing was wrong but, on a busy
    machine, the time it took."""
    call, faults = facts["call"], facts["faults"]
    assert outcome.code == (1 if faults else 0)
    assert all("only after" in one["remedy"] for one in faults), outcome.lines
    return call["times_ms"] is not None and None not in call["times_ms"].values() and call["ok"] is not bool(faults)


async def killed_in_its_takeover(exchange: Exchange, pbx: Mapping[str, Any], folder: Path) -> None:
    """The process is killed when the PBX has its agent; returns when the PBX has no channel left."""
    async with process(pbx, folder), asyncio.timeout(TAKEN_S):
        while not await exchange.agent_channels():  # noqa: ASYNC110 - the process tells nobody
            await asyncio.sleep(0.05)
    async with asyncio.timeout(ENDS_S):
        while await exchange.channels():  # noqa: ASYNC110 - neither does the PBX
            await asyncio.sleep(0.05)


@asynccontextmanager
async def process(pbx: Mapping[str, Any], folder: Path) -> AsyncIterator[int]:
    """Its pid; killed at the end of the block, without a chance to tidy up."""
    config = folder / "takeover.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(_tree(pbx)))
    command = (sys.executable, "-m", "web.cli", "doctor", "--call", "--config", str(config))
    running = await asyncio.create_subprocess_exec(
        *command, cwd=Path(__file__).parents[2], env={**os.environ}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield running.pid
    finally:
        if running.returncode is None:
            kill(running.pid)
        await running.wait()
        await gone(running.pid)
