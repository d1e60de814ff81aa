"""Scripted agents in a process of their own, so that they can be killed and disturb no measurement.

`python -m tests.support.fleet` is that process: JSON lines in, `{"id","do","agent",...}`, one answer each,
`{"id","value"}` or `{"id","fault"}`. It ends with its standard input. Times are CLOCK_MONOTONIC, which is one for
all processes of a machine.
"""

import asyncio
import gc
import itertools
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .agent import Agent, Json, Reply
from .processes import gone, kill

LINE = 1 << 20
ROOT = Path(__file__).parents[2]


class AgentFailed(Exception):
    """What an agent was asked failed in its process; the text is the fault there."""


class Fleet:
    """The process, from outside; `async with fleet() as agents`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def join(self, url: str, username: str, password: str, *, cuttable: bool = False) -> "RemoteAgent":
        """A new agent logs in and goes on duty; returns when it may speak."""
        await self.do("join", username, url=url, password=password, cuttable=cuttable)
        return RemoteAgent(self, username)

    async def do(self, act: str, agent: str, /, **arguments: Any) -> Any:
        """One command, and what came of it. Raises AgentFailed."""
        stdin = self.process.stdin
        if stdin is None or self.process.returncode is not None:
            raise AgentFailed(f"{act}: the agents' process is gone")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        stdin.write(json.dumps({"id": number, "do": act, "agent": agent, **arguments}).encode() + b"\n")
        try:
            async with asyncio.timeout(60):
                return await answer
        finally:
            self._waiting.pop(number, None)

    def kill(self) -> float:
        """SIGKILL, as a crashed browser; returns when."""
        at = time.monotonic()
        kill(self.process.pid)
        return at

    async def read(self) -> None:
        """Hands out the answers until the process ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            waiting = self._waiting.get(message["id"])
            if waiting is None or waiting.done():
                continue
            if "fault" in message:
                waiting.set_exception(AgentFailed(message["fault"]))
            else:
                waiting.set_result(message["value"])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(AgentFailed("the agents' process ended"))


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """A process for agents, which ends with the block or with us."""
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"),
        *(sys.executable, "-m", "tests.support.fleet"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=LINE,
    )
    agents = Fleet(process)
    reading = asyncio.create_task(agents.read(), name="fleet")
    try:
        yield agents
    finally:
        if process.returncode is None and process.stdin is not None:
            process.stdin.close()
            if not await gone(process.pid):
                process.kill()
        await process.wait()
        await reading


@dataclass(frozen=True)
class RemoteAgent:
    """One agent of a fleet."""

    fleet: Fleet
    name: str

    async def _do(self, act: str, **arguments: Any) -> Any:
        return await self.fleet.do(act, self.name, **arguments)

    async def engage(self, call: str, mode: str = "takeover") -> Reply:
        return Reply(**await self._do("engage", call=call, mode=mode))

    async def release(self, engagement: str, note: str = "") -> Reply:
        return Reply(**await self._do("release", engagement=engagement, note=note))

    async def switch(self, engagement: str, mode: str) -> Reply:
        return Reply(**await self._do("switch", engagement=engagement, mode=mode))

    async def get(self, path: str) -> Reply:
        return Reply(**await self._do("get", path=path))

    async def seen(self, call: str) -> None:
        """Returns when its panel shows the call."""
        await self._do("seen", call=call)

    async def on_duty(self) -> None:
        """A new leg and a new events connection: after a fault."""
        await self._do("on_duty")

    async def cut(self) -> float:
        """Its network is gone; since when."""
        return float(await self._do("cut"))

    async def mend(self) -> None:
        await self._do("mend")

    async def speak(self, hertz: float) -> float:
        """Changes its tone; when the first frame with it was spoken."""
        return float(await self._do("speak", hertz=hertz))

    async def first_heard(self, hertz: float, since: float) -> float | None:
        """When this tone first arrived after `since`."""
        value = await self._do("first_heard", hertz=hertz, since=since)
        return None if value is None else float(value)

    async def ended(self) -> dict[str, tuple[float, str]]:
        """Engagement -> when and why it ended, as the events told."""
        return {key: (float(at), str(why)) for key, (at, why) in (await self._do("ended")).items()}


# ---- inside the process ----


class _Host:
    """Carries out commands."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}

    async def do(self, command: Json) -> Any:
        act, name = command["do"], command["agent"]
        if act == "join":
            agent = Agent(command["url"], name, command["password"], cuttable=command["cuttable"])
            self.agents[name] = await agent.__aenter__()
            await agent.on_duty()
            gc.freeze()  # a full collection would hold up every microphone here
            return None
        agent = self.agents[name]
        match act:
            case "engage":
                return asdict(await agent.engage(command["call"], command["mode"]))
            case "release":
                return asdict(await agent.release(command["engagement"], command["note"]))
            case "switch":
                return asdict(await agent.switch(command["engagement"], command["mode"]))
            case "get":
                return asdict(await agent.ask("GET", command["path"]))
            case "ended":
                return agent.ended
            case "seen" | "on_duty":
                return await (agent.seen(command["call"]) if act == "seen" else agent.on_duty())
            case "cut" | "mend":
                return agent.cut() if act == "cut" else agent.mend()
            case "speak":
                return await _speak(agent, command["hertz"])
            case "first_heard":
                assert agent.leg is not None
                since = command["since"]
                return agent.leg.recording(since).trace(command["hertz"], since).first()
        raise ValueError(f"{act!r} is no command")


async def _speak(agent: Agent, hertz: float) -> float:
    assert agent.leg is not None
    frame = agent.leg.speak(hertz)
    await asyncio.sleep(0.1)  # a frame leaves every 20 ms
    at = agent.leg.spoken_at(frame)
    if at is None:
        raise RuntimeError("the microphone stands still")
    return at


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    host = _Host()

    async def answer(command: Json) -> None:
        try:
            said = {"id": command["id"], "value": await host.do(command)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side must learn of it
            said = {
                "id": command["id"],
                "fault": f"{command['do']} of {command['agent']}: {type(error).__name__}: {error}",
            }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    async with asyncio.TaskGroup() as tasks:
        while line := await reader.readline():
            tasks.create_task(answer(json.loads(line)))
    for agent in host.agents.values():
        await agent.__aexit__()


if __name__ == "__main__":
    asyncio.run(_serve())
