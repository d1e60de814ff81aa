"""A bot on the telephone: Asterisk brings each call by AudioSocket, Takeover's events come by WebSocket.

    TAKEOVER_URL=https://takeover.example.com TAKEOVER_TOKEN=... python voice_bot.py

    ; extensions.conf
    same => n,Set(BOT_REF=${SHELL(uuidgen):0:36})    ; or a uuid that your platform gives you
    same => n,Gosub(takeover,register,1(default,sales,${BOT_REF},))
    same => n,Dial(AudioSocket/127.0.0.1:8091/${BOT_REF}/c(slin),,g)
    same => n,Goto(takeover-fallback,s,1)

`speak` and `Ear` stand for your synthesiser and recogniser: here a word is a short tone, and an answer is any sound
that has stopped.
"""

import asyncio
import contextlib
import math
import os
import struct
import uuid
from array import array
from collections.abc import Callable

import aiohttp
from takeover_client import Dialogue, Event, Takeover

GREETING = "Hello, this is the automatic assistant."
QUESTIONS = ("How can I help you?", "Could you tell me your order number?", "Is there anything else?")

RATE, FRAME = 8000, 160  # AudioSocket's signed 16-bit little-endian samples; 20 ms
HANGUP, UUID, AUDIO = 0x00, 0x01, 0x10
PATIENCE_S = 5.0  # with a caller who says nothing
PAUSE_FRAMES = 35  # of silence end an answer
SOUND = 300.0  # root mean square of a voice at least


