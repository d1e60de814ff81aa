"""`takeover demo`: an Asterisk with AI calls, the service and the panel, on one machine and without any setup; with
`--freeswitch` also a FreeSWITCH that is installed here.

Progress goes to standard error, what the user needs to standard output. Ctrl-C, SIGTERM and the death of whoever
started the demo end it in order: calls are given back and hung up, no process stays behind.
"""

import argparse
import asyncio
import ctypes
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from . import asterisk, freeswitch, reach, speech
from .groups import leaves
from .house import House, free_port
from .packages import NotProvided
from .scene import Installations, Scene, Seat
from .script import APPOINTMENT, CARD, CLAIM, DELIVERY, HOTEL
from .service import Address, DidNotStart
from .talk import Talk
from .voices import Voices

PORT = 8080
SEATS = (  # one more than shall be live at any time: a seat is empty for some seconds between two callers
    Seat("sip", (DELIVERY,)),
    Seat("sip", (CLAIM,)),
    Seat("socket", (APPOINTMENT,)),
    Seat("socket", (HOTEL, CARD)),
)
BOTH_SEATS = (
    Seat("sip", (DELIVERY,)),
    Seat("socket", (APPOINTMENT,)),
    Seat("sip", (CLAIM,), "freeswitch"),
    Seat("sip", (HOTEL, CARD), "freeswitch"),
)
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str]) -> int:
    """Exit code 0: ended as asked, or the check passed; 1: it could not be done, or the check failed."""
    options = _options(argv)
    end_with_parent()
    code = 0
    try:
        work = _checked(options.freeswitch) if options.check else _demo(options.port, options.freeswitch)
        code = asyncio.run(_until_stopped(work))
    except* (NotProvided, DidNotStart) as errors:
        for error in leaves(errors):
            progress(f"error: {error}")
        code = 1
    return code


def progress(line: str) -> None:
    """Says what goes on."""
    print(line, file=sys.stderr, flush=True)


def end_with_parent() -> None:
    """From now on the end of our parent ends us too, as Ctrl-C does; unless we were started with nohup."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="takeover demo", description="Live AI calls to take over, on this machine.")
    parser.add_argument("--port", type=int, default=0, help=f"port of the panel (default: {PORT}, or a free one)")
    parser.add_argument(
        "--check", action="store_true", help="one takeover and return in a headless browser, measured; prints JSON"
    )
    parser.add_argument(
        "--freeswitch",
        action="store_true",
        help=f"also a FreeSWITCH, from {freeswitch.HOME} or PATH, with its own configuration; with --check, its call",
    )
    return parser.parse_args(argv)


async def _installations(with_freeswitch: bool) -> Installations:
    """Raises NotProvided. The FreeSWITCH first: one that is missing is known at once, an Asterisk may be fetched."""
    switch = freeswitch.find() if with_freeswitch else None
    return Installations(await asterisk.provide(progress), switch)


async def _until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Runs `work` to its end or until a signal, which is an orderly end. A second signal waits for nothing."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        progress("stopping: calls are given back and hung up")
        task.cancel()

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return 0


async def _checked(with_freeswitch: bool) -> int:
    from . import check  # here: it needs a browser's driver, which the demo does not

    found = await check.check(await _installations(with_freeswitch), progress)
    print(json.dumps(found))
    return 0 if found["ok"] else 1


async def _demo(port: int, with_freeswitch: bool) -> int:
    """Until it is cancelled."""
    installations = await _installations(with_freeswitch)
    voices = Voices(await speech.provide(progress), installations.asterisk.sounds)
    seats = BOTH_SEATS if with_freeswitch else SEATS
    scene = Scene(installations, seats, lambda script, platform: Talk(script, platform, voices), progress)
    progress(f"starting {installations.titles} and the service")
    async with scene, House(scene, port or free_port(PORT)) as home:
        _welcome(home, installations.titles, len(seats))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(home.keep(_again), name="service")
            tasks.create_task(scene.run(home.address.url, home.tokens), name="scene")
    return 0


def _welcome(home: House, titles: str, callers: int) -> None:
    agent, admin = home.people
    url = home.address.url
    print(
        f"""
Takeover demo: {titles}, {callers} callers who talk to an AI.

  Open     {home.address.link}
           (good once, for ten minutes; later: {url}
            as {agent.username} / {agent.password}, or {admin.username} / {admin.password})

  Put on a headset, press "Go on duty", select a call and press "Takeover": the AI falls silent, and you talk. The
  caller waits for you and answers when you stop. "Return to AI" gives the call back, and the AI passes your note on.
  After a minute {CLAIM.caller_name}'s AI asks for a human.

  Ctrl-C ends everything.
""",
        flush=True,
    )
    for sentence in reach.advice(reach.look(), int(url.rpartition(":")[2])):
        print(f"  Note: {sentence}\n", flush=True)


def _again(address: Address) -> None:
    print(f"The service was started again. Open {address.link}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
