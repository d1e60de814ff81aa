"""The demo's call centre: its PBXs, two AIs, and callers who keep calling, so that some calls are always live."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from . import ai_audiosocket, ai_sip, caller
from . import asterisk as ast
from . import freeswitch as fs
from .ai_platform import Platform
from .ending import ended
from .exchanges import AI_NAMES, Attach, Exchange, Kind, OnAsterisk, OnFreeSwitch
from .packages import NotProvided, Progress
from .script import Script
from .sip import SipError, SipPhone
from .talk import Leg, Play

NEXT_CALLER_S = 4.0


@dataclass(frozen=True)
class Seat:
    """A place in the scene that always has a caller: how its AI is attached, which errands come one by one, and which
    PBX is called."""

    attach: Attach
    scripts: Sequence[Script]
    pbx: Kind = "asterisk"


@dataclass(frozen=True)
class Installations:
    """What the PBXs of the scene are started from: an Asterisk, and beside it a FreeSWITCH where there is one."""

    asterisk: ast.Installation
    freeswitch: fs.Installation | None = None

    @property
    def titles(self) -> str:
        """What people call them."""
        also = f" and FreeSWITCH {self.freeswitch.version}" if self.freeswitch else ""
        return f"Asterisk {self.asterisk.version}{also}"


MakePlay = Callable[[Script, Platform], Play]


class Scene:
    """PBXs, AIs and callers; an async context manager. The calls begin with `run`, when a service is there."""

    def __init__(
        self, installations: Installations, seats: Sequence[Seat], make_play: MakePlay, progress: Progress
    ) -> None:
        self._installations, self._seats, self._make_play = installations, seats, make_play
        self._progress = progress
        self._exits = AsyncExitStack()
        self._plays: dict[str, tuple[Attach, Play]] = {}
        self._sip_ai = ai_sip.sip_ai(self._ai_came)
        self._socket_ai = ai_audiosocket.socket_ai(self._ai_came)
        self._callers = SipPhone(caller.ENDPOINT)
        self._exchanges: dict[Kind, Exchange] = {}

    def settings(self) -> Mapping[str, Mapping[str, object]]:
        """The PBXs, for the service's settings."""
        return {kind: exchange.settings() for kind, exchange in self._exchanges.items()}

    @property
    def plays(self) -> Sequence[Play]:
        """What is going on now."""
        return tuple(play for _, play in self._plays.values())

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            for ai in (self._sip_ai, self._socket_ai):
                await exits.enter_async_context(ai)
            exchanges: dict[Kind, Exchange] = {
                "asterisk": OnAsterisk(self._installations.asterisk, self._sip_ai.uri, self._socket_ai)
            }
            if self._installations.freeswitch is not None:
                exchanges["freeswitch"] = OnFreeSwitch(self._installations.freeswitch, self._sip_ai.uri)
            for exchange in exchanges.values():
                await exits.enter_async_context(exchange)
            await exits.enter_async_context(self._callers)  # the last to come: at the end they hang up first
            self._exchanges, self._exits = exchanges, exits.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def run(self, base_url: str, tokens: Mapping[str, str]) -> None:
        """Keeps every seat taken until it is cancelled. `tokens` are the AIs', by name. Raises NotProvided when
        a PBX ends."""
        async with asyncio.TaskGroup() as tasks:
            for kind, exchange in self._exchanges.items():
                tasks.create_task(_ended(exchange), name=kind)
            platforms = {}
            for attach, name in AI_NAMES.items():
                platforms[attach] = Platform(
                    name, base_url, tokens[name], self._progress, on_event=self._told, on_lost=self._lost(attach)
                )
                tasks.create_task(platforms[attach].run(), name=f"ai-{name}")
            for seat in self._seats:
                tasks.create_task(self._keep(seat, platforms[seat.attach]), name=f"seat-{seat.pbx}-{seat.attach}")

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
        host, port = self._exchanges[seat.pbx].sip
        try:
            async with caller.dialled(self._callers, host, port, extension, script) as call:
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


async def _ended(exchange: Exchange) -> None:
    """Raises NotProvided when a PBX ends by itself: without it there is nothing to show."""
    await ended(exchange.pid)
    raise NotProvided(f"{exchange.title.partition(' ')[0]} ended by itself; start the demo again")
