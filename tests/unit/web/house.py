"""The web over real services and a real store; only the PBX and the agents' audio are stand-ins."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp.test_utils import TestServer

from connector.domain.calls import (
    Ai,
    Call,
    CallId,
    Channels,
    Mode,
    ModeChoice,
    Party,
    PatchId,
    Topology,
    call_id,
)
from connector.domain.errors import LegNotReady, TakeoverError
from connector.domain.events import AgentGone, CallChanged, CallGone, PbxEvent, PbxUp, SnapshotTaken
from connector.domain.people import ActorRole
from connector.ports import Endpoint, Engaged
from connector.services.escalations import Escalations, Means, Policy
from connector.services.marks import Marks
from connector.services.notices import Notices
from connector.services.registry import Registry
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from connector.services.whose import PlacedJournal
from connector.store import Store
from web import app, pages
from web.auth import Guard
from web.door import Door
from web.hub import Hub
from web.metrics import Requests
from web.missed import Missed
from web.passwords import hash_password, hash_secret, new_secret
from web.routing import Limits, Route
from web.signalling import Desk
from web.site import Site

KEY = bytes(range(32))
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Place:
    """An endpoint."""

    uuid: str
    host: str = "127.0.0.1"
    port: int = 4000
    rate: int = 8000
    sip_port: int = 0


@dataclass(frozen=True)
class Opened:
    leg: str
    answer: str = "v=0\r\n"


@dataclass
class StandInPbx:
    """Confirms everything at once, or fails with `fault`."""

    registry: Registry
    name: str = "lab"
    fault: TakeoverError | None = None
    did: list[tuple[str, ...]] = field(default_factory=list)

    def events(self) -> AsyncIterator[PbxEvent]:
        raise NotImplementedError("the tests feed the registry themselves")

    async def rate(self, call: Call) -> int:
        return 8000

    async def snapshot(self) -> SnapshotTaken:
        return SnapshotTaken(self.name, ())

    def _do(self, *what: str) -> None:
        self.did.append(what)
        if self.fault is not None:
            raise self.fault

    async def engage(self, call: Call, endpoint: Endpoint, mode: Mode, name: str = "") -> Engaged:
        self._do("engage", call.id, mode)
        return Engaged(call.id, PatchId(endpoint.uuid), f"AudioSocket/{endpoint.uuid}", mode)

    async def switch(self, engaged: Engaged, mode: Mode) -> Engaged:
        self._do("switch", engaged.call, mode)
        return Engaged(engaged.call, engaged.patch, engaged.channel, mode)

    async def renew(self, engaged: Engaged) -> None:
        return

    async def release(self, engaged: Engaged) -> None:
        self._do("release", engaged.call)
        self.registry.apply(AgentGone(engaged.call, engaged.patch, "hangup"))

    async def hangup(self, call: Call) -> None:
        self._do("hangup", call.id)
        self.registry.apply(CallGone(call.id, "hangup"))

    async def transfer(self, call: Call, destination: str) -> None:
        self._do("transfer", call.id, destination)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        self._do("dtmf", call.id, digits)


@dataclass
class StandInLegs:
    """Legs that are up at once and alive until `unfit` names them."""

    open: dict[str, str] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    refuse: Exception | None = None
    settings: list[tuple[str, dict[str, bool]]] = field(default_factory=list)

    async def open_leg(self, offer: str, owner: str) -> Opened:
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise self.refuse
        leg = uuid.uuid4().hex[:12]
        self.open[leg] = owner
        return Opened(leg)

    async def renew_leg(self, leg: str, offer: str) -> Opened:
        await asyncio.sleep(0)
        if leg not in self.open:
            raise LegNotReady(leg, "no-such-leg")
        return Opened(leg)

    async def close_leg(self, leg: str) -> None:
        self.open.pop(leg, None)

    async def set_leg(
        self, leg: str, *, muted: bool | None = None, suppression: bool | None = None, hold: bool | None = None
    ) -> None:
        given = {"muted": muted, "suppression": suppression, "hold": hold}
        self.settings.append((leg, {name: value for name, value in given.items() if value is not None}))

    async def open_patch(self, leg: str, *, rate: int) -> Place:
        return Place(str(uuid.uuid4()))

    async def close_patch(self, patch: str) -> None:
        return

    def alive(self, leg: str) -> bool:
        return self.not_alive_reason(leg) is None

    def not_alive_reason(self, leg: str) -> str | None:
        return self.unfit.get(leg) if leg in self.open else "no-such-leg"

    def signal_lost(self, leg: str) -> None:
        self.lost.append(leg)

    def signal_back(self, leg: str) -> None:
        if leg in self.lost:
            self.lost.remove(leg)


@dataclass(frozen=True)
class Answer:
    """What a request got."""

    status: int
    body: Any
    headers: Any

    @property
    def slug(self) -> str:
        return str(self.body["type"]).removeprefix("urn:takeover:")


class Visitor:
    """Somebody with a browser or a token."""

    def __init__(self, house: "House", client: aiohttp.ClientSession) -> None:
        self.house, self.client = house, client

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """One request; `body` is sent as JSON."""
        url = path if path.startswith("/") else f"/api/v1/{path}"
        if body is not None:
            more["json"] = body
        async with self.client.request(method, f"{self.house.url}{url}", allow_redirects=False, **more) as answer:
            found = await answer.json(content_type=None) if "json" in answer.content_type else await answer.text()
            return Answer(answer.status, found, answer.headers)

    async def leg(self) -> str:
        """A leg of this session."""
        answer = await self.ask("POST", "legs", {"sdp": "v=0", "type": "offer", "replace": True})
        return str(answer.body["leg"])

    async def events(self, leg: str | None = None) -> aiohttp.ClientWebSocketResponse:
        """The events socket, after its hello."""
        socket = await self.client.ws_connect(f"{self.house.url}/api/v1/events")
        await socket.send_json({"type": "hello", "leg": leg})
        return socket


class House:
    """An async context manager; inside, the application is served."""

    def __init__(self, folder: Path, *, https: bool = False, lifetime: timedelta = timedelta(hours=1)) -> None:
        self.folder, self.https, self.lifetime = folder, https, lifetime
        self.now = 0.0
        self.escalation = Policy()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        enter = self._stack.enter_async_context
        self.store = await enter(
            Store.open(
                f"sqlite+aiosqlite:///{self.folder / 'test.db'}", KEY, self.folder / "reserve", reserve_size=4096
            )
        )
        self.registry = Registry(["lab"], "test")
        self.pbx = StandInPbx(self.registry)
        self.legs = StandInLegs()
        transcripts = Transcripts(self.registry, self.store.transcripts)
        journal = PlacedJournal(self.store.audit, self.registry, self.store.audit.whose)
        self.takeovers = Takeovers(
            self.registry, {"lab": self.pbx}, self.legs, journal, self.store.engagements, transcripts
        )
        self.site = Site(self.https, "https://panel.test" if self.https else "")
        self.guard = Guard(self.store, self.site, self.lifetime, clock=lambda: self.now)
        notices = Notices(self.registry, transcripts)
        means = Means(journal, self.store.escalations, notices, self.pbx.transfer, self.takeovers.spoken_for)
        escalations = Escalations(self.registry, means, self.escalation)
        marks = Marks(self.registry, self.folder / "marks")
        self.missed = Missed(self.store.missed, journal, "test")
        await self.missed.restore()
        self.desk, self.hub = Desk(self.legs), Hub(self.registry, escalations, self.missed)
        self.parts = app.Parts(
            registry=self.registry,
            takeovers=self.takeovers,
            transcripts=transcripts,
            escalations=escalations,
            marks=marks,
            store=self.store,
            journal=journal,
            guard=self.guard,
            site=self.site,
            door=Door(1_000, self.site),
            desk=self.desk,
            hub=self.hub,
            files=pages.load(pages.STATIC),
            destinations={"lab": ["support"]},
            version="0",
            media_faults=list,
            more_samples=list,
            ice_servers=lambda _name: [],
            limits=Limits.of(1e6, 1e6),  # a test may ask as fast as it can; `test_limits` has its own
        )
        self._running = asyncio.gather(self.takeovers.run(), escalations.run(), marks.run(), self.missed.run())
        self.server = await enter(TestServer(app.build(self.parts)))
        self.url = str(self.server.make_url("")).rstrip("/")
        self.registry.apply(PbxUp("lab", "22.0.0"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hub.close()
        await self.takeovers.drain()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._stack.aclose()

    # ---- people ----

    async def visitor(self, **headers: str) -> Visitor:
        """Somebody who is not logged in; sends the right origin unless told otherwise."""
        client = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"Origin": self.site.origin or self.url, **headers}
        )
        await self._stack.enter_async_context(client)
        return Visitor(self, client)

    async def account(self, name: str, role: ActorRole = "agent", queues: tuple[str, ...] = ("*",)) -> str:
        """An account with PASSWORD; returns its id."""
        account = await self.store.accounts.add(name, name.title(), role, await hash_password(PASSWORD), queues)
        return account.id

    async def person(self, name: str, role: ActorRole = "agent", queues: tuple[str, ...] = ("*",)) -> Visitor:
        """Somebody who is logged in."""
        if await self.store.accounts.by_name(name) is None:
            await self.store.accounts.add(name, name.title(), role, "no password", queues)
        secret, _ = await self.guard.login_once(self.guard.link(name))
        return await self.visitor(Cookie=f"{self.site.cookie}={secret}")

    async def machine(self, name: str, role: ActorRole, ai: str = "", queue: str = "*", tenant: str = "*") -> Visitor:
        """A machine with a token."""
        secret = new_secret()
        await self.store.tokens.add(name, role, ai, hash_secret(secret), [queue], [tenant])
        client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"})
        await self._stack.enter_async_context(client)
        return Visitor(self, client)

    # ---- calls ----

    def call(self, number: str = "1", *, ai: str = "acme", queue: str = "sales", **more: Any) -> CallId:
        """A live call."""
        call = make_call(number, ai=ai, queue=queue, **more)
        self.registry.apply(CallChanged(call))
        return call.id

    def hang_up(self, call: CallId) -> None:
        self.registry.apply(CallGone(call, "hangup"))

    def routes(self) -> list[Route]:
        """The whole table."""
        return app.routes(self.parts, Requests())


def make_call(number: str = "1", *, ai: str = "acme", queue: str = "sales", ref: str = "", **more: Any) -> Call:
    """A call in which everything is possible."""
    return Call(
        id=call_id("lab", f"1700000000.{number}"),
        pbx="lab",
        channels=Channels(
            f"PJSIP/caller-{number}", f"1700000000.{number}", f"PJSIP/ai-{number}", f"1700000001.{number}"
        ),
        caller=Party("+491701234567", "Erika"),
        ai=Ai(ai, ref),
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        topology=Topology.DIALLED,
        modes=more.pop("modes", tuple(ModeChoice(mode, possible=True) for mode in Mode)),
        queue=queue,
        **more,
    )


async def until_closed(socket: aiohttp.ClientWebSocketResponse) -> tuple[list[str], int]:
    """What is still said on a socket, and the code that it is closed with."""
    said: list[str] = []
    async with asyncio.timeout(5):
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return said, int(message.data)
            said.append(str(message.data))


async def until(true: Callable[[], bool]) -> None:
    """Returns when it is true; TimeoutError after a minute, which only a fault takes, on a busy machine too."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is waited for has no event that a test could have
            await asyncio.sleep(0.01)
