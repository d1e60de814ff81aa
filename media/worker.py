"""The worker process: `python -m media.worker FD`, started by `pool`, never by hand.

FD is our end of a socket pair. The worker lives exactly as long as the service: it exits when the other end
closes, when nothing has come for two seconds though the service could have spoken, and, should its loop hang, by the
kernel's hand.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn, assert_never

from .engine import Engine, Refusal
from .logthread import ThreadHandler
from .messages import (
    CloseLeg,
    ClosePatch,
    Command,
    Configure,
    Done,
    Failed,
    Opened,
    OpenLeg,
    OpenPatch,
    Ping,
    Pong,
    Ready,
    Refused,
    Report,
    SetLeg,
    Signal,
    decode,
    encode,
)
from .peer import PeerLost
from .pulse import Silence, cpu_if_waiting
from .tier import choose

log = logging.getLogger(__name__)

LINE = 1 << 20
"Longest message, bytes."
_CHECK = 0.25
_PATIENCE = 1.9
"""Seconds without a word from the service, the eighth check in a row. Counted by checks, so that being held up is not
taken for silence; those in which the service had no core count as far as it ran."""
_LAST_LINE = 0.05
"Seconds that the end waits for what it has said to be written: meanwhile the callers hear nothing."
_PR_SET_PDEATHSIG = 1
_NICE = -10


class Worker:
    """Reads commands, runs them on the engine, and answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._silence = Silence(_PATIENCE)

    async def run(self) -> None:
        """Until the service is gone."""
        configure = await self._read()
        if not isinstance(configure, Configure):
            raise TypeError(f"the first message is {configure!r}, not Configure")
        try:
            choice = await choose(configure.settings.tier)
        except (PeerLost, OSError) as fault:
            await self._fail(str(fault))
            return
        async with asyncio.TaskGroup() as tasks:
            engine = Engine(configure.settings, choice.connect, self._tell, tasks)
            try:
                port = await engine.start()
            except OSError as fault:
                await self._fail(f"audiosocket_host {configure.settings.audiosocket_host}: {fault}")
                return
            # What exists now stays: a collection that walks it all would stall a tick by 47 ms.
            gc.collect()
            gc.freeze()
            tasks.create_task(engine.tick(), name="tick")
            tasks.create_task(self._listen_for_silence(), name="silence")
            self._tell(Ready(port, engine.sip_port, choice.tier, choice.why))
            await self._serve(engine, tasks)

    async def _fail(self, why: str) -> None:
        self._tell(Failed(why))
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def _serve(self, engine: Engine, tasks: asyncio.TaskGroup) -> None:
        while True:
            command = await self._read()
            if isinstance(command, Ping):
                self._tell(Pong(command.number, engine.worst, engine.lateness.p99(), engine.skipped))
                engine.worst = 0.0
            elif isinstance(command, Signal):
                engine.signal(command.leg, present=command.present)
            elif isinstance(command, Configure):
                raise TypeError("Configure came twice")
            else:
                tasks.create_task(self._obey(engine, command))

    async def _obey(self, engine: Engine, command: OpenLeg | CloseLeg | SetLeg | OpenPatch | ClosePatch) -> None:
        try:
            reply = await _run(engine, command)
        except Refusal as refusal:
            reply = Refused(command.request, str(refusal))
        except Exception:  # one command must not end the worker and with it every other call
            log.exception("%s failed", type(command).__name__)
            reply = Refused(command.request, "internal-error")
        self._tell(reply)

    async def _read(self) -> Command:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            _leave("the service closed the pipe")
        self._silence.ended()
        message = decode(line)
        if isinstance(message, Command):
            return message
        raise TypeError(f"{message!r} is no command")

    async def _listen_for_silence(self) -> None:
        service = os.getppid()
        while not self._silence.over:
            await asyncio.sleep(_CHECK)
            self._silence.add(_CHECK, cpu_if_waiting(service))
        _leave(f"no word from the service for {self._silence.lasted:g} s")

    def _tell(self, message: Report) -> None:
        # Not drained: a service that does not read is one that does not ping, and that ends us in 2 s.
        if not self._writer.is_closing():
            self._writer.write(encode(message))


def _leave(why: str) -> NoReturn:
    """End at once. The kernel closes the sockets, the PBX sees it and gives the calls back: no goodbye to a
    browser is worth a moment in which a caller hears nobody."""
    log.warning("ends: %s", why)
    _end(0)


def _end(code: int) -> NoReturn:
    logging.shutdown()
    os._exit(code)


async def _run(
    engine: Engine, command: OpenLeg | CloseLeg | SetLeg | OpenPatch | ClosePatch
) -> Done | Opened | Refused:
    match command:
        case OpenLeg(request, leg, offer):
            return Opened(request, await engine.open_leg(leg, offer))
        case CloseLeg(_, leg):
            await engine.close_leg(leg)
        case SetLeg(_, leg, muted, suppression, hold):
            engine.set_leg(leg, muted=muted, suppression=suppression, hold=hold)
        case OpenPatch(_, leg, patch, rate):
            engine.open_patch(leg, patch, rate)
        case ClosePatch(_, patch):
            engine.close_patch(patch)
        case _:
            assert_never(command)
    return Done(command.request)


def _die_with_the_service() -> None:
    """Ask the kernel to kill us when the thread that started us ends (Linux; elsewhere the pipe must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _go_first() -> None:
    """Ask for precedence over other processes of the machine, where we may (root, or LimitNICE= in the unit):
    beside a busy PBX or database a tick that waits for its turn is heard, their waiting is not."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def _runner() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _main(descriptor: int) -> None:
    sock = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=LINE)
    try:
        await Worker(reader, writer).run()
    except Exception:  # whatever it was: left to the interpreter, the last words could wait for ever to be written
        log.exception("failed")
        _end(1)


def _configure_log() -> None:
    """A thread writes the lines: no tick waits for a terminal, a disk or a journal that is stuck."""
    handler = ThreadHandler(sys.stderr, last_s=_LAST_LINE)
    logging.basicConfig(
        level=logging.WARNING, format="media worker: %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
    logging.captureWarnings(capture=True)


def main() -> None:
    """Entry point; the only argument is the descriptor."""
    _die_with_the_service()
    _go_first()
    # Ctrl-C in a terminal reaches the whole group; the service decides when we go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _configure_log()
    with asyncio.Runner(loop_factory=_runner()) as runner:
        runner.run(_main(int(sys.argv[1])))


if __name__ == "__main__":
    main()
