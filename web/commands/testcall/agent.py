"""The agent of a test call: a peer like a browser, with a tone for a microphone, on a media worker of the doctor's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from media.pool import MediaError, Pool

from ...demo.tones import AGENT_HZ
from ...demo.voice import FRAME_S, Recording, Tone

RATE = 48_000
CONNECT_S = 10.0
LOOK_S = 0.05


class AgentUnfit(Exception):
    """The agent's own line on this machine does not come up; the text says why."""


class _Microphone(MediaStreamTrack):
    """A tone, paced like a microphone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._tone = Tone(AGENT_HZ)
        self._began = time.monotonic()
        self._frames = 0

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(max(0.0, self._began + self._frames * FRAME_S - time.monotonic()))
        count = round(RATE * FRAME_S)
        frame = av.AudioFrame.from_ndarray(self._tone.take(count, RATE).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._frames * count, Fraction(1, RATE)
        self._frames += 1
        return frame


@asynccontextmanager
async def agent(pool: Pool) -> AsyncIterator[tuple[str, Recording]]:
    """An agent's leg that may speak, and what it hears. Raises `AgentUnfit`."""
    peer, microphone, recording = RTCPeerConnection(RTCConfiguration(iceServers=[])), _Microphone(), Recording(RATE)
    listening: list[asyncio.Task[None]] = []
    peer.addTrack(microphone)
    peer.on("track", lambda track: listening.append(asyncio.create_task(_listen(track, recording))))
    try:
        yield await _connected(peer, pool), recording
    finally:
        microphone.stop()
        await peer.close()
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


async def _connected(peer: RTCPeerConnection, pool: Pool) -> str:
    leg = ""
    try:
        async with asyncio.timeout(CONNECT_S):
            await peer.setLocalDescription(await peer.createOffer())
            opened = await pool.open_leg(peer.localDescription.sdp, owner="doctor")
            leg = opened.leg
            await peer.setRemoteDescription(RTCSessionDescription(opened.answer, "answer"))
            await pool.set_leg(leg, suppression=False)  # it would rightly take a steady tone away
            while not pool.alive(leg):  # noqa: ASYNC110 - no event tells that the first sound has come
                await asyncio.sleep(LOOK_S)
    except MediaError as error:
        raise AgentUnfit(f"the media worker took no line: {error}") from error
    except TimeoutError:
        why = pool.not_alive_reason(leg) or "no answer"
        raise AgentUnfit(f"a line to the media worker did not stand within {CONNECT_S:g} s ({why})") from None
    return leg


async def _listen(track: MediaStreamTrack, recording: Recording) -> None:
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:  # the connection was closed
            return
        if isinstance(frame, av.AudioFrame):
            stereo = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
            recording.add(time.monotonic(), stereo[:, 0].astype(np.int16))
