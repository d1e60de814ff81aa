"""Captions through everything: a real call, the media worker, the service, and a transcriber that hears tones."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.agent import Agent
from tests.support.lab import ROLES, Lab
from tests.support.server import Server
from web.demo import tones
from web.demo.asterisk import Installation

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def transcribe(request: web.Request) -> web.Response:
    """Names the loudest of the three tones, as a recogniser would its words."""
    form: Any = await request.post()
    with wave.open(io.BytesIO(form["file"].file.read())) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    loudness = {role: float(tones.levels(samples, hz, rate).mean()) for role, hz in ROLES.items()}
    return web.json_response({"text": f"the {max(loudness, key=loudness.__getitem__)}'s tone"})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(installation: Installation) -> AsyncIterator[tuple[Lab, Server]]:
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/v1/audio/transcriptions", transcribe)
        scribe = await stack.enter_async_context(TestServer(app))
        lab = await stack.enter_async_context(Lab(installation))
        ami = lab.pbx.ami
        pbx: dict[str, Any] = {"host": ami.host, "port": ami.port, "username": ami.user, "secret": ami.secret}
        pbx["ais"] = [{"name": "bot", "match": "^PJSIP/ai"}]
        captions = {"backend": "http", "url": str(scribe.make_url("/v1"))}
        yield lab, await stack.enter_async_context(Server(pbx={"lab": pbx}, more={"captions": captions}))


async def test_who_speaks_in_a_takeover_is_put_into_words_and_labelled(site: tuple[Lab, Server]) -> None:
    lab, server = site
    call = await lab.call("T1")
    id_ = f"lab~{call.uniqueid}"
    async with Agent(server.url, await server.add_user("anna"), server.password) as anna:
        await anna.on_duty()
        await anna.seen(id_)
        engaged = (await anna.engage(id_)).expect(201)
        await asyncio.sleep(2)
        (await anna.release(engaged["id"])).expect(204)  # ends what is being said
        said: dict[str, Any] = {}
        async with asyncio.timeout(15):
            while set(said) != {"agent", "caller"}:
                await asyncio.sleep(0.1)
                turns = (await server.get(f"calls/{id_}/transcript")).expect(200)["turns"]
                said = {turn["speaker"]: turn for turn in turns}
        assert {speaker: turn["text"] for speaker, turn in said.items()} == {
            "agent": "the agent's tone",
            "caller": "the caller's tone",
        }
        assert all(turn["caption"] and turn["final"] for turn in said.values())
    await call.hangup()
    await lab.no_channels()
