"""AIs as FreeSWITCH sites have them, besides a SIP AI: each has an end on the caller's own channel.

What such an AI hears is tapped from what the caller's channel reads (`record_session`), into a file of raw samples that
is followed as it grows; what it says is a tone that FreeSWITCH itself makes. That needs no module that is not in every
build, and is what the free mod_audio_stream and mod_audio_fork do: a bug that reads, and a file that is played.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from web.demo.tones import AI_HZ
from web.demo.voice import Recording, Silence, Source

from .esl_server import EslServer, Session

RATE = 8000
LOOK_S = 0.02
VOICE = f"tone_stream://v=-12;%(100000,0,{AI_HZ:g});loops=-1"
"""The AI's tone, as loud as everybody's."""


class TapAi:
    """An AI on the caller's channel. `ended` is set when it has hung up; `source` is not used: it has one tone."""

    def __init__(self, ears: Path, bye: Callable[[], Awaitable[object]]) -> None:
        self.source: Source = Silence()
        self.ended = asyncio.Event()
        self._recording = Recording(RATE)
        self._bye = bye
        self._task = asyncio.create_task(self._follow(ears), name="ears")

    @property
    def recording(self) -> Recording:
        """What it heard, to within 20 ms of when."""
        return self._recording

    async def hangup(self) -> None:
        """It leaves the call; the caller's channel is FreeSWITCH's business."""
        if not self.ended.is_set():
            self.ended.set()
            await self._bye()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, ears: Path) -> None:
        rest = b""
        while not os.path.exists(ears):  # noqa: ASYNC110, ASYNC240, PTH110 - FreeSWITCH makes it: no event tells us
            await asyncio.sleep(LOOK_S)
        with open(ears, "rb") as file:  # noqa: ASYNC230, PTH123 - a local file's end is no wait
            while True:
                data = rest + file.read()
                whole = len(data) & ~1
                rest = data[whole:]
                if whole:
                    self._recording.add(time.monotonic(), np.frombuffer(data[:whole], "<i2").astype(np.int16))
                await asyncio.sleep(LOOK_S)


class SocketAi(EslServer):
    """An application that FreeSWITCH's `socket` calls: it answers, listens, and plays."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(self._application)
        self.host = host
        self._talking: dict[str, Session] = {}
        self._channels: dict[str, str] = {}

    async def leave(self, key: str) -> None:
        """The application ends: FreeSWITCH goes on in the dialplan."""
        session = self._talking.pop(key, None)
        if session is not None:
            session.write(f"api uuid_break {self._channels[key]} all\n\nexit\n\n".encode())  # or its tone would go on
            session.writer.close()

    async def _application(self, session: Session) -> None:
        session.write(b"connect\n\n")
        head = await session.command()
        about = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
        self._talking[about["variable_lab_key"]] = session
        self._channels[about["variable_lab_key"]] = about["Unique-ID"]
        for application, argument in (("answer", ""), ("playback", VOICE)):
            lines = ["sendmsg", "call-command: execute", f"execute-app-name: {application}"]
            session.write("\n".join([*lines, *([f"execute-app-arg: {argument}"] if argument else []), "\n"]).encode())
        while await session.command():
            pass  # FreeSWITCH's answers; the end of the connection is the end of the call