def speak(text: str) -> bytes:
    """Your synthesiser: 80 ms of tone and 40 ms of pause per word."""
    tone = array("h", (int(6000 * math.sin(2 * math.pi * 500 * i / RATE)) for i in range(RATE * 80 // 1000)))
    return (tone.tobytes() + bytes(2 * RATE * 40 // 1000)) * len(text.split())


class Ear:
    """Your recogniser: tells when somebody has spoken and stopped."""

    def __init__(self) -> None:
        self._spoke, self._quiet = False, 0

    def hear(self, frame: bytes) -> bool:
        """Takes a frame; true when with it an answer is complete."""
        samples = array("h", frame[: len(frame) // 2 * 2])
        loud = bool(samples) and math.sqrt(sum(one * one for one in samples) / len(samples)) > SOUND
        self._quiet = 0 if loud else self._quiet + 1
        self._spoke = self._spoke or loud
        if self._spoke and self._quiet >= PAUSE_FRAMES:
            self._spoke = False
            return True
        return False


class Call:
    """One call. The PBX mutes the bot in a takeover and lets it hear on; to fall silent itself is good manners."""

    def __init__(self, ref: str, takeover: Takeover, writer: asyncio.StreamWriter) -> None:
        self.ref = ref
        self.dialogue = Dialogue(GREETING, QUESTIONS)
        self.ear = Ear()
        self._takeover = takeover
        self._writer = writer
        self._id = ""  # in Takeover, as soon as it tells us
        self._found = asyncio.Event()
        self._lines: asyncio.Queue[str] = asyncio.Queue()  # for the transcript
        self._turn = asyncio.Event()  # it may be the bot's turn
        self._hushed = False

    def told(self, event: Event) -> None:
        """Takes an event of this call."""
        if event["type"] == "call":
            self._id = event["call"]["id"]
            self._found.set()
            event = self._missed(event["call"])
        self.dialogue.told(event)
        self._hushed = bool(self.dialogue.human)
        if event["type"] == "takeover.ended":
            self._turn.set()  # at once: the caller must not wait for somebody to speak

    def _missed(self, call: Event) -> Event:
        """What was not told while there was no connection, as an event."""
        speaking = [one for one in call["engagements"] if one["mode"] in ("barge", "takeover")]
        if speaking and not self.dialogue.human:
            return {"type": "takeover.started", "agent": speaking[0]["agent_name"]}
        if not speaking and self.dialogue.human:
            return {"type": "takeover.ended", "agent": self.dialogue.human, "note": ""}
        return {"type": "nothing"}

    def heard(self, frame: bytes) -> None:
        """Takes what the bot hears, of the caller or, in a takeover, of the agent too."""
        if self.ear.hear(frame) and not self.dialogue.human:
            self._turn.set()

    async def talk(self) -> None:
        """Speaks whenever it is the bot's turn."""
        while True:
            line = self.dialogue.next()
            if line is not None:
                self._turn.clear()
                self._lines.put_nowait(line)
                await self._say(speak(line))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._turn.wait()
            except TimeoutError:
                pass  # nobody spoke: the next question
            self._turn.clear()

    async def report(self) -> None:
        """Keeps the transcript; beside the talk, which must not wait for it."""
        await self._found.wait()
        while True:
            line = await self._lines.get()
            # The service may restart, or the call be over: the conversation goes on.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, RuntimeError):
                await self._takeover.said(self._id, "ai", line)

    async def _say(self, samples: bytes) -> None:
        """In the pace of a voice, and no further than until somebody takes over."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for at in range(0, len(samples), 2 * FRAME):
            if self._hushed:
                return
            piece = samples[at : at + 2 * FRAME].ljust(2 * FRAME, b"\0")
            self._writer.write(struct.pack(">BH", AUDIO, len(piece)) + piece)
            await self._writer.drain()
            due += FRAME / RATE
            await asyncio.sleep(due - loop.time())


class VoiceBot:
    """All calls of the bot. `serve` is the AudioSocket's side, `follow` is Takeover's."""

    def __init__(self, takeover: Takeover) -> None:
        self._takeover = takeover
        self._calls: dict[str, Call] = {}  # by reference
        self._ids: dict[str, str] = {}  # from Takeover's id to the reference
        self._known: dict[str, Event] = {}  # calls that Takeover told before their audio came, by reference

    async def follow(self) -> None:
        """Hands the events to their calls, for ever."""
        async for event in self._takeover.events():
            match event["type"]:
                case "call":
                    call = event["call"]
                    ref = self._ids[call["id"]] = call["ai"]["ref"]
                    self._known[ref] = event
                case "call.ended":
                    ref = self._ids.pop(event["call"], "")
                    self._known.pop(ref, None)
                    continue
                case _:
                    ref = self._ids.get(str(event.get("call")), "")
            if ref in self._calls:
                self._calls[ref].told(event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is one call."""
        try:
            kind, content = await _frame(reader)
            if kind != UUID:
                return
            call = Call(str(uuid.UUID(bytes=content)), self._takeover, writer)
            self._calls[call.ref] = call
            if call.ref in self._known:
                call.told(self._known[call.ref])
            working = [asyncio.create_task(call.talk()), asyncio.create_task(call.report())]
            try:
                while kind != HANGUP:
                    kind, content = await _frame(reader)
                    if kind == AUDIO:
                        call.heard(content)
            finally:
                del self._calls[call.ref]
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the caller has hung up
        finally:
            writer.close()


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, size = struct.unpack(">BH", await reader.readexactly(3))
    return kind, await reader.readexactly(size)


async def main(host: str = "127.0.0.1", port: int = 8091, ready: Callable[[int], None] = lambda _port: None) -> None:
    """Serves until it is cancelled; `ready` is told the port."""
    async with Takeover(os.environ["TAKEOVER_URL"], os.environ["TAKEOVER_TOKEN"]) as takeover:
        bot = VoiceBot(takeover)
        server = await asyncio.start_server(bot.serve, host, port)
        ready(server.sockets[0].getsockname()[1])
        async with server, asyncio.TaskGroup() as tasks:
            tasks.create_task(bot.follow())
            tasks.create_task(server.serve_forever())


if __name__ == "__main__":
    asyncio.run(main())
