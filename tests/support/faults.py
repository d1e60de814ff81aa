"""What can go wrong in a takeover, each as one function: `await row(stack, size)` breaks something under `size` calls.

It finds everything in order, and leaves it so: services up, agents on duty, no call. What it returns says what every
caller went through. The promise: nobody is dropped, nobody is left in silence, no channel stays behind.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from web.demo.tones import AGENT_HZ, AI_HZ

from . import processes
from .exchange import FALLBACK_HZ
from .stack import Stack, Taken, heard

WITHIN_S = 9.0  # for the AI to come back: the PBX's dead-man acts after 5
LEFT_S = 2.0  # for the last channel to go


@dataclass
class Outcome:
    """One caller."""

    ai_back_ms: float | None = None
    dropped: bool = False
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """One run of a row."""

    outcomes: list[Outcome] = field(default_factory=list)
    channels_left: int = 0
    registry_equal: bool = True
    faults: list[str] = field(default_factory=list)  # what broke a promise, in words


Row = Callable[[Stack, int], Awaitable[Report]]


# ---- something dies ----


async def kill9_service(stack: Stack, size: int) -> Report:
    """The service alone is killed; its workers must notice by themselves."""
    return await _dead(stack, size, lambda: [stack.server.pid])


async def kill9_worker(stack: Stack, size: int) -> Report:
    """The media workers are killed; the service goes on."""
    return await _dead(stack, size, stack.workers)


async def kill9_both(stack: Stack, size: int) -> Report:
    """Service and workers are killed at once."""
    return await _dead(stack, size, lambda: [stack.server.pid, *stack.workers()])


async def freeze_service(stack: Stack, size: int) -> Report:
    """The service stands still for good; its workers live."""
    return await _frozen(stack, size, lambda: [stack.server.pid])


async def freeze_worker(stack: Stack, size: int) -> Report:
    """The media workers stand still; the service lives."""
    return await _frozen(stack, size, stack.workers)


async def freeze_both(stack: Stack, size: int) -> Report:
    """Everything of ours stands still: only the PBX can help."""
    return await _frozen(stack, size, lambda: [stack.server.pid, *stack.workers()])


async def _dead(stack: Stack, size: int, victims: Callable[[], Sequence[int]]) -> Report:
    taken = await stack.take(size)
    pids = victims()
    at = time.monotonic()
    for pid in pids:
        processes.kill(pid)
    report = await _ai_is_back(stack, taken, at)
    if stack.server.pid in pids:
        await stack.server.restart()
    return await _all_in_order(stack, taken, report)


async def _frozen(stack: Stack, size: int, victims: Callable[[], Sequence[int]]) -> Report:
    taken = await stack.take(size)
    pids = victims()
    at = time.monotonic()
    for pid in pids:
        processes.freeze(pid)
    try:
        report = await _ai_is_back(stack, taken, at)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                processes.thaw(pid)
    return await _all_in_order(stack, taken, report)


async def browser_killed(stack: Stack, size: int) -> Report:
    """The process with the agents' browsers is killed: no goodbye by WebRTC, but closed connections."""
    taken = await stack.take(size)
    at = stack.fleet.kill()
    report = await _ai_is_back(stack, taken, at)
    await stack.hire()
    return await _all_in_order(stack, taken, report)


async def agent_network_cut(stack: Stack, size: int) -> Report:
    """The agents' network is gone, UDP and TCP, without a word; their connections stay open."""
    taken = await stack.take(size)
    cut = await asyncio.gather(*(one.agent.cut() for one in taken))
    report = await _ai_is_back(stack, taken, min(cut))
    await asyncio.gather(*(one.agent.mend() for one in taken))
    return await _all_in_order(stack, taken, report)


# ---- the PBX connection ----


async def ami_cut_2s(stack: Stack, size: int) -> Report:
    """AMI is away for two seconds: no takeover ends. Afterwards they are given back."""
    taken = await stack.take(size)
    cut = time.monotonic()
    stack.control.cut()
    await asyncio.sleep(2)
    stack.control.mend()
    return await _survived(stack, taken, cut)


