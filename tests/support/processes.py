"""Killing and freezing processes, and knowing that they are gone."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def kill(pid: int) -> None:
    """SIGKILL: as a crash or the kernel's memory killer would."""
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """Stops all threads; sockets stay open, nothing answers.

    Waits until it is so: the signal reaches one thread, and the others run until that one is given a processor.
    """
    os.kill(pid, signal.SIGSTOP)
    while alive(pid) and not all(_state(stat) in "TtZX" for stat in Path(f"/proc/{pid}/task").glob("*/stat")):
        time.sleep(0.001)


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Freezes processes for the length of a block."""
    for pid in pids:
        freeze(pid)
    try:
        yield
    finally:
        for pid in pids:
            if alive(pid):
                thaw(pid)


def alive(pid: int) -> bool:
    """True if the process runs; a zombie does not."""
    return _state(Path(f"/proc/{pid}/stat")) not in "ZX"


def _state(stat: Path) -> str:
    """The letter of proc(5); X, as for what is dead, when it is gone."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def children(pid: int) -> list[int]:
    """Direct children, oldest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # that thread has just ended
            found += [int(number) for number in task.read_text().split()]
    return sorted(found)


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


async def gone(pid: int, within: float = 5) -> bool:
    """True as soon as the process is gone, False if it still runs after `within` seconds."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(pid)  # readable when the process ends, whose child it may be
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(within):
            await ended.wait()
        return True
    except TimeoutError:
        return not alive(pid)
    finally:
        loop.remove_reader(handle)
        os.close(handle)
