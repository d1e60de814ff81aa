"""An agent's leg whose peer is frozen in the very moment of joining: it took the connection, and says nothing.

By the PBX alone; a worker that freezes later is in `test_failsafe`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.lab import Lab, LabCall, expect
from web.demo.tones import AI_HZ

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAME = bytes((0x10, 0x01, 0x40)) + bytes(320)
DEADMAN_S = 2.0


@dataclass
class SilentPeer:
    """Takes AudioSocket connections; sends nothing unless it `answers` (a frame for a frame) or is told to `wake`."""

    port: int
    answers: bool
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readexactly(3)
                await reader.readexactly(int.from_bytes(head[1:]))
                if self.answers and head[0] == FRAME[0]:
                    writer.write(FRAME)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def wake(self, seconds: float) -> None:
        """Sends as a live worker does."""
        for _ in range(int(seconds / 0.02)):
            for writer in self.writers:
                writer.write(FRAME)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def silent_peer(*, answers: bool = False) -> AsyncIterator[SilentPeer]:
    peer = SilentPeer(0, answers)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield peer
        for writer in peer.writers:
            writer.transport.abort()


async def join(lab: Lab, call: LabCall, peer: SilentPeer, mode: str) -> str:
    """Originates an agent leg to the peer; returns the leg's channel."""
    patch = str(uuid.uuid4())
    variables = {"TK_CALLER": call.channel, "TK_AI": call.ai_channel, "TK_UID": call.uniqueid, "TK_INSTANCE": "lab"}
    told = lab.event("UserEvent", UserEvent="TakeoverMode", Uid=call.uniqueid, Mode=mode)
    await lab.pbx.link.action(
        "Originate",
        {**variables, "TK_DEADMAN": str(DEADMAN_S)},
        Channel=f"AudioSocket/127.0.0.1:{peer.port}/{patch}/c(slin)",
        Context="takeover-agent",
        Exten=mode,
        Priority="1",
        Async="true",
    )
    return (await told).get("Agent")


@pytest.mark.parametrize("answers", [False, True], ids=["silent", "only-answers"])
async def test_the_dead_man_gives_back_a_call_whose_agent_never_sent(lab: Lab, answers: bool) -> None:
    call = await lab.call("T1")
    async with silent_peer(answers=answers) as peer:
        ended = lab.event("UserEvent", UserEvent="TakeoverEnded", Uid=call.uniqueid)
        joined = time.monotonic()
        await join(lab, call, peer, "takeover")
        assert (await ended).get("Why") == "deadman"
        assert time.monotonic() - joined < DEADMAN_S + 1.5
    await expect(call.caller.recording, {"ai"})
    await call.hangup()
    await lab.no_channels()


@pytest.mark.parametrize("mode", ["monitor", "whisper"])
async def test_a_listener_who_froze_mutes_nobody(lab: Lab, mode: str) -> None:
    """The switch from listening to speaking is where chan_audiosocket blocks; it must not get as far as the mute."""
    call = await lab.call("T1")
    async with silent_peer() as peer:
        agent = await join(lab, call, peer, mode)
        await asyncio.sleep(0.3)
        since = time.monotonic()
        await lab.pbx.link.action("Redirect", Channel=agent, Context="takeover-agent", Exten="takeover", Priority="1")
        await asyncio.sleep(1.5)
        until = time.monotonic()
        assert call.caller.recording.trace(AI_HZ, since, until).hole_ms(since, until) < 1000
        ended = lab.event("UserEvent", UserEvent="TakeoverEnded", Uid=call.uniqueid)
        taken = lab.event("UserEvent", UserEvent="TakeoverMode", Uid=call.uniqueid, Mode="takeover")
        await peer.wake(0.2)  # the worker lives again, and the leg goes where it was sent
        await taken
        for writer in peer.writers:
            writer.transport.abort()
        await ended
    await expect(call.caller.recording, {"ai"})
    await call.hangup()
    await lab.no_channels()