async def ami_reset_2s(stack: Stack, size: int) -> Report:
    """The same with the connection reset, and new ones refused."""
    taken = await stack.take(size)
    cut = time.monotonic()
    stack.control.refuse = True
    stack.control.abort()
    await asyncio.sleep(2)
    stack.control.refuse = False
    return await _survived(stack, taken, cut)


async def _survived(stack: Stack, taken: Sequence[Taken], cut: float) -> Report:
    await stack.server.ready()
    await asyncio.sleep(max(0.0, cut + 6.5 - time.monotonic()))  # longer than the dead-man has patience
    now = time.monotonic()
    report = Report(registry_equal=await stack.equal(stack.server))
    for one in taken:
        recording = one.call.caller.recording
        kept = recording.trace(AGENT_HZ, cut, now).hole_ms(cut, now)
        if kept > 500 or recording.trace(AI_HZ, cut, now).heard.any():
            report.faults.append(
                f"{one.call.topology}: the takeover ended, or the agent was not heard for {kept:.0f} ms"
            )
    replies = await asyncio.gather(*(one.agent.release(one.engagement) for one in taken))
    for one, reply in zip(taken, replies, strict=True):
        back = await heard(one.call, AI_HZ, reply.sent, WITHIN_S)
        report.outcomes.append(_outcome(one, reply.sent, back))
        if reply.status >= 300:
            told = (await one.agent.ended()).get(one.engagement)
            report.faults.append(f"release: {reply.status} {reply.body}; the agent was told {told}, cut at {cut}")
    return await _all_in_order(stack, taken, report)


async def ami_cut_20s(stack: Stack, size: int) -> Report:
    """AMI is away for twenty seconds: the PBX's dead-man gives the calls back; the service learns of it afterwards."""
    taken = await stack.take(size)
    at = time.monotonic()
    stack.control.cut()
    try:
        report = await _ai_is_back(stack, taken, at)
        await asyncio.sleep(max(0.0, at + 20 - time.monotonic()))
    finally:
        stack.control.mend()
    return await _all_in_order(stack, taken, report, within=15)


async def pbx_restart(stack: Stack, size: int) -> Report:
    """The PBX is killed and started again. Its calls die with it; afterwards everything works as before."""
    lost = await stack.take(size)
    await stack.lab.restart()
    booted = time.monotonic()
    await stack.server.ready()
    recovered_ms = (time.monotonic() - booted) * 1000
    await asyncio.gather(*(one.call.caller.hangup() for one in lost), *(one.call.ai.hangup() for one in lost))
    equal = await stack.equal(stack.server)
    ended = [await _told(one) for one in lost]
    taken = await stack.take(size)
    report = await _given_back(taken)
    report.registry_equal = equal
    for why in ended:
        if not why:
            report.faults.append("the agent was not told that the engagement ended with the PBX")
    for outcome in report.outcomes:
        outcome.figures["recovered_ms"] = recovered_ms
    return await _all_in_order(stack, taken, report)


# ---- a party leaves ----


async def ai_hangup(stack: Stack, size: int) -> Report:
    """The AI hangs up during the takeover: caller and agent go on. Then the agent leaves: the fallback."""
    endings = stack.lab.endings
    taken = await stack.take(size, options=lambda number: endings[number % len(endings)])
    at = await _ai_hangs_up(taken)
    await asyncio.sleep(1.5)
    report = Report([Outcome(figures={"agent_kept_ms_gap": _agent_gap(one, at)}) for one in taken])
    replies = await asyncio.gather(*(one.agent.release(one.engagement) for one in taken))
    await _fallback(taken, report, [reply.sent for reply in replies], "release_fallback_ms")
    return await _all_in_order(stack, taken, report, in_fallback=True)


