"""The AudioSocket server of the demo and the tests, with a bare client in the PBX's place."""

import asyncio
import struct
import uuid

import numpy as np
import pytest

from web.demo import tones
from web.demo.audiosocket import AUDIO, DTMF, HANGUP, UUID, AudioSocketLeg, AudioSocketServer
from web.demo.voice import Tone


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BH", kind, len(payload)) + payload


async def test_it_hears_speaks_and_ends() -> None:
    identity = uuid.uuid4()
    async with AudioSocketServer(lambda: Tone(900)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(UUID, identity.bytes))
        leg = await server.leg(str(identity))
        writer.write(frame(AUDIO, tones.tone(400, 160, 8000).tobytes()) + frame(DTMF, b"5"))
        heard = b""
        while len(heard) < 5 * 320:
            kind, length = struct.unpack("!BH", await reader.readexactly(3))
            assert (kind, length) == (AUDIO, 320)
            heard += await reader.readexactly(length)
        assert tones.levels(np.frombuffer(heard, "<i2").astype(np.int16), 900, 8000).min() > tones.HEARD_DBOV
        writer.write(frame(HANGUP))
        async with asyncio.timeout(2):
            await leg.ended.wait()
        assert leg.recording.trace(400).share() == 1
        assert leg.digits == "5"
        writer.close()


@pytest.mark.parametrize("how", ["hangup", "abort"])
async def test_it_can_end_in_order_or_without_a_word(how: str) -> None:
    identity = uuid.uuid4()
    async with AudioSocketServer() as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(UUID, identity.bytes))
        leg = await server.leg(str(identity))
        if how == "hangup":
            await leg.hangup()
            rest = await reader.read()
            assert len(rest) % len(frame(AUDIO, bytes(320))) == len(frame(HANGUP))
        else:
            leg.abort()
            assert len(await reader.read()) % len(frame(AUDIO, bytes(320))) == 0
        assert leg.ended.is_set()
        writer.close()


async def test_a_leg_that_never_comes() -> None:
    async with AudioSocketServer() as server:
        with pytest.raises(TimeoutError):
            await server.leg(str(uuid.uuid4()), within=0.05)


async def test_the_same_uuid_again_is_the_new_leg() -> None:
    identity = uuid.uuid4()
    async with AudioSocketServer() as server:
        legs: list[AudioSocketLeg] = []
        for _ in range(2):
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(frame(UUID, identity.bytes))
            leg = await server.leg(str(identity))
            while legs and leg is legs[0]:
                await asyncio.sleep(0.01)
                leg = await server.leg(str(identity))
            legs.append(leg)
        assert legs[0] is not legs[1]
