"""The API and the events of the server, imitated for looks and for failures that a real PBX gives only by chance.

What the panel does with a real server, real media and a real PBX is tested elsewhere; here calls are scripted, any
request can be made to fail, and the events connection can be cut. The agent leg is real WebRTC, from aiortc.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiortc
import av
from aiohttp import web

from web.demo.browser import find

STATIC = Path(__file__).parents[2] / "web" / "static"

CHROMIUM = find()
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # beeps once a second
    "--use-fake-ui-for-media-stream",
]
MODES = ("monitor", "whisper", "barge", "takeover")
CSP = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types panel"
)

_DRAIN = 0.6
"""Seconds after which nothing that was said before can still lie in a buffer on the way here."""

_PAGE = 12
"""Rows of the audit in one answer."""

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def stamp(ago: float = 0.0) -> str:
    """RFC 3339, `ago` seconds before now."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class PanelStub:
    """A scripted server. Serve it with ``async with PanelStub() as stub``; everything is on `stub.url`."""

    role: str = "agent"
    calls: dict[str, Json] = field(default_factory=dict)
    turns: dict[str, list[Json]] = field(default_factory=dict)
    pbxs: dict[str, Json] = field(default_factory=dict)
    audit: list[Json] = field(default_factory=list)
    users: list[Json] = field(default_factory=list)
    tokens: list[Json] = field(default_factory=list)
    asked: list[tuple[str, str, Json]] = field(default_factory=list)
    """Method, path below /api/v1 and body of every request, in order."""
    udp_blocked: bool = False
    """Legs are answered with a candidate that nobody listens on."""
    refuse_events: bool = False
    heartbeat: bool = True
    """Whether pings are answered."""
    logged_in: bool = False
    ice_servers: list[Json] = field(default_factory=list)
    deaf: list[str] = field(default_factory=list)
    """AIs that hear nothing while a person speaks."""
    slow: float = 0.0
    """Seconds before a mode is confirmed."""

    url: str = ""
    _rev: int = 0
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _sockets: set[web.WebSocketResponse] = field(default_factory=set)
    _failures: dict[tuple[str, str], tuple[int, Json]] = field(default_factory=dict)
    _legs: dict[str, aiortc.RTCPeerConnection] = field(default_factory=dict)
    _ears: list[asyncio.Task[None]] = field(default_factory=list)
    _peak: int = 0
    _runner: web.AppRunner | None = None

    # ---- scripting ----

    def add_call(self, number: str, name: str, ai: str = "Aurora", *, age: float = 60.0, **facts: Any) -> str:
        """A live call, `age` seconds old; returns its id."""
        call = f"alpha~{1763800000 + next(self._numbers)}.{next(self._numbers)}"
        self.calls[call] = {
            "id": call,
            "pbx": "alpha",
            "tenant": "default",
            "queue": "billing",
            "caller": {"number": number, "name": name},
            "ai": {"name": ai, "ref": f"{ai.lower()}-{call[-3:]}"},
            "started_at": stamp(age),
            "answered_at": stamp(age),
            "topology": "dialled",
            "modes": [{"mode": mode, "possible": True, "how": "live", "why": ""} for mode in MODES],
            "engagements": [],
            "escalation": None,
            "recording": "",
            "notes": [],
            "talking": {"caller": False, "ai": False, "agent": False},
            **facts,
        }
        self.turns[call] = []
        return call

    def record(
        self, act: str, call: str | None, result: str | None = "ok", *, actor: str = "ben", **facts: str
    ) -> None:
        """An act on record, the latest first."""
        at = stamp(60.0 - len(self.audit))
        number = len(self.audit) + 1
        row = {"number": number, "at": at, "ended_at": at if result else None, "actor": f"id-{actor}"}
        self.audit.insert(0, {**row, "actor_name": actor, "act": act, "call": call, "result": result, "facts": facts})

    async def say(
        self, call: str, speaker: str, text: str, *, turn: str | None = None, final: bool = True, ago: float = 0.0
    ) -> str:
        """A turn of the transcript, or an update of the one with this id; returns the id."""
        said = {
            "turn": turn or f"t{next(self._numbers)}",
            "speaker": speaker,
            "text": text,
            "at": stamp(ago),
            "final": final,
        }
        old = [one for one in self.turns[call] if one["turn"] != said["turn"]]
        self.turns[call] = [*old, said]
        await self.push({"kind": "turn", "call": call, "turn": said})
        return str(said["turn"])

    async def push(self, *changes: Json) -> None:
        """A delta to every connected panel."""
        self._rev += 1
        for socket in list(self._sockets):
            await socket.send_json({"type": "delta", "rev": self._rev, "changes": list(changes)})

    async def quality(self, **facts: float | bool) -> None:
        """The server's last second of every open leg; a good one unless told otherwise."""
        good = {"level_in": -24.0, "level_out": -20.0, "speaking": True, "lost": 0.0, "lost_at_browser": 0.0}
        counts = {"played": 4000, "recovered": 0, "concealed": 0, "stretched": 0, "underruns": 0, "noise": 0}
        told = {**good, **counts, "jitter_ms": 3.0, "buffer_ms": 14.0, "rtt_ms": 24.0, "echo": False, **facts}
        await self.push(*({"kind": "quality", "leg": leg, "facts": told} for leg in self._legs))

    async def update(self, call: str, **facts: Any) -> None:
        """Changes facts of a call and tells."""
        self.calls[call].update(facts)
        await self.push({"kind": "call", "call": self.calls[call]})

    async def hang_up(self, call: str, why: str = "hangup") -> None:
        """The caller is gone."""
        del self.calls[call]
        await self.push({"kind": "call-gone", "id": call, "why": why})

    async def end_engagement(self, call: str, reason: str) -> None:
        """Ends every engagement of a call for a reason that is not the agent's wish."""
        for engagement in list(self.calls[call]["engagements"]):
            self.calls[call]["engagements"].remove(engagement)
            await self.push({"kind": "engagement", "engagement": {**engagement, "phase": "ended", "ended": reason}})

    async def ask(
        self, call: str, reason: str, priority: str, *, by: str = "Aurora", ago: float = 0.0, left: float | None = None
    ) -> None:
        """A call asks for a person, who should come within `left` seconds."""
        deadline = stamp(-left) if left is not None else None
        asked = {
            "reason": reason,
            "priority": priority,
            "by": by,
            "since": stamp(ago),
            "raised_at": stamp(ago),
            "deadline_at": deadline,
            "step": 0,
            "escalated_at": None,
            "supervisors": False,
        }
        await self.update(call, escalation=asked)

    async def climb(self, call: str, priority: str, *, supervisors: bool = False) -> None:
        """Nobody came: the ladder's next step."""
        asked = self.calls[call]["escalation"]
        step = {"priority": priority, "step": asked["step"] + 1, "escalated_at": stamp(), "supervisors": supervisors}
        await self.update(call, escalation={**asked, **step})

    async def colleague(self, call: str, name: str, mode: str) -> None:
        """Another agent is in the call."""
        engagement = self._engagement(call, mode, "other-leg", agent=f"id-{name}", agent_name=name)
        self.calls[call]["engagements"].append(engagement)
        await self.push({"kind": "engagement", "engagement": engagement})
        await self._answered(call, mode)

    async def _answered(self, call: str, mode: str) -> None:
        if mode in ("barge", "takeover") and self.calls[call]["escalation"]:
            await self.update(call, escalation=None)

    def fail(self, method: str, path_end: str, status: int, slug: str, detail: str = "", **facts: Any) -> None:
        """The next request with this method whose path ends so is refused."""
        self._failures[method, path_end] = (status, _problem(status, slug, detail, **facts))

    async def pbx(self, name: str, *, up: bool, why: str = "") -> None:
        """A PBX comes or goes."""
        self.pbxs[name] = {"name": name, "up": up, "why": why, "version": "Asterisk 22.10.0"}
        await self.push({"kind": "pbx", "pbx": self.pbxs[name]})

    async def cut_events(self) -> None:
        """Ends every events connection without a word."""
        for socket in list(self._sockets):
            await socket.close(code=1001)

    async def lose_leg(self, why: str = "worker-lost") -> None:
        """The media server gives up every leg."""
        for leg in list(self._legs):
            await self._legs.pop(leg).close()
            await self.push({"kind": "leg", "leg": leg, "up": False, "why": why})

    def stop_sound(self) -> None:
        """The server's sound towards every leg stops, the connection stays."""
        for peer in self._legs.values():
            for sender in peer.getSenders():
                sender.replaceTrack(None)

    async def loudest(self, seconds: float) -> int:
        """The largest sample that came from the microphone within this time, of 32767."""
        await asyncio.sleep(_DRAIN)
        self._peak = 0
        await asyncio.sleep(seconds)
        return self._peak

    # ---- serving ----

    async def __aenter__(self) -> Self:
        self.pbxs.setdefault("alpha", {"name": "alpha", "up": True, "why": "", "version": "Asterisk 22.10.0"})
        app = web.Application(middlewares=[self._middleware])
        app.add_routes(
            [
                web.get("/", self._page("index.html")),
                web.get("/login", self._page("login.html")),
                web.static("/static", STATIC),
                web.post("/api/v1/session", self._login),
                web.get("/api/v1/session", self._session),
                web.delete("/api/v1/session", self._logout),
                web.put("/api/v1/session/duty", self._empty),
                web.put("/api/v1/session/password", self._empty),
                web.get("/api/v1/events", self._events),
                web.get("/api/v1/audit", self._audit),
                web.get("/api/v1/users", self._users),
                web.get("/api/v1/tokens", self._tokens),
                web.get("/api/v1/calls/{call}/transcript", self._transcript),
                web.post("/api/v1/calls/{call}/engagements", self._engage),
                web.post("/api/v1/calls/{call}/escalation", self._escalate),
                web.delete("/api/v1/calls/{call}/escalation", self._withdraw),
                web.post("/api/v1/calls/{call}/coach", self._empty),
                web.post("/api/v1/calls/{call}/dtmf", self._empty),
                web.post("/api/v1/calls/{call}/transfer", self._transfer),
                web.post("/api/v1/calls/{call}/wrap-up", self._empty),
                web.post("/api/v1/calls/{call}/hangup", self._hangup),
                web.patch("/api/v1/engagements/{engagement}", self._change),
                web.post("/api/v1/engagements/{engagement}/release", self._release),
                web.post("/api/v1/legs", self._open_leg),
                web.get("/api/v1/legs", self._list_legs),
                web.patch("/api/v1/legs/{leg}", self._empty),
                web.delete("/api/v1/legs/{leg}", self._close_leg),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut_events()
        for peer in self._legs.values():
            await peer.close()
        for ear in self._ears:
            ear.cancel()
        await asyncio.gather(*self._ears, return_exceptions=True)
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/v1/"):
            path = request.path.removeprefix("/api/v1")
            body = json.loads(await request.text() or "null") if request.can_read_body else None
            self.asked.append((request.method, path, body or {}))
            for (method, end), (status, problem) in list(self._failures.items()):
                if request.method == method and path.endswith(end):
                    del self._failures[method, end]
                    return web.json_response(problem, status=status, content_type="application/problem+json")
            if not self.logged_in and request.method != "POST":
                return web.json_response(_problem(401, "not-logged-in", "Log in first."), status=401)
        answer = await handler(request)
        if request.path.startswith("/static/"):
            answer.headers["Cache-Control"] = "no-cache"  # as the real server's: asked for anew each time
        return answer

    def _page(self, name: str) -> Handler:
        async def page(_: web.Request) -> web.StreamResponse:
            headers = {"Content-Security-Policy": CSP, "Cache-Control": "no-cache"}
            return web.FileResponse(STATIC / name, headers=headers)

        return page

    async def _login(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["password"] != "correct horse":
            return web.json_response(_problem(401, "not-logged-in", "Wrong."), status=401)
        self.logged_in = True
        return web.json_response(self._me())

    def _me(self) -> Json:
        return {"id": "anna", "name": "Anna Berg", "role": self.role}

    async def _session(self, _: web.Request) -> web.Response:
        may = {"supervisor": ["read-audit"], "admin": ["read-audit", "administer"]}.get(self.role, [])
        return web.json_response(
            {
                **self._me(),
                "may": may,
                "deaf": self.deaf,
                "ice_servers": self.ice_servers,
                "destinations": {"alpha": ["billing", "night-desk", "voicemail"]},
            }
        )

    async def _logout(self, _: web.Request) -> web.Response:
        self.logged_in = False
        return web.Response(status=204)

    async def _audit(self, request: web.Request) -> web.Response:
        query = request.query
        found = [one for one in self.audit if query.get("act", one["act"]) == one["act"]]
        begin = int(query.get("cursor", "0"))
        rest = len(found) > begin + _PAGE
        return web.json_response({"audit": found[begin : begin + _PAGE], "next": str(begin + _PAGE) if rest else None})

    async def _users(self, _: web.Request) -> web.Response:
        return web.json_response({"users": self.users})

    async def _tokens(self, _: web.Request) -> web.Response:
        return web.json_response({"tokens": self.tokens})

    async def _empty(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_events:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for message in socket:
                await self._heard(socket, json.loads(message.data))
        finally:
            self._sockets.discard(socket)
        return socket

    async def _heard(self, socket: web.WebSocketResponse, said: Json) -> None:
        if said["type"] == "hello":
            calls, pbxs = list(self.calls.values()), list(self.pbxs.values())
            snapshot = {"type": "snapshot", "rev": self._rev, "me": self._me(), "calls": calls, "pbxs": pbxs}
            await socket.send_json(snapshot)
            self._sockets.add(socket)
        elif said["type"] == "ping" and self.heartbeat:
            await socket.send_json({"type": "pong", "t": said["t"]})

    async def _transcript(self, request: web.Request) -> web.Response:
        return web.json_response({"turns": self.turns.get(request.match_info["call"], [])})

    def _engagement(self, call: str, mode: str, leg: str, agent: str = "anna", agent_name: str = "Anna Berg") -> Json:
        return {
            "id": f"e{next(self._numbers)}",
            "call": call,
            "agent": agent,
            "agent_name": agent_name,
            "mode": mode,
            "phase": "active",
            "since": stamp(),
            "leg": leg,
            "hold": False,
        }

    async def _engage(self, request: web.Request) -> web.Response:
        call, body = request.match_info["call"], await request.json()
        speaker = next((e for e in self.calls[call]["engagements"] if e["mode"] in ("barge", "takeover")), None)
        if speaker and body["mode"] in ("barge", "takeover"):
            if "override" not in body:
                return _taken(speaker)
            await self.end_engagement(call, "taken-over-by-supervisor")
        await asyncio.sleep(self.slow)
        engagement = self._engagement(call, body["mode"], body["leg"])
        self.calls[call]["engagements"].append(engagement)
        await self.push({"kind": "engagement", "engagement": engagement})
        await self._answered(call, body["mode"])
        return web.json_response(engagement, status=201)

    def _find(self, request: web.Request) -> Json:
        wanted = request.match_info["engagement"]
        return next(e for call in self.calls.values() for e in call["engagements"] if e["id"] == wanted)

    async def _change(self, request: web.Request) -> web.Response:
        engagement = self._find(request)
        body = await request.json()
        others = [e for e in self.calls[engagement["call"]]["engagements"] if e is not engagement]
        speaker = next((e for e in others if e["mode"] in ("barge", "takeover")), None)
        if speaker and body.get("mode") in ("barge", "takeover"):
            return _taken(speaker)
        await asyncio.sleep(self.slow)
        engagement.update(body)
        await self.push({"kind": "engagement", "engagement": engagement})
        return web.json_response(engagement)

    async def _release(self, request: web.Request) -> web.Response:
        engagement = self._find(request)
        await asyncio.sleep(self.slow)
        self.calls[engagement["call"]]["engagements"].remove(engagement)
        await self.push({"kind": "engagement", "engagement": {**engagement, "phase": "ended", "ended": "released"}})
        return web.Response(status=204)

    async def _escalate(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self.ask(request.match_info["call"], body["reason"], body["priority"], by="Anna Berg")
        return web.json_response(self.calls[request.match_info["call"]]["escalation"], status=201)

    async def _withdraw(self, request: web.Request) -> web.Response:
        await self.update(request.match_info["call"], escalation=None)
        return web.Response(status=204)

    async def _hangup(self, request: web.Request) -> web.Response:
        await self.hang_up(request.match_info["call"])
        return web.Response(status=204)

    async def _transfer(self, request: web.Request) -> web.Response:
        await self.hang_up(request.match_info["call"], "transferred")
        return web.Response(status=204)

    async def _open_leg(self, request: web.Request) -> web.Response:
        body = await request.json()
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        peer.addTrack(aiortc.mediastreams.AudioStreamTrack())

        @peer.on("track")
        def track(microphone: aiortc.MediaStreamTrack) -> None:
            self._ears.append(asyncio.create_task(self._listen(microphone)))

        offer = body["sdp"]
        if self.udp_blocked:  # neither side may find the other
            offer = "".join(line for line in offer.splitlines(keepends=True) if not line.startswith("a=candidate"))
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(offer, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        old = self._legs.get(str(body.get("replace")))
        leg = f"leg-{next(self._numbers)}" if old is None else str(body["replace"])
        self._legs[leg] = peer
        answer = peer.localDescription.sdp
        if self.udp_blocked:
            lines = [line for line in answer.splitlines() if not line.startswith("a=candidate")]
            at = next(i for i, line in enumerate(lines) if line.startswith("a=mid"))
            lines.insert(at, "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host")
            answer = "\r\n".join(lines) + "\r\n"

        @peer.on("connectionstatechange")
        async def changed() -> None:
            if peer.connectionState == "connected":
                await self.push({"kind": "leg", "leg": leg, "up": True, "why": ""})
                if old is not None:
                    await old.close()

        return web.json_response({"leg": leg, "sdp": answer, "type": "answer"}, status=201)

    async def _list_legs(self, _: web.Request) -> web.Response:
        return web.json_response({"legs": [{"leg": leg, "ready": True, "why": ""} for leg in self._legs]})

    async def _listen(self, microphone: aiortc.MediaStreamTrack) -> None:
        while True:
            try:
                frame = await microphone.recv()
            except aiortc.mediastreams.MediaStreamError:
                return
            assert isinstance(frame, av.AudioFrame)
            self._peak = max(self._peak, int(abs(frame.to_ndarray().astype(int)).max()))

    async def _close_leg(self, request: web.Request) -> web.Response:
        peer = self._legs.pop(request.match_info["leg"], None)
        if peer:
            await peer.close()
        return web.Response(status=204)


def _taken(speaker: Json) -> web.Response:
    name = speaker["agent_name"]
    problem = _problem(409, "already-taken", f"{name} already speaks in call {speaker['call']!r}.", speaker=name)
    return web.json_response(problem, status=409)


def _problem(status: int, slug: str, detail: str, **facts: Any) -> Json:
    return {"type": f"urn:takeover:{slug}", "title": slug, "status": status, "detail": detail, **facts}