async def ai_hangup_then_agent_dies(stack: Stack, size: int) -> Report:
    """The AI hangs up, then the workers are killed. Every second caller has an AI that the fallback dials once more."""
    taken = await stack.take(size, options=lambda number: stack.lab.redials if number % 2 else {})
    at = await _ai_hangs_up(taken)
    await asyncio.sleep(1)
    report = Report([Outcome(figures={"agent_kept_ms_gap": _agent_gap(one, at)}) for one in taken])
    at = time.monotonic()
    for pid in stack.workers():
        processes.kill(pid)
    plain = [number for number in range(size) if not number % 2]
    only = Report([report.outcomes[number] for number in plain])
    await _fallback([taken[number] for number in plain], only, [at] * len(plain), "fallback_ms")
    report.faults += only.faults
    for number in range(1, size, 2):
        back = await heard(taken[number].call, AI_HZ, at, WITHIN_S, in_speech=True)  # a prompt comes before
        report.outcomes[number].ai_back_ms = None if back is None else (back - at) * 1000
        if back is None:
            report.faults.append(f"{taken[number].call.topology}: the AI was not dialled once more")
    return await _all_in_order(stack, taken, report, in_fallback=True)


async def caller_hangup(stack: Stack, size: int) -> Report:
    """The callers hang up: nobody is left behind."""
    taken = await stack.take(size)
    at = time.monotonic()
    await asyncio.gather(*(one.call.caller.hangup() for one in taken))
    report = Report()
    try:
        await stack.lab.no_channels(LEFT_S)
    except AssertionError as error:
        report.faults.append(str(error))
    gone = stack.lab.hangups(at)
    report.outcomes = [Outcome(figures={"all_gone_ms": (max(gone, default=at) - at) * 1000}) for _ in taken]
    report.registry_equal = await stack.equal(stack.server)
    report.channels_left = len(await stack.lab.channels())
    for one in taken:
        if (why := await _told(one)) != "caller-hangup":
            report.faults.append(f"the agent was told {why!r} instead of caller-hangup")
    return report


async def _told(one: Taken) -> str:
    """Why the engagement ended, as its agent was told; empty if nothing was said in time."""
    deadline = time.monotonic() + LEFT_S
    while True:
        ended = (await one.agent.ended()).get(one.engagement)
        if ended is not None or time.monotonic() > deadline:
            return "" if ended is None else ended[1]
        await asyncio.sleep(0.05)


async def _ai_hangs_up(taken: Sequence[Taken]) -> float:
    at = time.monotonic()
    await asyncio.gather(*(one.call.ai.hangup() for one in taken))
    return at


def _agent_gap(one: Taken, at: float) -> float:
    until = at + 0.9
    return one.call.caller.recording.trace(AGENT_HZ, at - 0.1, until).hole_ms(at - 0.1, until)


async def _fallback(taken: Sequence[Taken], report: Report, since: Sequence[float], figure: str) -> None:
    for one, at, outcome in zip(taken, since, report.outcomes, strict=True):
        reached = await heard(one.call, FALLBACK_HZ, at, 5)
        if reached is None:
            report.faults.append(f"{one.call.topology}: the caller did not reach the fallback")
        else:
            outcome.figures[figure] = (reached - at) * 1000


# ---- somebody else ----


async def second_service(stack: Stack, size: int) -> Report:
    """Another service on the same PBX wants the same calls: refused, the first undisturbed; then it gets them."""
    server, rivals = await stack.second()
    taken = await stack.take(size)
    report = Report()
    for one, rival in zip(taken, rivals, strict=False):
        await rival.seen(one.id)
    tries = await asyncio.gather(*(rival.engage(one.id) for one, rival in zip(taken, rivals, strict=False)))
    await asyncio.sleep(0.7)
    for one, refused in zip(taken, tries, strict=True):
        if refused.status != 409:
            report.faults.append(f"the second service was answered {refused.status} {refused.body}")
        gap = one.call.caller.recording.trace(AGENT_HZ, refused.sent - 0.1, refused.sent + 0.6)
        report.outcomes.append(
            Outcome(figures={"first_kept_ms_gap": gap.hole_ms(refused.sent - 0.1, refused.sent + 0.6)})
        )
    report.registry_equal = await stack.equal(stack.server) and await stack.equal(server)
    await asyncio.gather(*(one.agent.release(one.engagement) for one in taken))
    theirs = [
        Taken(one.call, rival, one.id, str((await rival.engage(one.id)).expect(201)["id"]), time.monotonic())
        for one, rival in zip(taken, rivals, strict=False)
    ]
    await asyncio.sleep(0.5)
    given = await _given_back(theirs)
    for outcome, back in zip(report.outcomes, given.outcomes, strict=True):
        outcome.ai_back_ms, outcome.dropped = back.ai_back_ms, back.dropped
    report.faults += given.faults
    return await _all_in_order(stack, taken, report)


