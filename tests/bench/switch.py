"""How fast and how cleanly the caller changes from the AI to the agent and back: `python -m tests.bench.switch --json`.

The whole real path: HTTP -> service -> AMI -> Asterisk -> AudioSocket -> media worker <- WebRTC <- agent, or with
`--pbx=freeswitch` ESL and SIP; the caller is a SIP/RTP phone that notes the kernel's time stamp of each packet, the
register hook is in the dialplan. Times run from the moment the client sends its request, all on CLOCK_MONOTONIC:

- `agent_heard_ms`: to the first window of 10 ms with the agent's tone (there to stay), by arrival at the caller
- `ai_last_heard_ms`: to the last such window with the AI's tone, 0 if none came
- `hole_ms`: longest time without either tone, from 100 ms before the request to 0.8 s after it; the same for the
  return. With frames of 20 ms and no hole at all this is what they jitter
- `rtp`: of all the caller received in these calls; `sequence_breaks` are steps of the sequence number other than one
  within an SSRC, `reinvites` those that the caller's phone was sent
- `delay_ms`: medians. From the frame of the microphone that changes its tone to the caller, and from the caller's
  frame to the agent's network (a browser's own buffer comes on top)

The soak joins again and again, four calls at once, and looks for legs, caller's or AI's, that get no RTP after the
join (`stalled_joins`); `healed` came back by themselves, i.e. by the service's check; `silence_ms` is how long it took.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.agent import Unexpected
from tests.support.exchange import Exchange, ExchangeCall
from tests.support.figures import spread
from tests.support.fleet import RemoteAgent
from tests.support.freeswitch import TOPOLOGIES as FS_TOPOLOGIES
from tests.support.freeswitch import FsLab, Instance
from tests.support.hearing import (
    STALL_MS,
    Joined,
    Returned,
    Unheard,
    joined,
    longest_gap,
    returned,
    sequence_breaks,
)
from tests.support.opus_codec import opus
from tests.support.stack import Stack, Taken, heard
from web.demo import asterisk
from web.demo import freeswitch as demo
from web.demo.asterisk import Installation
from web.demo.rtp import PCMU, Codec
from web.demo.sip import SipCall
from web.demo.tones import AGENT_HZ, CALLER_HZ
from web.demo.voice import Tone

ROUNDS_PER_CALL = 10
JOIN_S = RETURN_S = 0.8
SOAK_CALLS = 4
SOAK_JOIN_S, SOAK_PAUSE_S = 0.6, 0.3
CODECS: dict[str, Callable[[], Codec]] = {"pcmu": lambda: PCMU, "opus": opus}
OTHER_CALLER_HZ, OTHER_AGENT_HZ = 600, 1800


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Rounds:
    """What one topology gave."""

    joins: list[Joined] = field(default_factory=list)
    returns: list[Returned] = field(default_factory=list)
    to_caller: list[float] = field(default_factory=list)
    to_agent: list[float] = field(default_factory=list)
    lost: int = 0
    ssrc_changes: int = 0
    sequence_breaks: int = 0
    reinvites: int = 0
    max_gap_ms: float = 0.0
    faults: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """As the bench prints them."""
        delays = {"agent_to_caller": self.to_caller, "caller_to_agent": self.to_agent}
        return {
            "n": len(self.joins),
            "agent_heard_ms": spread(one.agent_heard for one in self.joins),
            "ai_last_heard_ms": spread(one.ai_last_heard for one in self.joins),
            "hole_ms": spread(one.hole for one in self.joins),
            "return_ai_heard_ms": spread(one.ai_heard for one in self.returns),
            "return_hole_ms": spread(one.hole for one in self.returns),
            "rtp": {
                "lost": self.lost,
                "sequence_breaks": self.sequence_breaks,
                "ssrc_changes": self.ssrc_changes,
                "reinvites": self.reinvites,
                "max_gap_ms": round(self.max_gap_ms, 1),
            },
            "delay_ms": {name: round(statistics.median(all_), 1) if all_ else None for name, all_ in delays.items()},
            **({"faults": self.faults} if self.faults else {}),
        }


async def measure(stack: Stack, topology: str, count: int) -> dict[str, Any]:
    """`count` takeovers and returns of one topology."""
    rounds = Rounds()
    done = 0
    while done < count:
        wanted = min(ROUNDS_PER_CALL, count - done)
        call = await stack.lab.call(topology)
        since = time.monotonic()
        for _ in range(wanted):
            try:
                await _round(stack, call, rounds)
            except (Unexpected, Unheard) as error:
                rounds.faults.append(str(error))
                say(f"{topology}: {error}")
        report = call.caller.media.report(since, time.monotonic())
        rounds.lost += report.lost
        rounds.sequence_breaks += sequence_breaks(call.caller.media.packets, since)
        rounds.ssrc_changes += report.ssrc_changes
        rounds.reinvites += call.caller.reinvites
        rounds.max_gap_ms = max(rounds.max_gap_ms, report.max_gap_ms)
        await call.hangup()
        done += wanted
        say(f"{topology}: {done} of {count} takeovers; agent heard {spread(one.agent_heard for one in rounds.joins)}")
    return rounds.figures()


async def _round(stack: Stack, call: ExchangeCall, rounds: Rounds) -> None:
    await asyncio.sleep(random.uniform(0.05, 0.09))  # not in step with the frames
    recording = call.caller.recording
    taken = await stack.engage(call, stack.agents[0])
    await asyncio.sleep(max(0.0, taken.since + JOIN_S + 0.05 - time.monotonic()))
    try:
        rounds.joins.append(joined(recording, taken.since, taken.since + JOIN_S))
        to_caller, to_agent = await one_way(taken)
        rounds.to_caller += [] if to_caller is None else [to_caller]
        rounds.to_agent += [] if to_agent is None else [to_agent]
    finally:
        reply = await taken.agent.release(taken.engagement)
    reply.expect(204)
    await asyncio.sleep(max(0.0, reply.sent + RETURN_S + 0.05 - time.monotonic()))
    rounds.returns.append(returned(recording, reply.sent, reply.sent + RETURN_S))


async def one_way(taken: Taken) -> tuple[float | None, float | None]:
    """A change of tone on its way to the caller, and to the agent, in ms; None where it was not heard."""
    spoken = await taken.agent.speak(OTHER_AGENT_HZ)
    at = await heard(taken.call, OTHER_AGENT_HZ, spoken, 1)
    await taken.agent.speak(AGENT_HZ)
    tone = _Noted(OTHER_CALLER_HZ)
    taken.call.caller.source = tone
    await asyncio.sleep(0.25)
    taken.call.caller.source = Tone(CALLER_HZ)
    there = None if tone.begun is None else await taken.agent.first_heard(OTHER_CALLER_HZ, tone.begun)
    return (
        None if at is None else (at - spoken) * 1000,
        None if there is None or tone.begun is None else (there - tone.begun) * 1000,
    )


class _Noted(Tone):
    """A tone that notes when its first frame left."""

    begun: float | None = None

    def take(self, count: int, rate: int) -> Any:
        if self.begun is None:
            self.begun = time.monotonic()
        return super().take(count, rate)


# ---- the soak ----


@dataclass
class Soak:
    """Joins, and what became of those that stalled."""

    joins: int = 0
    healed: int = 0
    silences: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        silence = spread(self.silences)
        return {
            "n": self.joins,
            "stalled_joins": len(self.silences),
            "healed": self.healed,
            "silence_ms": {"p95": silence["p95"] if silence else 0.0, "max": silence["max"] if silence else 0.0},
            **({"faults": self.faults} if self.faults else {}),
        }


async def soak(stack: Stack, count: int) -> dict[str, Any]:
    """`count` joins on T1, several calls at once."""
    result = Soak()
    calls = [await stack.lab.call("T1") for _ in range(SOAK_CALLS)]
    todo = iter(range(count))

    async def go(call: ExchangeCall, agent: RemoteAgent) -> None:
        for _ in todo:
            try:
                await _join(stack, call, agent, result)
            except Unexpected as error:
                result.faults.append(str(error))
            if result.joins % 20 == 0:
                say(f"soak: {result.joins} of {count} joins, {len(result.silences)} stalled, {result.healed} healed")

    async with asyncio.TaskGroup() as tasks:
        for call, agent in zip(calls, stack.agents, strict=False):
            tasks.create_task(go(call, agent))
    await asyncio.gather(*(call.hangup() for call in calls))
    return result.figures()


async def _join(stack: Stack, call: ExchangeCall, agent: RemoteAgent, result: Soak) -> None:
    await asyncio.sleep(SOAK_PAUSE_S + random.uniform(0, 0.1))
    legs = [leg for leg in (call.caller, call.ai) if isinstance(leg, SipCall)]
    for leg in legs:
        leg.recording.clear()
        leg.media.packets.clear()
    taken = await stack.engage(call, agent)
    await asyncio.sleep(max(0.0, taken.since + SOAK_JOIN_S - time.monotonic()))
    until = time.monotonic()
    (await agent.release(taken.engagement)).expect(204)
    result.joins += 1
    worst, back = max(longest_gap(leg.media.packets, taken.since, until) for leg in legs)
    if worst > STALL_MS:
        result.silences.append(worst)
        result.healed += back


@asynccontextmanager
async def exchange(
    pbx: str, topologies: Sequence[str], codec: str = "pcmu", *, linear: bool = True
) -> AsyncIterator[tuple[str, Callable[[], Installation | Exchange]]]:
    """What is measured, by name, and what gives the ground of each `Stack`. Raises NotProvided."""
    if pbx == "asterisk":
        installation = await asterisk.provide(say)
        yield f"asterisk {installation.version}", lambda: installation
        return
    found = demo.find()
    async with Instance(found.program.parents[1]) as instance:
        chosen = [topology for topology in FS_TOPOLOGIES if topology in topologies]
        spoken = CODECS[codec]
        yield (
            f"freeswitch {found.version}",
            lambda: FsLab(instance, fallback=True, topologies=chosen, codec=spoken, linear=linear),
        )


async def bench(
    pbx: str, topologies: Sequence[str], codec: str, count: int, joins: int, *, linear: bool
) -> dict[str, Any]:
    """Everything, as one JSON object."""
    async with (
        exchange(pbx, topologies, codec, linear=linear) as (name, ground),
        Stack(ground(), staff=SOAK_CALLS) as stack,
    ):
        figures: dict[str, Any] = {"pbx": name}
        chosen = [topology for topology in stack.lab.topologies if topology in topologies]
        measured = {topology: await measure(stack, topology, count) for topology in chosen}
        figures["soak"] = await soak(stack, joins)
        figures["topologies"] = measured
    return figures


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.switch", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--n", type=int, default=30, help="takeovers and returns per topology")
    parser.add_argument("--soak", type=int, default=300, help="joins of the soak on T1")
    parser.add_argument("--pbx", choices=["asterisk", "freeswitch"], default="asterisk")
    parser.add_argument("--topologies", default="T1,T2,T3,T4", help="which of those the PBX has, separated by commas")
    parser.add_argument("--codec", choices=list(CODECS), default="pcmu", help="the callers', on a FreeSWITCH")
    parser.add_argument("--timed", action="store_true", help="a FreeSWITCH without SEND_LINEAR_TIMESTAMPS")
    arguments = parser.parse_args()
    chosen = arguments.topologies.split(",")
    measured = bench(arguments.pbx, chosen, arguments.codec, arguments.n, arguments.soak, linear=not arguments.timed)
    print(json.dumps(asyncio.run(measured)))


if __name__ == "__main__":
    main()
