"""The real service in a process of its own, without a PBX: its life, and what the command line does beside it."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.domain.calls import Ai, CallId, Engagement, EngagementId, Mode, Phase
from connector.store.trail import Wanted
from tests.support.agent import Json
from tests.support.fake_ami import FakeAsterisk
from tests.support.processes import children, gone, kill
from tests.support.server import ROOT, Server

NOWHERE = {"lab": {"host": "127.0.0.1", "port": 1, "username": "takeover", "secret": "s3cret"}}


def drain(manager: socket.socket) -> None:
    """Reads what waits: the queue of a datagram socket is short, and full it loses the newest."""
    with contextlib.suppress(BlockingIOError):
        while manager.recv(100):
            pass


async def takeover(server: Server, *arguments: str) -> int:
    """The command line, with the service's settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "web.cli", *arguments, "--config", str(server.config), cwd=ROOT
    )
    return await process.wait()


@pytest.mark.timeout(180)
async def test_from_the_start_to_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        server = Server(pbx=NOWHERE, wait=False, environment=environment)
        async with server, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            loop = asyncio.get_running_loop()
            told = {await loop.sock_recv(manager, 100) for _ in range(3)}
            assert told == {b"READY=1", b"WATCHDOG=1"}
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)  # a reload ends nothing, and here there is nothing to reload
            async with browser.get(f"{server.url}/readyz") as answer:
                ready: Json = await answer.json()
            assert ready["why"] == ["PBX lab: cannot connect to 127.0.0.1:1: [Errno 111] Connection refused"]

            anna = {"username": await server.add_user("anna"), "password": server.password}
            headers = {"Origin": server.url}
            async with browser.post(f"{server.url}/api/v1/session", json=anna, headers=headers) as answer:
                assert answer.status == 200
            assert await takeover(server, "user", "remove", "anna") == 0
            removed = time.monotonic()
            while True:
                async with browser.get(f"{server.url}/api/v1/session") as answer:
                    if answer.status == 401:
                        break
                assert time.monotonic() - removed < 5
                await asyncio.sleep(0.05)
            assert await takeover(server, "audit", "verify") == 0

            workers = children(server.pid)
            assert len(workers) == 1
            drain(manager)
            server.process.send_signal(signal.SIGTERM)
            while (last := await loop.sock_recv(manager, 100)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1"
            assert await server.process.wait() == 0
            assert all([await gone(worker) for worker in workers])
            assert "s3cret" not in server.log.read_text()
            assert server.password not in server.log.read_text()


async def test_a_second_one_on_the_same_port_says_so_and_leaves_the_first_alone() -> None:
    async with Server(pbx=NOWHERE, wait=False) as first:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "web.cli", "serve", "--config", str(first.config)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        assert (
            "another program listens there; stop that one, or set another http.port" in said.decode().splitlines()[-1]
        )
        assert (await first.get("calls")).status == 200


@dataclass
class Platform:
    """An AI's platform. While `deaf`, what it is sent fails."""

    deaf: bool = True
    got: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        await self.got.put(await request.json())
        return web.Response(status=503 if self.deaf else 204)


@pytest.mark.timeout(180)
async def test_an_event_that_was_not_delivered_is_sent_again_after_the_service_was_killed() -> None:
    platform, application = Platform(), web.Application()
    application.router.add_post("/", platform.take)
    async with TestServer(application) as there, FakeAsterisk() as pbx:
        lab = {"host": "127.0.0.1", "port": pbx.port, "username": "takeover", "secret": pbx.secret}
        hook = {"url": str(there.make_url("/")), "secret": "s" * 24, "events": ["coach"], "allow_http": True}
        ais = [{"name": "acme", "match": "^PJSIP/ai"}]
        async with Server(pbx={"lab": {**lab, "ais": ais}}, more={"webhooks": {"platform": hook}}) as server:
            pbx.call()
            async with asyncio.timeout(60):
                while not (calls := (await server.get("calls")).body["calls"]):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
                path = f"calls/{calls[0]['id']}/coach"
                assert (await server.ask("POST", path, text="the refund is approved")).status == 204
                first = await platform.got.get()
                async with server.store() as store:
                    while not await store.outbox.waiting():  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)
            kill(server.pid)
            platform.deaf = False
            while not platform.got.empty():
                platform.got.get_nowait()
            await server.restart()
            async with asyncio.timeout(60):
                again = await platform.got.get()
                assert again == first
                assert again["text"] == "the refund is approved"
                async with server.store() as store:
                    while await store.outbox.waiting():  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_the_ai_is_told_of_the_end_of_a_takeover_that_a_crash_cut_off() -> None:
    platform, application = Platform(deaf=False), web.Application()
    application.router.add_post("/", platform.take)
    async with TestServer(application) as there, FakeAsterisk() as pbx:
        lab = {"host": "127.0.0.1", "port": pbx.port, "username": "takeover", "secret": pbx.secret}
        hook = {"url": str(there.make_url("/")), "secret": "s" * 24, "events": ["takeover.ended"], "allow_http": True}
        ais = [{"name": "acme", "match": "^PJSIP/ai"}]
        async with Server(pbx={"lab": {**lab, "ais": ais}}, more={"webhooks": {"platform": hook}}) as server:
            kill(server.pid)
            call, id_ = CallId(f"lab~{pbx.call().caller.uniqueid}"), EngagementId("5e")
            left = Engagement(id_, call, "anna", "Anna", "leg", Mode.TAKEOVER, Phase.ACTIVE, datetime.now(UTC))
            async with server.store() as store:
                await store.engagements.put(left, instance=server.instance, ai=Ai("acme", "ref-7"))
            await server.restart()
            async with asyncio.timeout(60):
                told = await platform.got.get()
                assert (told["type"], told["call"], told["engagement"]) == ("takeover.ended", call, id_)
                assert (told["agent"], told["ai"], told["ai_ref"]) == ("Anna", "acme", "ref-7")
                async with server.store() as store:
                    while await store.engagements.unended(server.instance):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)
                    (past,) = await store.engagements.of_call(call)
                    (act,) = await store.audit.acts(Wanted(call=call))
            assert past.ended == "service-crashed"
            assert (act.act, act.actor, act.result, act.facts["why"]) == ("release", "service", "ok", "service-crashed")