# ---- what they share ----


async def _ai_is_back(stack: Stack, taken: Sequence[Taken], at: float) -> Report:
    """Waits for the AI at every caller, then looks for agents' channels that stayed."""
    back = await asyncio.gather(*(heard(one.call, AI_HZ, at, WITHIN_S) for one in taken))
    report = Report([_outcome(one, at, when) for one, when in zip(taken, back, strict=True)])
    for one, when in zip(taken, back, strict=True):
        if when is None:
            report.faults.append(f"{one.call.topology}: the caller did not hear the AI again within {WITHIN_S:g} s")
    report.channels_left = await _agents_left(stack)
    return report


async def _given_back(taken: Sequence[Taken]) -> Report:
    replies = await asyncio.gather(*(one.agent.release(one.engagement) for one in taken))
    back = await asyncio.gather(
        *(heard(one.call, AI_HZ, reply.sent, WITHIN_S) for one, reply in zip(taken, replies, strict=True))
    )
    faults = [f"release: {reply.status} {reply.body}" for reply in replies if reply.status >= 300]
    outcomes = [_outcome(one, reply.sent, at) for one, reply, at in zip(taken, replies, back, strict=True)]
    return Report(outcomes, faults=faults)


def _outcome(one: Taken, since: float, back: float | None) -> Outcome:
    return Outcome(None if back is None else (back - since) * 1000, one.call.caller.ended.is_set())


async def _agents_left(stack: Stack) -> int:
    deadline = time.monotonic() + LEFT_S
    while left := await stack.lab.agent_channels():
        if time.monotonic() > deadline:
            return len(left)
        await asyncio.sleep(0.05)
    return 0


async def _all_in_order(
    stack: Stack, taken: Sequence[Taken], report: Report, *, within: float = 5, in_fallback: bool = False
) -> Report:
    """After the fault: agents back, registry equal to the PBX, callers still there; then the calls end."""
    await stack.back_on_duty()
    if not in_fallback:  # a caller in the fallback is no AI call any more
        report.registry_equal = await stack.equal(stack.server, within) and report.registry_equal
    for one, outcome in zip(taken, report.outcomes, strict=True):
        outcome.dropped = outcome.dropped or one.call.caller.ended.is_set()
        if outcome.dropped:
            report.faults.append(f"{one.call.topology}: the caller was dropped")
    await asyncio.gather(*(one.call.hangup() for one in taken))
    with contextlib.suppress(AssertionError):  # counted instead
        await stack.lab.no_channels(LEFT_S)
    report.channels_left += len(await stack.lab.channels())
    if not report.registry_equal:
        report.faults.append("the registry differs from the PBX")
    if report.channels_left:
        report.faults.append(f"{report.channels_left} channels were left on the PBX")
    return report


ROWS: Mapping[str, Row] = {
    "kill9_service": kill9_service,
    "kill9_worker": kill9_worker,
    "kill9_both": kill9_both,
    "freeze_service": freeze_service,
    "freeze_worker": freeze_worker,
    "freeze_both": freeze_both,
    "browser_killed": browser_killed,
    "agent_network_cut": agent_network_cut,
    "ami_cut_2s": ami_cut_2s,
    "ami_reset_2s": ami_reset_2s,
    "ami_cut_20s": ami_cut_20s,
    "ai_hangup": ai_hangup,
    "ai_hangup_then_agent_dies": ai_hangup_then_agent_dies,
    "caller_hangup": caller_hangup,
    "second_service": second_service,
    "pbx_restart": pbx_restart,
}
