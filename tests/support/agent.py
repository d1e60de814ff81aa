"""A scripted agent: logs in, opens a leg with a tone as microphone, listens to the events, takes calls over.

It speaks to the service as a browser does: HTTP with the session cookie, the events WebSocket, WebRTC.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from .headset import Headset
from .network import TcpForwarder, UdpForwarder

Json = dict[str, Any]
PING_S = 2.0
_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host.*$", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """An answer of the service; times on the monotonic clock."""

    sent: float  # when the request was handed to the HTTP client
    answered: float
    status: int
    body: Json

    @property
    def slug(self) -> str:
        """Of a problem; "" for a success."""
        return str(self.body.get("type", "")).removeprefix("urn:takeover:") if self.status >= 400 else ""

    def expect(self, status: int) -> Json:
        """The body; raises Unexpected if the status is another."""
        if self.status != status:
            raise Unexpected(f"{self.status} {self.body} where {status} was expected")
        return self.body


class Unexpected(Exception):
    """The service answered otherwise than the test was made for."""


@dataclass(eq=False)
class Agent:
    """One person at one browser; an async context manager that logs in. `cuttable` puts a network to be cut between."""

    url: str  # http://host:port
    username: str
    password: str
    cuttable: bool = False
    calls: dict[str, Json] = field(default_factory=dict)  # what the events say: the panel's view
    ended: dict[str, tuple[float, str]] = field(default_factory=dict)  # engagement -> when and why it ended
    leg_id: str = ""
    leg: Headset | None = None

    async def __aenter__(self) -> Self:
        self._parts = AsyncExitStack()
        self._tcp: TcpForwarder | None = None
        self._udp: list[UdpForwarder] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._watchers: list[tuple[Callable[[Json], bool], asyncio.Future[Json]]] = []
        self._listening: asyncio.Task[None] | None = None
        try:
            self._base = await self._reach(self.url)
            self._http = await self._parts.enter_async_context(
                aiohttp.ClientSession(headers={"Origin": self._base}, cookie_jar=aiohttp.CookieJar(unsafe=True))
            )
            (await self.ask("POST", "session", username=self.username, password=self.password)).expect(200)
        except BaseException:
            await self._parts.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._deaf()
        if self.leg is not None:
            await self.leg.close()
        await self._parts.aclose()

    # ---- the leg and the events ----

    async def on_duty(self) -> None:
        """Opens a leg (instead of an earlier one) with the agent's tone, and listens; returns when it may speak."""
        await self.open_leg()
        await self.listen()
        await self.ready()

    async def open_leg(self) -> None:
        """A fresh connection; voice cleaning off, as it would rightly remove a steady tone."""
        if self.leg is not None:
            await self.leg.close()
        self.leg = Headset()
        offer = await self.leg.offer()
        if self.cuttable:
            offer = re.sub(r"^a=candidate:.*\r?\n", "", offer, flags=re.MULTILINE)  # it must not find another way to us
        answer = (await self._admitted(offer)).expect(201)
        self.leg_id = str(answer["leg"])
        await self.leg.accept(await self._detour(str(answer["sdp"])) if self.cuttable else str(answer["sdp"]))
        (await self.ask("PATCH", f"legs/{self.leg_id}", suppression=False)).expect(204)

    async def _admitted(self, offer: str) -> Reply:
        """Asks until there is room: a worker whose ticks come late, as on a busy machine, takes nobody for a while."""
        for pause in (0.5, 1, 2, 4, 8, 0):
            reply = await self.ask("POST", "legs", sdp=offer, type="offer", replace=True)
            if reply.slug != "overloaded":
                break
            await asyncio.sleep(pause)
        return reply

    async def listen(self) -> None:
        """Connects to the events; returns with the snapshot."""
        await self._deaf()
        self._socket = await self._http.ws_connect(f"{self._base}/api/v1/events", max_msg_size=0)
        await self._socket.send_json({"type": "hello", "leg": self.leg_id or None})
        first = self.when(lambda message: message.get("type") == "snapshot")
        self._listening = asyncio.create_task(self._listen(self._socket), name=f"agent-{self.username}")
        await first

    async def ready(self, timeout: float = 15) -> None:  # noqa: ASYNC109 - one wait, one bound
        """Returns when the service says that the leg may speak. Raises TimeoutError with its reason."""
        deadline = time.monotonic() + timeout
        while True:
            legs = (await self.ask("GET", "legs")).expect(200)["legs"]
            if any(leg["leg"] == self.leg_id and leg["ready"] for leg in legs):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.username}'s leg is not ready: {legs}")
            await asyncio.sleep(0.05)  # the service tells of it by no event of its own

    def when(self, wanted: Callable[[Json], bool], timeout: float = 10) -> asyncio.Future[Json]:
        """The next frame, or change of a delta, that is wanted. Raises TimeoutError when awaited for too long."""
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._watchers.append((wanted, future))
        return asyncio.ensure_future(_within(future, timeout, self.username))

    async def seen(self, call: str) -> None:
        """Returns when the panel shows this call and offers to take it over."""
        if not (call in self.calls and _offered(self.calls[call])):
            await self.when(
                lambda change: (
                    change.get("kind") == "call" and change["call"]["id"] == call and _offered(change["call"])
                )
            )

    # ---- acts ----

    async def ask(self, method: str, path: str, /, **body: Any) -> Reply:
        """One request to the API; GET and DELETE without a body."""
        sent = time.monotonic()
        async with self._http.request(method, f"{self._base}/api/v1/{path}", json=body or None) as response:
            text = await response.text()
            answered = time.monotonic()
        return Reply(sent, answered, response.status, json.loads(text) if text else {})

    async def engage(self, call: str, mode: str = "takeover", **more: Any) -> Reply:
        """As a person does: tries again when the leg was not ready at that moment."""
        for _ in range(5):
            reply = await self.ask("POST", f"calls/{call}/engagements", mode=mode, leg=self.leg_id, **more)
            if reply.slug != "leg-not-ready":
                break
            await asyncio.sleep(0.5)
        return reply

    async def release(self, engagement: str, note: str = "") -> Reply:
        return await self.ask("POST", f"engagements/{engagement}/release", note=note)

    async def switch(self, engagement: str, mode: str) -> Reply:
        return await self.ask("PATCH", f"engagements/{engagement}", mode=mode)

    # ---- faults ----

    def cut(self) -> float:
        """The network to the service is gone, both ways, without a word; returns when."""
        if self._tcp is None:
            raise RuntimeError("this agent's network cannot be cut; give cuttable=True")
        for udp in self._udp:
            udp.cut = True
        self._tcp.cut()
        return time.monotonic()

    def mend(self) -> None:
        """The network is back."""
        for udp in self._udp:
            udp.cut = False
        if self._tcp is not None:
            self._tcp.abort()  # as a browser does that notices another network: its old connections are worth nothing
            self._tcp.mend()

    # ---- inside ----

    async def _reach(self, url: str) -> str:
        if not self.cuttable:
            return url
        host, _, port = url.removeprefix("http://").partition(":")
        self._tcp = await self._parts.enter_async_context(TcpForwarder((host, int(port))))
        return f"http://127.0.0.1:{self._tcp.port}"

    async def _detour(self, answer: str) -> str:
        """The answer with one way to the service only: through a forwarder."""
        found = _CANDIDATE.search(answer)
        if found is None:
            raise Unexpected(f"the answer has no host candidate: {answer}")
        udp = await self._parts.enter_async_context(UdpForwarder((found[1], int(found[2])), host="127.0.0.1"))
        self._udp.append(udp)
        line = f"a=candidate:1 1 udp 2130706431 127.0.0.1 {udp.port} typ host"
        kept = re.sub(r"^a=candidate:.*\r?\n", "", answer, flags=re.MULTILINE)
        return kept.replace("a=end-of-candidates", f"{line}\r\na=end-of-candidates")

    async def _deaf(self) -> None:
        task, self._listening = self._listening, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        socket, self._socket = self._socket, None
        if socket is not None:
            async with asyncio.timeout(1):
                await socket.close()

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async with asyncio.TaskGroup() as tasks:
            pinging = tasks.create_task(_ping(socket))
            async for message in socket:
                self._take(json.loads(message.data))
            pinging.cancel()

    def _take(self, frame: Json) -> None:
        if frame["type"] == "snapshot":
            self.calls = {call["id"]: call for call in frame["calls"]}
            self._tell(frame)
        for change in frame.get("changes", ()):
            self._change(change)
            self._tell(change)

    def _change(self, change: Json) -> None:
        match change["kind"]:
            case "call":
                self.calls[change["call"]["id"]] = change["call"]
            case "call-gone":
                self.calls.pop(change["id"], None)
            case "engagement" if change["engagement"]["ended"]:
                ended = change["engagement"]
                self.ended.setdefault(ended["id"], (time.monotonic(), ended["ended"]))

    def _tell(self, message: Json) -> None:
        for entry in list(self._watchers):
            wanted, future = entry
            if future.done():
                self._watchers.remove(entry)
            elif wanted(message):
                self._watchers.remove(entry)
                future.set_result(message)


def _offered(call: Json) -> bool:
    return any(choice["mode"] == "takeover" and choice["possible"] for choice in call["modes"])


async def _ping(socket: aiohttp.ClientWebSocketResponse) -> None:
    while not socket.closed:
        await socket.send_json({"type": "ping", "t": time.time()})
        await asyncio.sleep(PING_S)


async def _within(future: asyncio.Future[Json], seconds: float, who: str) -> Json:
    try:
        async with asyncio.timeout(seconds):
            return await future
    except TimeoutError:
        raise TimeoutError(f"{who} was not told within {seconds:g} s what it waits for") from None
