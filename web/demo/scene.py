"""The demo's call centre: its Asterisk, two AIs, and callers who keep calling, so that some calls are always live."""

import asyncio
import contextlib
import itertools
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, Self

from . import ai_audiosocket, ai_sip, caller
from .ai_platform import Platform
from .asterisk import Installation, Instance
from .packages import NotProvided, Progress
from .pbxconfig import Endpoint, PbxConfig
from .script import Script
from .sip import SipError, SipPhone
from .talk import Leg, Play

Attach = Literal["sip", "socket"]
SIP_AI, SOCKET_AI = "Ada", "Bo"
AI_NAMES: Mapping[Attach, str] = {"sip": SIP_AI, "socket": SOCKET_AI}
TENANT = "demo"
NEXT_CALLER_S = 4.0


@dataclass(frozen=True)
class Seat:
    """A place in the scene that always has a caller: how its AI is attached and which errands come one by one."""

    attach: Attach
    scripts: Sequence[Script]


MakePlay = Callable[[Script, Platform], Play]


class Scene:
    """Asterisk, AIs and callers; an async context manager. The calls begin with `run`, when a service is there."""

    def __init__(
        self, installation: Installation, seats: Sequence[Seat], make_play: MakePlay, progress: Progress
    ) -> None:
        self._installation, self._seats, self._make_play = installation, seats, make_play
        self._progress = progress
        self._exits = AsyncExitStack()
        self._plays: dict[str, tuple[Attach, Play]] = {}
        self._sip_ai = ai_sip.sip_ai(self._ai_came)
        self._socket_ai = ai_audiosocket.socket_ai(self._ai_came)
        self._callers = SipPhone(caller.ENDPOINT)
        self._pbx: Instance | None = None

    @property
    def pbx(self) -> Instance:
        if self._pbx is None:
            raise RuntimeError("the scene is not open; use it as `async with Scene(...)`")
        return self._pbx

    @property
    def plays(self) -> Sequence[Play]:
        """What is going on now."""
        return tuple(play for _, play in self._plays.values())

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            for part in (self._sip_ai, self._socket_ai, self._callers):
                await exits.enter_async_context(part)
            self._pbx = await exits.enter_async_context(Instance(self._installation, self._config()))
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    def ai_rules(self) -> list[dict[str, str]]:
        """How the service recognises the AIs, for its settings."""
        return [
            {"name": SIP_AI, "match": f"^PJSIP/{ai_sip.ENDPOINT}\\b"},
            {"name": SOCKET_AI, "match": f"^AudioSocket/{re.escape(self._socket_ai.host)}:{self._socket_ai.port}/"},
        ]

    async def run(self, base_url: str, tokens: Mapping[str, str]) -> None:
        """Keeps every seat taken until it is cancelled. `tokens` are the AIs', by name. Raises NotProvided when
        Asterisk ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pbx_ended(), name="pbx")
            platforms = {}
            for attach, name in AI_NAMES.items():
                platforms[attach] = Platform(
                    name, base_url, tokens[name], self._progress, on_event=self._told, on_lost=self._lost(attach)
                )
                tasks.create_task(platforms[attach].run(), name=f"ai-{name}")
            for seat in self._seats:
                tasks.create_task(self._keep(seat, platforms[seat.attach]), name=f"seat-{seat.attach}")

    async def _pbx_ended(self) -> None:
        """Raises NotProvided when Asterisk ends by itself: without it there is nothing to show."""
        with contextlib.suppress(ProcessLookupError):  # it ended before we looked
            ended = asyncio.Event()
            handle = os.pidfd_open(self.pbx.pid)  # readable when the process ends
            loop = asyncio.get_running_loop()
            loop.add_reader(handle, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(handle)
                os.close(handle)
        raise NotProvided("Asterisk ended by itself; start the demo again")

    # ---- callers ----

    async def _keep(self, seat: Seat, platform: Platform) -> None:
        await platform.connected.wait()
        for script in itertools.cycle(seat.scripts):
            got_through = False
            try:
                await self._call(seat, script, platform)
                got_through = True
            except SipError as error:
                self._progress(f"{script.caller_name} did not get through: {error}")
            if len(self._plays) >= len(self._seats) - 1 or not got_through:
                await asyncio.sleep(NEXT_CALLER_S)  # else too few are live: the next one calls at once

    async def _call(self, seat: Seat, script: Script, platform: Platform) -> None:
        """One caller's call from dialling to the end, whoever ends it."""
        ref = str(uuid.uuid4())
        play = self._make_play(script, platform)
        self._plays[ref] = (seat.attach, play)
        extension = f"{seat.attach}-{script.queue}-{ref}"
        ports = self.pbx.ports
        try:
            async with caller.dialled(self._callers, ports.host, ports.sip, extension, script) as call:
                play.caller_on(call)
                talking = asyncio.create_task(play.run(), name=f"talk-{script.key}")
                ended = asyncio.create_task(call.ended.wait())
                await asyncio.wait((talking, ended), return_when=asyncio.FIRST_COMPLETED)
                for task in (talking, ended):
                    task.cancel()
                await asyncio.gather(talking, ended, return_exceptions=True)
                if talking.done() and not talking.cancelled() and (fault := talking.exception()):
                    raise fault
        finally:
            del self._plays[ref]

    # ---- AIs ----

    def _ai_came(self, leg: Leg) -> None:
        for _, play in self._of(leg.ref):
            play.ai_on(leg)

    def _told(self, event: Mapping[str, Any]) -> None:
        """An event of the service for one of the AIs: to the call that it is about."""
        about = event.get("call")
        if event.get("type") == "call" and isinstance(about, dict):
            for _, play in self._of(str(about.get("ai", {}).get("ref", ""))):
                play.call = str(about["id"])
                play.told(event)
            return
        for play in self.plays:
            if play.call and play.call == about:
                play.told(event)

    def _of(self, ref: str) -> list[tuple[Attach, Play]]:
        return [self._plays[ref]] if ref in self._plays else []

    def _lost(self, attach: Attach) -> Callable[[], None]:
        def lost() -> None:
            for attached, play in list(self._plays.values()):
                if attached == attach:
                    play.lost()

        return lost

    # ---- the PBX ----

    def _config(self) -> PbxConfig:
        return PbxConfig(
            dialplan=dialplan(self._socket_ai.dial_string("${DEMO_REF}")),
            endpoints=(
                Endpoint(caller.ENDPOINT, context="demo-incoming"),
                Endpoint(ai_sip.ENDPOINT, context="demo-nothing", contact=self._sip_ai.uri),
            ),
        )


