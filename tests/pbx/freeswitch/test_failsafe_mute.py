"""The worst moments to die in: FreeSWITCH is to dial the leg's pulse, and it has just silenced the AI."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from connector.freeswitch import wire
from tests.support.fleet import fleet
from tests.support.freeswitch import FsCall, FsLab, Instance
from tests.support.processes import alive, children, freeze, thaw
from tests.support.server import Server
from web.demo.tones import AI_HZ

from .test_failsafe import accepted
from .test_who_hears_whom import WITHOUT_AGENT, expect

PULSE, MUTE = b"-pulse@", b" mute 1"
BACK_S, DEADMAN_S = 8.0, 15
"""Who acted: the pulse, after 0.8 s (2.5 where a frozen service's worker lives on, 5 where it never answered and nobody
was silenced), and not the dead-man."""


@asynccontextmanager
async def esl_gate(
    host: str, port: int, at: bytes, strike: Callable[[], None]
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port in front of an event socket, and what has passed it; it strikes just before it passes on what contains
    `at`. What was written before a process died still arrives, as from a kernel's buffers."""
    connections = set[asyncio.Task[None]]()
    passed: list[bytes] = []

    async def commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # one of the two is gone
            while command := await reader.readuntil(b"\n\n"):
                if at in command:
                    strike()
                passed.append(command)
                writer.write(command)
                await writer.drain()
        writer.close()

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(host, port)
        for way in (commands(reader, out), answers(there, writer)):
            task = asyncio.create_task(way)
            connections.add(task)
            task.add_done_callback(connections.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], passed
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def only_the_call(lab: FsLab, made: FsCall) -> None:
    """Returns when nothing of a takeover is left: no channel, no floor, no media bug, no place to go to."""
    ai = await lab.api(f"uuid_getvar {made.uniqueid} signal_bond")
    wanted = (2, False, False, wire.UNSET)
    deadline = time.monotonic() + BACK_S
    while True:
        floor = await lab.api(f"hash select/{wire.CONTEXT}/{made.uniqueid}")
        bugs = await lab.api(f"uuid_buglist {made.uniqueid}") + await lab.api(f"uuid_buglist {ai}")
        after = await lab.api(f"uuid_getvar {made.uniqueid} transfer_after_bridge")
        left = (len(await lab.channels()), wire.is_id(floor), "<function>" in bugs, after)
        if left == wanted:
            return
        assert time.monotonic() < deadline, (left, floor, bugs)
        await asyncio.sleep(0.05)  # a late table


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
@pytest.mark.parametrize(
    ("at", "workers"), [(PULSE, True), (MUTE, True), (MUTE, False)], ids=["before-the-pulse", "all", "service"]
)
async def test_who_dies_as_the_ai_is_silenced_leaves_no_silence(
    freeswitch: Instance, at: bytes, workers: bool, how: signal.Signals
) -> None:
    struck: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    pids: list[int] = []

    def strike() -> None:
        if struck.done():
            return
        pids.extend([server.pid, *(children(server.pid) if workers else [])])
        for pid in pids:
            freeze(pid)  # all at one moment
        for pid in pids:
            os.kill(pid, how)
        struck.set_result(time.monotonic())

    async with contextlib.AsyncExitStack() as stack:
        lab = await stack.enter_async_context(FsLab(freeswitch))
        stack.push_async_callback(lab.no_channels)
        stack.push_async_callback(lab.api, "hupall")
        port, passed = await stack.enter_async_context(esl_gate(lab.pbx.ports.host, lab.pbx.ports.esl, at, strike))
        pbx = {**lab.service_settings(port), "deadman_s": DEADMAN_S}
        server = await stack.enter_async_context(Server(pbx={"fs": pbx}))
        crew = await stack.enter_async_context(fleet())
        agent = await crew.join(server.url, await server.add_user("anna"), server.password)
        made = await lab.call()
        identity, started = f"fs~{made.uniqueid}", time.monotonic()
        await agent.seen(identity)
        asked = asyncio.create_task(accepted(lambda: agent.engage(identity)))
        try:
            async with asyncio.timeout(40):
                since = await struck
            await only_the_call(lab, made)
            await expect(made, WITHOUT_AGENT)
            assert any(MUTE in command for command in passed) is (at == MUTE)
            until = time.monotonic()
            silent = made.caller.recording.trace(AI_HZ, since, until).hole_ms(since, until)
            assert silent < BACK_S * 1000
            if how is signal.SIGSTOP:
                for pid in filter(alive, pids):
                    thaw(pid)
                assert (await asked).status >= 500
                await only_the_call(lab, made)
                await expect(made, WITHOUT_AGENT)
            report = made.caller.media.report(started, time.monotonic())
            assert (report.ssrc_changes, made.caller.reinvites, made.caller.ended.is_set()) == (0, 0, False)
        finally:
            for pid in filter(alive, pids):
                thaw(pid)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
