"""The PBX's recording of a real call through the real service: all three in one file, and marks that tell where."""

import asyncio
import json
import time
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from tests.support.agent import Agent
from tests.support.lab import Lab, LabCall, heard_by
from tests.support.server import Server
from web.demo.asterisk import Installation
from web.demo.tones import AGENT_HZ, AI_HZ, CALLER_HZ
from web.demo.voice import Recording

pytestmark = pytest.mark.asyncio(loop_scope="session")

PBX = "lab"
RULES = [{"name": "bot", "match": "^(PJSIP/ai|AudioSocket/|WebSocket/ai)"}]
FLUSH_S = 0.25
"""MixMonitor's file lags a little behind, and ends with the call."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(installation: Installation) -> AsyncIterator[tuple[Lab, Server]]:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(installation))
        ami = lab.pbx.ami
        pbx: dict[str, Any] = {"host": ami.host, "port": ami.port, "username": ami.user, "secret": ami.secret}
        server = await stack.enter_async_context(Server(pbx={PBX: {**pbx, "ais": RULES}}))
        yield lab, server


async def heard(call: LabCall, who: set[str], within: float = 10) -> None:
    """Returns when the caller hears these and no other."""
    deadline = time.monotonic() + within
    while True:
        since = time.monotonic()
        await asyncio.sleep(0.3)
        try:
            found: object = heard_by(call.caller.recording, since, time.monotonic())
        except RuntimeError as between:
            found = str(between)
        if found == who:
            return
        assert time.monotonic() < deadline, f"the caller hears {found}, not {who}"


def played(path: Path) -> tuple[Recording, float]:
    """A file as if it had been heard from time 0 on, and its length in seconds."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    recording = Recording(rate)
    frame = rate // 50
    for start in range(0, len(samples) - frame + 1, frame):
        recording.add(start / rate, samples[start : start + frame])
    return recording, len(samples) / rate


@pytest.mark.parametrize("topology", ["T1", "T2"])
async def test_the_recording_has_all_three_and_the_marks_tell_where(site: tuple[Lab, Server], topology: Any) -> None:
    lab, server = site
    name = f"{topology}.wav"
    call = await lab.call(topology, hook=f"default,sales,,{name}")
    id_ = f"{PBX}~{call.uniqueid}"
    async with Agent(server.url, await server.add_user("anna"), server.password) as anna:
        await anna.on_duty()
        await anna.seen(id_)
        await heard(call, {"ai"})
        engaged = (await anna.engage(id_)).expect(201)
        await heard(call, {"agent"})
        await asyncio.sleep(1)
        (await anna.release(engaged["id"])).expect(204)
        await heard(call, {"ai"})
        await asyncio.sleep(1)
        shown = (await server.get(f"calls/{id_}/recording")).expect(200)
        await call.hangup()
        await lab.no_channels()
    assert shown["recording"] == name
    took, left = (mark for mark in shown["marks"] if mark["event"] in ("mode", "left"))
    assert (took["mode"], took["agent"], left["mode"], left["why"]) == ("takeover", "Anna", "takeover", "released")

    recording, length = played(lab.pbx.recordings / name)
    end = length - FLUSH_S
    caller = recording.trace(CALLER_HZ, 0, end)
    assert caller.hole_ms(caller.first(0) or 0, end) < 500, "the caller is in it from the beginning to the end"
    agent, ai = recording.trace(AGENT_HZ, 0, end), recording.trace(AI_HZ, 0, end)
    began, over = agent.first(0), agent.last(end)
    assert began is not None
    assert over is not None
    assert agent.hole_ms(began, over) < 500
    assert over - began > 1
    assert ai.first(0) is not None
    assert (ai.first(0) or 0) < began - 0.3
    assert (ai.last(end) or 0) > over + 0.5
    # On a loaded machine the agent's tone has dips where a late packet was concealed; a leg that is missing has none.
    shares = [recording.trace(hz, began + 0.3, over - 0.3).share() for hz in (CALLER_HZ, AGENT_HZ, AI_HZ)]
    assert shares[0] > 0.8
    assert shares[1] > 0.5
    assert shares[2] < 0.1
    assert abs(began - took["recording_s"]) < 2
    assert abs(over - left["recording_s"]) < 2

    side = server.folder / "data" / "marks" / f"{id_}.jsonl"
    async with asyncio.timeout(5):
        while not side.exists() or "call-ended" not in side.read_text():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    lines = [json.loads(line) for line in side.read_text().splitlines()]
    assert lines[: len(shown["marks"])] == shown["marks"]