def dialplan(socket_dial: str) -> str:
    """What an administrator would have, plus our hook: extension `<attach>-<queue>-<reference of the call>`.

    ulaw on both sides, so without the hook each switch would change the SSRC. `g` in the Dial: when the AI hangs up,
    the caller is not lost but goes to the fallback.
    """
    return f"""
[demo-incoming]
exten => _X!,1,Hangup(1)
exten => _[a-z]!,1,Set(DEMO_REF=${{CUT(EXTEN,-,3-)}})
 same => n,Gosub(takeover,register,1({TENANT},${{CUT(EXTEN,-,2)}},${{DEMO_REF}}))
 same => n,Set(__DEMO_REF=${{DEMO_REF}})
 same => n,GotoIf($["${{CUT(EXTEN,-,1)}}"="socket"]?socket)
 same => n,Dial(PJSIP/{ai_sip.ENDPOINT},10,gb(demo-header^s^1))
 same => n,Goto(takeover-fallback,s,1)
 same => n(socket),Dial({socket_dial},10,g)
 same => n,Goto(takeover-fallback,s,1)

[demo-header]
exten => s,1,Set(PJSIP_HEADER(add,{ai_sip.REF_HEADER})=${{DEMO_REF}})
 same => n,Gosub(ai-mark,s,1)
 same => n,Return()

[demo-nothing]
exten => _X!,1,Hangup(1)
"""
